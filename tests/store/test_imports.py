"""Imported evidence: listed, shown, exported, and explained and scored without a model."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api.app import create_app
from api.cli.commands import imports as command
from benches.in_process import InProcess
from glossator import ApiError, Client
from interp.config.settings import Settings
from interp.domain.errors import InputError
from interp.domain.lifecycle import Queue
from interp.exchange import export
from interp.exchange.request import ExportRequest, plan_of
from interp.store.db.engine import make_engine, snapshot
from tests.corpus import test_dashboard_batches as batches
from tests.corpus import test_delphi_latents as latents
from tests.corpus import test_neuron_records as neurons
from tests.corpus.test_feature_records import record, written
from tests.store import steps
from workers.runtime import Runtime
from workers.worker import drain

RECORDS = Path(__file__).parents[2] / ".." / "shared" / "real" / "feature-circuits"


@pytest.fixture
def client(settings: Settings) -> Iterator[Client]:
    with Client("http://test", InProcess(create_app(settings))) as found:
        yield found


def imported(settings: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], **given: Any) -> Any:
    monkeypatch.setattr(command, "settings", lambda: settings)
    asked = {"subject": "toy", "author": "the lab", "explainer": None, "scorer": None, "change": None} | given
    command.import_records(folder, as_json=True, **asked)
    return json.loads(capsys.readouterr().out)


def test_a_run_without_a_model(
    settings: Settings, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (" cat", " dog", " emu", " fox", " gnu", " hen")
    (tmp_path / "records").mkdir()
    folder = written(tmp_path / "records", [record(feature, word) for feature, word in enumerate(words)])
    embed, resid = imported(settings, folder, monkeypatch, capsys)
    assert embed == {"run": "toy@embed/1", "features": [], "labels": 1, "job": None}
    assert resid == {"run": "toy@2-resid/1", "features": [0, 1, 2, 3, 4, 5], "labels": 2, "job": None}

    [run] = client.list_runs("toy@2-resid")
    assert (run["status"], run["current"], run["tokens"], run["corpus"]) == ("completed", True, 0, "records")
    listed = {row["index"]: row for row in client.list_features("toy@2-resid")}
    assert sorted(listed) == [0, 1, 2, 3, 4, 5, 9]
    assert listed[3] | {"label": "the word cat", "explainer": "imported", "density": None, "mean_active": None, "score": None} == listed[3]
    assert (listed[3]["max_activation"], listed[9]["max_activation"]) == (2.5, None)
    with pytest.raises(ApiError, match=r"density .* not known"):
        list(client.list_features("toy@2-resid", max_density=0.5))
    feature = client.get_feature("toy@2-resid", 3)
    assert feature["statistics"]["density"] is None
    assert "not a whole corpus" in feature["statistics"]["reason"]
    assert feature["explanations"][0]["provenance"]["author"] == "Ada"
    assert client.get_feature("toy@2-resid", 9)["explanations"][0]["provenance"]["author"] == "the lab"
    assert "".join(feature["contexts"][0]["tokens"]).count(" fox") == 1
    assert {row["text"] for row in client.list_explanations(dictionary="toy@2-resid")} == {"the word cat", "of no context␛[31m"}

    with pytest.raises(InputError, match="random_weights"):
        imported(settings, folder, monkeypatch, capsys, explainer=["pattern"], change=["controls=[random_weights]"])
    with pytest.raises(InputError, match="no model to run texts"):
        imported(settings, folder, monkeypatch, capsys, explainer=["agent"], change=["models.explainer.model=scripted"])
    # The same again adds nothing but the job.
    _, resid = imported(settings, folder, monkeypatch, capsys, explainer=["pattern"], scorer=["detection", "simulation"])
    drain(Runtime.of(settings), Queue.GPU, Queue.LLM)
    found = steps.look(Runtime.of(settings).engine, resid["job"])
    assert found.status == "completed", found.error
    assert len(list(client.list_runs("toy@2-resid"))) == 1
    scored = client.get_feature("toy@2-resid", 3)
    assert {row["explainer"] for row in scored["explanations"]} == {"imported", "pattern"}
    best = scored["explanations"][0]
    assert "fox" in best["text"]
    scores = {score["scorer"]: score for score in best["scores"]}
    assert scores["detection"]["value"] == 1.0
    assert scores["detection"]["null"]["value"] is not None
    assert "window_rate" not in json.dumps(scores["detection"]["details"]), "no rate is known of records"


@pytest.mark.skipif(not RECORDS.is_dir(), reason="the real records are not here")
def test_real_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    settings = Settings(home=tmp_path / "home")
    written = imported(settings, RECORDS, monkeypatch, capsys, explainer=["pattern"], scorer=["detection"])
    assert (len(written), sum(len(run["features"]) for run in written), sum(run["labels"] for run in written)) == (17, 25, 276)
    drain(Runtime.of(settings), Queue.GPU, Queue.LLM)
    with Client("http://test", InProcess(create_app(settings))) as client:
        jobs = [client.get_job(run["job"]) for run in written if run["job"]]
    assert {job["status"] for job in jobs} == {"completed"}
    assert sum(job["summary"]["features"]["explained"] for job in jobs) >= 10


def exported(settings: Settings, dictionary: str, form: str, target: Path) -> Path:
    engine = make_engine(settings.database_url)
    try:
        with snapshot(engine) as session:
            plan = plan_of(session, ExportRequest(dictionary=dictionary, format=form))
        (export.to_folder if plan.format.facts.is_folder else export.to_file)(plan, engine, target, lambda _: None)
    finally:
        engine.dispose()
    return target


@pytest.mark.parametrize(
    "real", [False, pytest.param(True, marks=pytest.mark.skipif(not batches.REAL.is_dir(), reason="the real batches are not here"))]
)
def test_batches_of_saedashboard_come_in_and_go_out(
    real: bool, settings: Settings, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = [batches.batch(*[batches.feature(number, word) for number, word in enumerate((" cat", " caf\u00e9, ", " fox"))])]
    folder = batches.REAL if real else batches.written(tmp_path / "batches", *made)
    [run] = imported(settings, folder, monkeypatch, capsys, subject=None)
    name, _, _ = run["run"].rpartition("/")
    assert (name, len(run["features"]), run["labels"]) == (("gpt2-small@0-res-jb", 3, 0) if real else ("toy@3-res-jb", 3, 0))
    feature = client.get_feature(name, 0)
    assert feature["promoted"][0]["token"] == (" Brigade" if real else " cat")

    before, after = batches.read(folder), batches.read(exported(settings, name, "saedashboard", tmp_path / "out"))
    [was], [now] = before.dictionaries, after.dictionaries
    assert (now.short_name, after.model) == (was.short_name, before.model)
    for old, new in zip(was.evidence, now.evidence, strict=True):
        assert batches.firing(new, after.vocabulary) == batches.firing(old, before.vocabulary)
        assert new.statistics.max_activation == old.statistics.max_activation
        of_old, of_new = (
            [(found.vocabulary.text(effect.token), effect.logit) for effect in one.promoted] for found, one in ((before, old), (after, new))
        )
        assert of_new == of_old


def test_neurons_come_in_with_their_firing_level(
    settings: Settings, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (" cat", " dog", " emu", " fox")
    files = {f"neurons/5/{number}.json": neurons.neuron(5, number, word) for number, word in enumerate(words)}
    files["explanations/5/3.jsonl"] = neurons.explanations(5, 3, ("the word fox", 0.5))
    folder = neurons.written(tmp_path / "records", files)
    with pytest.raises(InputError, match="name no model"):
        imported(settings, folder, monkeypatch, capsys, subject=None)
    [run] = imported(settings, folder, monkeypatch, capsys, explainer=["pattern"])
    assert run | {"job": ""} == {"run": "toy@5-neurons/1", "features": [0, 1, 2, 3], "labels": 1, "job": ""}
    drain(Runtime.of(settings), Queue.GPU, Queue.LLM)
    feature = client.get_feature("toy@5-neurons", 3)
    texts = {made["explainer"]: made["text"] for made in feature["explanations"]}
    assert (texts["imported"], "fox" in texts["pattern"]) == ("the word fox", True)
    [listed] = [row for row in client.list_features("toy@5-neurons") if row["index"] == 3]
    assert (listed["firing_level"], listed["max_activation"]) == (0.125, 6.75)


def test_results_of_delphi_come_in_as_a_run_with_labels_and_scores(
    settings: Settings, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = latents.results(tmp_path / "results")
    name = f"{latents.MODULE}_latent3.txt"
    for path, content in {f"explanations/{name}": "a word", f"scores/detection/{name}": [{"activating": True, "prediction": True}]}.items():
        (folder / path).parent.mkdir(parents=True)
        (folder / path).write_text(json.dumps(content))
    for _ in range(2):
        [run] = imported(settings, folder, monkeypatch, capsys, subject=None)
    dictionary = f"tiny-70m@{latents.MODULE}"
    assert run == {"run": f"{dictionary}/1", "features": [3], "labels": 1, "job": None}
    found = client.get_feature(dictionary, 3)
    assert found["contexts"] and found["statistics"]["density"] is None
    [made] = found["explanations"]
    assert (made["explainer"], made["text"]) == ("delphi", "a word")
    assert made["provenance"]["reported_scores"]["detection"]["answered"] == 1
    back = exported(settings, dictionary, "delphi", tmp_path / "back")
    assert (back / "explanations" / name).read_bytes() == (folder / "explanations" / name).read_bytes()
