"""Exports: every format whole or not there, and the same bytes twice."""

import csv
import gzip
import hashlib
import io
import json
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet
from sqlalchemy import Engine, select, update
from typer.testing import CliRunner

from api.cli import app, connect
from interp.config.settings import Settings
from interp.domain.cleaning import guarded, unguarded
from interp.domain.record import FeatureRecord
from interp.exchange import export, read
from interp.exchange.formats import FORMATS, graph
from interp.exchange.formats.base import FormatOptions
from interp.exchange.request import ExportRequest, FormatName, plan_of
from interp.store.db.engine import snapshot, transaction
from interp.store.db.tables import ScoreItemsRow, ScoreRow
from tests.api.synthetic import FEATURES, NAME

FOLDERS = [name for name, made in FORMATS.items() if made.facts.is_folder]
Export = Callable[..., Path]


@pytest.fixture
def exported(store: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Export:
    """Writes an export in portions of 5 features."""
    monkeypatch.setattr(read, "PORTION", 5)

    def make(form: str, name: str = "out", **request: Any) -> Path:
        with snapshot(store) as session:
            plan = plan_of(session, ExportRequest(dictionary=NAME, format=form, **request))
        target = tmp_path / f"{name}{plan.format.facts.suffix}"
        (export.to_folder if plan.format.facts.is_folder else export.to_file)(plan, store, target, lambda _: None)
        return target

    return make


def files_of(target: Path) -> dict[str, bytes]:
    if target.is_file():
        return {target.name: target.read_bytes()}
    return {str(path.relative_to(target)): path.read_bytes() for path in sorted(target.rglob("*")) if path.is_file()}


def manifest_of(target: Path) -> dict[str, Any]:
    path = target.with_name(f"{target.name}.manifest.json") if target.is_file() else target / "manifest.json"
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def rows_of(target: Path, kind: str) -> list[dict[str, Any]]:
    files = sorted((target / "toy" / "1-res" / kind).iterdir())
    return [json.loads(line) for file in files for line in gzip.decompress(file.read_bytes()).splitlines()]


def test_every_format_may_be_asked_for() -> None:
    assert set(FORMATS) == set(FormatName.__args__)


@pytest.mark.parametrize("form", FORMATS)
def test_a_manifest_names_each_file_and_twice_is_the_same(exported: Export, form: str) -> None:
    first, second = exported(form, "first"), exported(form, "second")
    files, manifest = files_of(first), manifest_of(first)
    assert list(files_of(second).values()) == list(files.values())
    named = {file["name"]: (file["bytes"], file["sha256"]) for file in manifest["files"]}
    assert named == {name: (len(content), hashlib.sha256(content).hexdigest()) for name, content in files.items() if name != "manifest.json"}
    assert (manifest["format"], manifest["run"]["digest"], manifest["counts"]["features"]) == (form, "e" * 64, FEATURES)
    assert manifest["prompts"] == [{"explainer": "pattern", "settings_digest": "p" * 64, "seed": 0}] or not manifest["counts"]["explanations"]


@pytest.mark.parametrize("form", FORMATS)
def test_an_interrupted_export_leaves_nothing(store: Engine, tmp_path: Path, form: str) -> None:
    with snapshot(store) as session:
        plan = plan_of(session, ExportRequest(dictionary=NAME, format=form))

    def interrupted(_done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        (export.to_folder if plan.format.facts.is_folder else export.to_file)(plan, store, tmp_path / "out", interrupted)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", FORMATS)
def test_a_format_holds_no_portion_but_the_one_it_writes(store: Engine, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read, "PORTION", 1)
    with snapshot(store) as session:
        plan = plan_of(session, ExportRequest(dictionary=NAME, format=form))
    taken = 0

    def counted() -> Iterator[Sequence[FeatureRecord]]:
        nonlocal taken
        for portion in read.portions(store, plan.query):
            taken += 1
            yield portion

    seen = [taken for _ in plan.format.write(plan.source, counted(), plan.query.parts, FormatOptions())]
    assert all(after - before <= 1 for before, after in pairwise(seen)), "two portions were taken for one piece"
    assert taken == FEATURES


def test_chosen_features_and_filters(exported: Export) -> None:
    def indices(**request: Any) -> list[int]:
        return [json.loads(line)["index"] for line in exported("jsonl", **request).read_text().splitlines()]

    assert indices(features="2-4,9,500-4000000000") == [2, 3, 4, 9]
    assert indices(min_score=0.35, max_score=0.75) == [4, 5, 6, 7]
    assert indices(features="0-5", q="[3]") == [3]
    assert indices(q="nowhere") == []


def test_neuronpedia_has_its_layout_and_names(exported: Export) -> None:
    target = exported("neuronpedia")
    assert {path.name for path in (target / "toy" / "1-res").iterdir()} == {
        "features",
        "activations",
        "explanations",
        "scores",
        "release.jsonl",
        "sourceset.jsonl",
        "source.jsonl",
    }
    features, activations, explanations = (rows_of(target, kind) for kind in ("features", "activations", "explanations"))
    assert [(row["modelId"], row["layer"], row["index"]) for row in features] == [("toy", "1-res", str(index)) for index in range(FEATURES)]
    assert (features[3]["pos_str"], features[3]["pos_values"], features[3]["topkCosSimIndices"]) == (["."], [1.25], [0, 15])
    assert len(features[3]["freq_hist_data_bar_heights"]) == len(features[3]["freq_hist_data_bar_values"]) == 5
    of_three = [row for row in activations if row["index"] == "3"]
    assert [(row["binMin"], row["maxValue"], row["maxValueTokenIndex"]) for row in of_three] == [(-1.0, 7.0, 0), (1.4, 2.0, 7)]
    assert "".join(of_three[0]["tokens"]) == "self.\n\tcafé\x1b[2J"
    assert 0 < of_three[1]["binContains"] <= 1
    assert explanations[3] | {"id": ""} == {
        "id": "",
        "modelId": "toy",
        "layer": "1-res",
        "index": "3",
        "description": "100%_self [3]",
        "typeName": "pattern",
        "explanationModelName": "pattern",
    }
    assert len({row["id"] for row in activations}) == len(activations)


def test_uploads_stay_within_the_limits_of_the_endpoint(exported: Export) -> None:
    bodies = [json.loads(content) for name, content in files_of(exported("neuronpedia-upload")).items() if name != "manifest.json"]
    assert [feature["index"] for body in bodies for feature in body["features"]] == list(range(FEATURES))
    for body in bodies:
        assert (body["modelId"], body["source"]) == ("toy", "1-res")
        assert len(body["features"]) <= 128
        for feature in body["features"]:
            assert set(feature) == {"index", "density", "topLogits", "bottomLogits", "explanations", "activations"}
            assert all(len(made["text"]) <= 512 for made in feature["explanations"])


def test_a_graph_has_a_file_a_feature_where_its_viewer_asks(exported: Export) -> None:
    files = files_of(exported("graph"))
    of_three = json.loads(files[f"features/{NAME}/{graph.paired(1, 3)}.json"])
    assert (of_three["index"], of_three["act_max"], of_three["top_logits"]) == (3, 7.0, ["."])
    assert [group["quantile_name"] for group in of_three["examples_quantiles"]] == ["Top activations", "Activations from 1.4 to 2.8"]
    assert json.loads(files["labels.json"])["1_3"] == "100%_self [3]"


def test_a_data_set_has_a_card_with_figures_and_license(exported: Export) -> None:
    target = exported("hf-dataset", license="cc-by-4.0")
    assert parquet.read_table(target / "data" / "features.parquet").num_rows == FEATURES
    _, front, text = (target / "README.md").read_text().split("---\n", 2)
    card = yaml.safe_load(front)
    assert (card["license"], card["size_categories"]) == ("cc-by-4.0", ["n<1K"])
    assert card["configs"][0]["data_files"] == [{"split": "train", "path": "data/features.parquet"}]
    assert "| features that never fire | 1 |" in text


@given(st.text(max_size=20))
def test_no_cell_begins_like_a_formula_and_the_guard_comes_off_again(text: str) -> None:
    cell = guarded(text)
    assert not cell.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠"))
    assert unguarded(cell) == guarded(text).removeprefix("'" if cell.startswith("'") else "")


@pytest.mark.parametrize("text", ["=1+1", " =HYPERLINK(1)", "@SUM(A1)", "-2+3", "+1", "\t=1", "'quoted"])
def test_formulas_are_guarded_and_come_back(text: str) -> None:
    assert guarded(text) == "'" + text
    assert unguarded(guarded(text)) == text


def test_numbers_are_not_guarded() -> None:
    assert guarded(-0.5) == -0.5


@pytest.fixture
def command(service_settings: Settings, store: Engine, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.setattr(connect, "settings", lambda: service_settings.model_copy(update={"port": 1}))
    return lambda *arguments: CliRunner().invoke(app, arguments)


def test_a_file_of_numbers_chooses_features(command: Callable[..., Result], tmp_path: Path) -> None:
    numbers, output = tmp_path / "numbers.txt", tmp_path / "some.csv"
    numbers.write_text("3\n4, 5\n9")
    result = command("export", NAME, "--features-file", str(numbers), "-o", str(output))
    assert (result.exit_code, result.stderr) == (0, f"4 features with 4 explanations in {output}\n")
    assert [row["index"] for row in csv.DictReader(io.StringIO(output.read_text()))] == ["3", "4", "5", "9"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--format", "graph"], "graph is no text"),
        (["--features", "1-2"], "--features is for files"),
        (["-o", "x.unknown"], "No format is known"),
        (["--features-file", "/dev/null", "-o", "x.csv"], "no number"),
        (["--features", "5-2", "-o", "x.csv"], "backwards"),
    ],
)
def test_what_cannot_be_exported_names_the_cure(command: Callable[..., Result], arguments: list[str], said: str) -> None:
    result = command("export", NAME, *arguments)
    assert said in str(result.exception)
    assert result.exception.cure  # type: ignore[union-attr]


def test_a_folder_that_is_there_is_left_alone(exported: Export) -> None:
    target = exported("graph")
    before = files_of(target)
    with pytest.raises(Exception, match="there already"):
        exported("graph")
    assert files_of(target) == before


def test_questions_that_cannot_be_read_are_named(store: Engine, exported: Export) -> None:
    detection = select(ScoreRow.id).where(ScoreRow.feature == 3, ScoreRow.scorer == "detection")
    with transaction(store) as session:
        of = ScoreItemsRow.score_id == session.execute(detection).scalar_one()
        known = session.execute(select(ScoreItemsRow.blob).where(of)).scalar_one()
        session.execute(update(ScoreItemsRow).where(of).values(blob=b"damaged"))
    made = exported("delphi")
    assert manifest_of(made)["unreadable"] == [3]
    assert any(name.endswith("_latent3.txt") for name in files_of(made)), "its label is there"
    with transaction(store) as session:
        session.execute(update(ScoreItemsRow).where(of).values(blob=known))
    assert manifest_of(exported("delphi", "again"))["unreadable"] == []
