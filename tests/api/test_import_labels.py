"""Labels of people and other tools, in and out again."""

import csv
import gzip
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select
from typer.testing import CliRunner

from api.cli import app
from api.cli.commands import imports
from glossator import Client
from interp.config.settings import Settings
from interp.domain.errors import InputError
from interp.domain.score import Item
from interp.exchange import delphi_results, export
from interp.exchange.labels import read
from interp.exchange.request import ExportRequest, plan_of
from interp.score.items.codec import encode_items
from interp.security.allowed_files import Roots, within
from interp.store.db.engine import snapshot, transaction
from interp.store.db.tables import ExplanationRow
from interp.store.results import scores
from tests.api import synthetic
from tests.api.synthetic import FEATURES, NAME


@pytest.fixture
def command(service_settings: Settings, store: Engine, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.setattr(imports, "settings", lambda: service_settings)
    return lambda *arguments: CliRunner().invoke(app, arguments, catch_exceptions=False)


def test_a_table_and_neuronpedias_rows_come_in(command: Callable[..., Result], client: Client, tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("index,text,author\n3,'=sum,Ann\n4,four,\n999,nobody,\nx,none,\n")
    assert json.loads(command("import", str(table), "--dictionary", NAME, "--author", "Bob", "--json").stdout) | {"source_digest": ""} == {
        "run": f"{NAME}/1",
        "labels": 2,
        "unread": 1,
        "source_digest": "",
    }
    rows = tmp_path / "batch-0.jsonl.gz"
    row = {"modelId": "toy", "layer": "1-res", "index": "3", "description": "a word", "typeName": "np_acts", "explanationModelName": "gpt"}
    rows.write_bytes(gzip.compress(json.dumps(row).encode() + b"\nnot json\n"))
    assert "1 labels" in command("import", str(rows), "--dictionary", NAME).stdout
    made = {one["explainer"]: one for one in client.list_explanations(dictionary=NAME, index=3)}
    assert (made["human"]["text"], made["human"]["provenance"]["author"]) == ("=sum", "Ann")
    assert (made["np_acts"]["text"], made["np_acts"]["provenance"]["author"]) == ("a word", "gpt")
    assert len(made["np_acts"]["provenance"]["source_digest"]) == 64
    assert client.get_feature(NAME, 3)["label"] == "100%_self [3]", "a label with a score stays"
    cells = csv.DictReader(io.StringIO(b"".join(client.stream_features(NAME, "csv", explainer="human")).decode()))
    assert {row["index"]: row["text"] for row in cells} == {"3": "'=sum", "4": "four"}


def test_the_explainer_of_the_listed_label_and_that_of_explanations_are_two_filters(
    command: Callable[..., Result], client: Client, store: Engine, tmp_path: Path
) -> None:
    name = bare_dictionary(store, "two@1-res")
    table = tmp_path / "labels.csv"
    table.write_text("index,text,method\n3,three,human\n3,drei,other\n4,vier,other\n")
    assert json.loads(command("import", str(table), "--dictionary", name, "--json").stdout)["labels"] == 3
    listed = {explainer: [item["index"] for item in client.list_features(name, label_explainer=explainer)] for explainer in ("human", "other")}
    assert listed == {"human": [3], "other": [4]}
    for asked, texts in ({"explainer": "other"}, {3: "drei", 4: "vier"}), ({"explainer": "other", "label_explainer": "human"}, {3: "drei"}):
        lines = b"".join(client.stream_features(name, "jsonl", **asked)).splitlines()
        assert {row["index"]: one["text"] for row in map(json.loads, lines) for one in row["explanations"]} == texts
        assert len(lines) == (FEATURES if asked == {"explainer": "other"} else 1)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(content=st.binary(max_size=200), ending=st.sampled_from([".csv", ".jsonl", ".jsonl.gz"]))
def test_any_bytes_are_read_or_refused(tmp_path: Path, content: bytes, ending: str) -> None:
    file = tmp_path / f"any{ending}"
    file.write_bytes(content)
    try:
        found = read(file)
    except InputError:
        return
    assert all(label.text and 0 <= label.feature < 10**9 for label in found.labels)


def exported(engine: Engine, dictionary: str, form: str, target: Path) -> Path:
    with snapshot(engine) as session:
        plan = plan_of(session, ExportRequest(dictionary=dictionary, format=form))
    (export.to_folder if plan.format.facts.is_folder else export.to_file)(plan, engine, target, lambda _: None)
    return target


def bare_dictionary(engine: Engine, name: str) -> str:
    """A dictionary whose features have nothing but their numbers."""
    run_id = synthetic.empty_run(engine, name)
    synthetic.add_features(engine, [synthetic.feature_row(run_id, index) for index in range(FEATURES)])
    return name


def labels_of(lines: Path) -> set[tuple[int, str, str, str | None]]:
    """Feature, text, explainer and author of each label of an export."""
    rows = [json.loads(line) for line in lines.read_text().splitlines()]
    return {
        (row["index"], made["text"], made["explainer"], made["provenance"].get("author"))
        for row in rows
        for made in row["explanations"]
        if made["text"] is not None
    }


def test_labels_of_our_own_lines_come_back_with_their_authors(command: Callable[..., Result], store: Engine, tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("index,text,author\n5,a word of Ann,Ann\n5,a word of Bob,Bob\n6,of nobody,\n")
    command("import", str(table), "--dictionary", NAME)
    lines = exported(store, NAME, "jsonl", tmp_path / "first.jsonl")
    other = bare_dictionary(store, "of-lines")
    command("import", str(lines), "--dictionary", other)
    found = labels_of(exported(store, other, "jsonl", tmp_path / "second.jsonl"))
    assert {(5, "a word of Ann", "human", "Ann"), (5, "a word of Bob", "human", "Bob"), (0, "100%_self [0]", "pattern", None)} <= found
    assert found == labels_of(lines)


def test_delphi_reads_what_we_export_and_its_results_come_in(command: Callable[..., Result], client: Client, store: Engine, tmp_path: Path) -> None:
    folder = exported(store, NAME, "delphi", tmp_path / "results")
    module = "blocks.1.hook_resid_post"
    files = {path.name: json.loads(path.read_text()) for path in (folder / "explanations").iterdir()}
    assert files == {f"{module}_latent{index}.txt": f"100%_self [{index}]" for index in range(10)}
    (folder / "run_config.json").write_text(json.dumps({"explainer_model": "hugging-quants/Llama-70B", "scorers": ["detection"]}))
    for scorer, rows in {"detection": questions((True, True), (True, 0), (False, False), (False, None)), "unknown": [{"other": 0.5}]}.items():
        (folder / "scores" / scorer).mkdir(parents=True)
        (folder / "scores" / scorer / f"{module}_latent3.txt").write_text(json.dumps(rows))
    other = bare_dictionary(store, "of-delphi")
    assert "10 labels" in command("import", str(folder), "--dictionary", other).stdout
    [made] = client.list_explanations(dictionary=other, index=3)
    figures = {"metric": "balanced_accuracy", "value": 0.75, "answered": 3, "failed": 1}
    assert (made["explainer"], made["text"]) == ("delphi", "100%_self [3]")
    assert made["provenance"] | {"source_digest": ""} == {
        "author": "Llama-70B",
        "method": "delphi",
        "source": "results",
        "source_digest": "",
        "reported_scores": {"detection": figures},
    }
    assert made["scores"] == []
    [made] = client.list_explanations(dictionary=other, index=4)
    assert "reported_scores" not in made["provenance"]


def questions(*answers: tuple[bool, Any]) -> list[dict[str, Any]]:
    rest = {"str_tokens": [" a"], "activations": [0.0], "distance": 1, "probability": None, "correct": None}
    return [rest | {"activating": truth, "prediction": said} for truth, said in answers]


# What Delphi's scorers leave of one feature, in the fields of its own data classes, and what it says.
SEQUENCE = {"distance": 1, "simulation": {"tokens": [" a"]}, "true_activations": [0], "ev_correlation_score": "nan", "rsquared_score": 0}
WRITTEN: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "simulation": (
        [
            {"distance": 1, "scored_sequence_simulations": [SEQUENCE], "ev_correlation_score": "nan", "rsquared_score": 0},
            {"distance": 0, "scored_sequence_simulations": [SEQUENCE, SEQUENCE], "ev_correlation_score": 0.25, "rsquared_score": 0},
        ],
        {"metric": "correlation", "value": 0.25, "answered": 2, "failed": 0},
    ),
    "embedding": (
        [{"text": "a", "distance": at, "similarity": value} for at, value in ((0, 0.9), (9, 0.5), (-1.0, 0.5), (-1.0, 0.1))],
        {"metric": "auroc", "value": 0.875, "answered": 4, "failed": 0},
    ),
    "surprisal": (
        [
            {"text": "a", "distance": at, "no_explanation": [2.0, 1.0], "explanation": [left, 1.0], "activations": [0.0]}
            for at, left in ((3, 1.0), (-0.5, 2.0))
        ],
        {"metric": "auroc", "value": 1.0, "answered": 2, "failed": 0},
    ),
    "intruder": (
        [
            {"interpretation": "", "sample": {"intruder_index": 1}, "prediction": 1, "correct_index": 1, "correct": True},
            {"interpretation": "", "sample": None, "prediction": 0, "correct_index": -1, "correct": False},
        ],
        {"metric": "accuracy", "value": 1.0, "answered": 1, "failed": 1},
    ),
    "of_silence": ([{"text": "a", "distance": -1.0, "similarity": 0.5}], {"metric": "auroc", "value": None, "answered": 1, "failed": 0}),
}


def test_figures_of_all_scorers_of_delphi_are_read(tmp_path: Path) -> None:
    (tmp_path / "explanations").mkdir()
    (tmp_path / "explanations" / "a_latent7.txt").write_text('"a label"')
    for scorer, (rows, _) in {**WRITTEN, "unknown": ([{"other": 1}], {})}.items():
        (tmp_path / "scores" / scorer).mkdir(parents=True)
        (tmp_path / "scores" / scorer / "a_latent7.txt").write_text(json.dumps(rows))
    with within(Roots((str(tmp_path.resolve()),))):
        found = delphi_results.read(tmp_path.resolve(), "a")
    assert found.reported == {7: {scorer: figures for scorer, (_, figures) in WRITTEN.items()}}


def test_questions_of_our_scores_go_out_as_delphi_writes_them_and_come_back(
    command: Callable[..., Result], client: Client, store: Engine, tmp_path: Path
) -> None:
    contexts = synthetic.feature_evidence(3).contexts
    top, uniform, inactive = contexts.identities()
    items = (
        Item(top, "top", 1.0, 0.0),
        Item(uniform, "uniform", 1.0, 1.0),
        Item(inactive, "inactive", 0.0, 1.0),
        Item("0:0", "inactive", 0.0, 0.0),
        Item(inactive, "uniform+misplaced", 0.0, None, failure="timeout"),
    )
    with transaction(store) as session:
        of_feature = select(ExplanationRow.run_id, ExplanationRow.id).where(ExplanationRow.feature == 3, ExplanationRow.explainer == "pattern")
        run_id, explanation_id = session.execute(of_feature.order_by(ExplanationRow.id).limit(1)).one()
        fuzz = replace(synthetic.score(3), scorer="fuzz")
        scores.save(session, run_id, "f" * 64, [scores.Scored(explanation_id, fuzz, encode_items(items))], job_id="j")
    folder = exported(store, NAME, "delphi", tmp_path / "results")
    module = "blocks.1.hook_resid_post"
    assert [path.relative_to(folder).as_posix() for path in sorted((folder / "scores").rglob("*.txt"))] == [f"scores/fuzz/{module}_latent3.txt"]
    rows = json.loads((folder / "scores" / "fuzz" / f"{module}_latent3.txt").read_text())
    assert [list(row) for row in rows] == [["str_tokens", "activations", "distance", "activating", "prediction", "probability", "correct"]] * 3
    assert "".join(rows[0]["str_tokens"]) == synthetic.TEXT and rows[0]["activations"] == [0.0] * 6 + [1.0, 2.0]
    assert [(row["distance"], row["activating"], row["prediction"], row["correct"]) for row in rows] == [
        (0, True, True, True),
        (-1, False, True, False),
        (-1, False, None, None),
    ]
    other = bare_dictionary(store, "of-our-questions")
    command("import", str(folder), "--dictionary", other)
    [made] = client.list_explanations(dictionary=other, index=3)
    assert made["provenance"]["reported_scores"] == {"fuzz": {"metric": "balanced_accuracy", "value": 0.5, "answered": 2, "failed": 1}}


@pytest.mark.parametrize(
    ("path", "content", "says"),
    [
        ("explanations/b_latent1.txt", '"of another module"', "several modules"),
        ("explanations/a_latent1.txt", "not JSON", "a_latent1.txt cannot be read"),
        ("explanations/a_latent1.txt", "[" * 100_000, "a_latent1.txt cannot be read"),
        ("explanations/a_latent1.txt", json.dumps("x" * 70_000), "a_latent1.txt cannot be read"),
        ("scores/fuzz/a_latent0.txt", json.dumps(questions((True, 2))), "question 0"),
        ("scores/fuzz/a_latent0.txt", "{", "a_latent0.txt cannot be read"),
        ("run_config.json", "{", "run_config.json cannot be read"),
    ],
)
def test_results_that_do_not_fit_are_refused(path: str, content: str, says: str, tmp_path: Path) -> None:
    for name, text in {"explanations/a_latent0.txt": '"a label"', path: content}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    with within(Roots((str(tmp_path.resolve()),))), pytest.raises(InputError) as refused:
        delphi_results.read(tmp_path.resolve(), "c")
    assert says in str(refused.value)
    assert refused.value.cure


def test_explanations_of_no_text_are_counted(tmp_path: Path) -> None:
    (tmp_path / "explanations").mkdir()
    for number, content in enumerate(("[]", '" "', '"a\\u001b[31m"', "null")):
        (tmp_path / "explanations" / f"a_latent{number}.txt").write_text(content)
    (tmp_path / "explanations" / "a_latent9.txt").symlink_to("/etc/passwd")
    with within(Roots((str(tmp_path.resolve()),))), pytest.raises(InputError):
        delphi_results.read(tmp_path.resolve(), "c")
    (tmp_path / "explanations" / "a_latent9.txt").unlink()
    with within(Roots((str(tmp_path.resolve()),))):
        found = delphi_results.read(tmp_path.resolve(), "c")
    assert ([(label.feature, label.text) for label in found.labels], found.unread) == ([(2, "a␛[31m")], 3)
