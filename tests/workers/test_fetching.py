"""A job whose subject, dictionary and corpus are names of a Hub, from submission to its end."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import cast

import pytest

from interp.domain.errors import WorkInterruptedError
from interp.domain.spec import JobSpec
from tests.dictionary import known
from tests.hub import COMMIT, Repository, local_hub
from workers.runtime import Task, Work
from workers.tasks import check, prepare

# In a process of its own: huggingface_hub reads its settings when it is imported.
RUN = """
import json, sys
import httpx
from api.app import create_app
from benches.in_process import InProcess
from interp.config.settings import Settings
from interp.domain.lifecycle import Queue
from interp.store import migrate
from workers.runtime import Runtime
from workers.worker import drain, run_chunk
settings = Settings(home=sys.argv[1])
migrate.upgrade(settings.database_url)
with httpx.Client(transport=InProcess(create_app(settings)), base_url="http://localhost") as http:
    for body in json.loads(sys.argv[2]):
        estimated = http.post("/v1/jobs/estimate", json=body)
        answer = http.post("/v1/jobs", json=body)
        assert answer.status_code == 202, answer.text
        submitted = answer.json()
        runtime = Runtime.of(settings)
        assert run_chunk(runtime, Queue.GPU)
        checked = http.get(f"/v1/jobs/{submitted['id']}").json()
        drain(runtime, Queue.GPU, Queue.LLM)
        done = http.get(f"/v1/jobs/{submitted['id']}").json()
        stages = {stage["stage"]: [stage["done"], stage["total"]] for stage in done["stages"]}
        states = [job["status"] for job in (submitted, checked, done)]
        print(json.dumps({"states": states, "spec": done["spec"], "stages": stages, "error": done["error"], "estimate": estimated.json()}))
"""


def files_of(folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).iterdir() if path.is_file()}


def test_names_of_the_hub_from_submission_to_the_end(tiny_job: JobSpec, tmp_path: Path) -> None:
    body = tiny_job.model_dump(mode="json")
    named = body | {
        "subject": body["subject"] | {"model": "org/tiny"},
        "dictionary": {"source": "tiny/1-res-jb", "name": "tiny@1-res"},
        "corpus": body["corpus"] | {"path": "hf://datasets/org/texts", "include": ["*.jsonl"]},
    }
    named |= {"features": "0-3", "scorers": [{"name": "detection", "nulls": 1}]}
    gone = body | {"dictionary": {"source": "hf://org/gone/layer"}}
    with local_hub() as hub:
        hub.models["org/tiny"] = Repository(files_of(tiny_job.subject.model))
        layer = {f"layer/{name}": content for name, content in files_of(tiny_job.dictionary.source).items()}
        hub.models["org/sae"] = Repository(layer, token="hf_right")
        hub.datasets["org/texts"] = Repository({"texts.jsonl": Path(tiny_job.corpus.path).read_bytes()})
        path = os.pathsep.join([str(known.write(tmp_path / "packages")), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**os.environ, **hub.environment(tmp_path / "hub"), "HF_TOKEN": "hf_right", "PYTHONPATH": path}
        done = subprocess.run(
            [sys.executable, "-c", RUN, str(tmp_path / "home"), json.dumps([named, gone])],
            env=environment,
            capture_output=True,
            text=True,
            timeout=170,
        )
    assert done.returncode == 0, done.stderr
    whole, missing = map(json.loads, done.stdout.splitlines())
    assert whole["states"] == ["checking", "queued", "completed"], whole["error"]
    assert whole["spec"]["dictionary"]["source"] == f"hf://org/sae@{COMMIT}/layer", "later chunks read the version that was checked"
    assert whole["stages"]["check"] == [100, 100]
    assert "Estimate with some of its texts" in whole["estimate"]["cure"]
    assert "Submit the job: a worker fetches the dictionary" in missing["estimate"]["cure"]
    assert missing["states"] == ["checking", "failed", "failed"]
    assert (missing["error"]["code"], "HF_TOKEN" in missing["error"]["cure"]) == ("file-missing", True)


@pytest.mark.parametrize(("task", "module", "counted"), [(check.check, check, [45, 90]), (prepare.prepare, prepare, [2, 4])])
def test_fetching_counts_on_the_progress(
    tiny_job: JobSpec, monkeypatch: pytest.MonkeyPatch, task: Task, module: ModuleType, counted: list[int]
) -> None:
    def fetch(_spec: JobSpec, progress: Callable[[float], None]) -> JobSpec:
        progress(0.5)
        progress(1.0)
        raise WorkInterruptedError("far enough")

    done: list[int] = []
    monkeypatch.setattr(module, "fetch", fetch)
    with pytest.raises(WorkInterruptedError):
        task(cast("Work", SimpleNamespace(job=tiny_job, spec=tiny_job, lease=SimpleNamespace(units=100), progress=done.append)))
    assert done == counted
