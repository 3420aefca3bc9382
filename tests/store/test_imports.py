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
