"""Checks: submitted and read over HTTP, followed and printed by the command line, done by a gpu worker."""

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread

import httpx
import numpy as np
import pytest
import yaml
from sqlalchemy import Engine

from api.app import create_app
from api.server import Service
from benches import tiny
from benches.in_process import InProcess
from glossator import Client
from interp.config.settings import Settings
from interp.domain.lifecycle import Queue
from interp.domain.spec import JobSpec
from workers.runtime import Runtime
from workers.worker import drain


@pytest.fixture(scope="module")
def exact_job(tiny_job: JobSpec, tmp_path_factory: pytest.TempPathFactory) -> JobSpec:
    """The tiny job with a dictionary that reconstructs every input."""
    folder = tmp_path_factory.mktemp("exact")
    both = np.concatenate([np.eye(tiny.WIDTH), -np.eye(tiny.WIDTH)]).astype(np.float32)
    bias = np.zeros(2 * tiny.WIDTH, dtype=np.float32)
    tiny.write_dictionary(folder, tiny.WIDTH, 2 * tiny.WIDTH, W_enc=np.ascontiguousarray(both.T), W_dec=both, b_enc=bias)
    return tiny_job.model_copy(update={"dictionary": tiny_job.dictionary.model_copy(update={"source": str(folder)})})


@pytest.fixture
def http(settings: Settings) -> Iterator[httpx.Client]:
    with httpx.Client(transport=InProcess(create_app(settings)), base_url="http://localhost") as client:
        yield client


def test_a_check_is_a_job_of_its_own_with_a_report(http: httpx.Client, settings: Settings, exact_job: JobSpec) -> None:
    body = exact_job.model_dump(mode="json")
    answer = http.post("/v1/checks", json=body, headers={"Idempotency-Key": "one"})
    assert answer.status_code == 202, answer.text
    check_id = answer.json()["id"]
    assert answer.headers["location"] == f"/v1/checks/{check_id}"
    assert http.post("/v1/checks", json=body, headers={"Idempotency-Key": "one"}).json()["id"] == check_id
    assert http.post("/v1/jobs", json=body, headers={"Idempotency-Key": "one"}).status_code == 409, "the key is a check's"
    assert drain(Runtime.of(settings), Queue.GPU, Queue.LLM) == 1
    found = http.get(f"/v1/checks/{check_id}").json()
    assert (found["status"], [stage["stage"] for stage in found["stages"]]) == ("completed", ["measure"]), found["error"]
    report = found["report"]
    assert report["findings"] == []
    assert report["figures"]["fvu"]["value"] == pytest.approx(0, abs=1e-6)
    losses = {name: report["figures"][name]["value"] for name in ("ce_clean", "ce_spliced", "ce_zero")}
    assert losses["ce_spliced"] == pytest.approx(losses["ce_clean"], abs=1e-4)
    assert losses["ce_zero"] != pytest.approx(losses["ce_clean"], abs=1e-2)
    recovered = report["figures"]["ce_recovered"]
    assert recovered["value"] is None and recovered["why"].startswith("The ablation does not"), "a random model predicts nothing that could be lost"
    assert report["figures"]["l0"]["value"] == pytest.approx(tiny.WIDTH)
    assert report["dictionary"]["hook_point"] == tiny.HOOK_POINT
    listed = http.get("/v1/jobs").json()["items"]
    assert [(job["id"], job["kind"]) for job in listed] == [(check_id, "check")]
    assert http.get("/v1/runs").json()["items"] == [], "a check collects no evidence"


def test_a_job_is_no_check_and_what_cannot_work_is_refused(http: httpx.Client, exact_job: JobSpec) -> None:
    body = exact_job.model_dump(mode="json")
    job_id = http.post("/v1/jobs", json=body).json()["id"]
    assert http.get(f"/v1/jobs/{job_id}").json()["kind"] == "job"
    assert http.get(f"/v1/checks/{job_id}").status_code == 404
    refused = http.post("/v1/checks", json=body | {"dictionary": body["dictionary"] | {"hook_point": "blocks.9.hook_resid_pre"}})
    assert (refused.status_code, refused.json()["code"]) == (422, "hook-point-unknown")


def test_compressed_texts_are_read_and_neurons_have_no_reconstruction(
    http: httpx.Client, settings: Settings, tiny_job: JobSpec, tmp_path: Path
) -> None:
    (tmp_path / "corpus.jsonl.gz").write_bytes(gzip.compress(Path(tiny_job.corpus.path).read_bytes()))
    body = tiny_job.model_dump(mode="json")
    body["corpus"]["path"] = str(tmp_path / "corpus.jsonl.gz")
    body["dictionary"] = {"source": tiny_job.subject.model, "format": "neurons", "hook_point": "blocks.1.mlp.hook_post"}
    check_id = http.post("/v1/checks", json=body).json()["id"]
    assert drain(Runtime.of(settings), Queue.GPU) == 1
    found = http.get(f"/v1/checks/{check_id}").json()
    assert found["status"] == "completed", found["error"]
    figures = found["report"]["figures"]
    assert found["report"]["tokens"] > 1000 and figures["l0"]["value"] > 0 and figures["ce_clean"]["value"] > 0
    for name in ("fvu", "ce_spliced", "ce_zero", "ce_recovered"):
        assert figures[name] == {"value": None, "standard_error": None, "why": "Neurons are the subject's own axes: nothing is reconstructed."}


def test_files_that_take_long_are_read_by_the_worker_before_it_measures(settings: Settings, exact_job: JobSpec) -> None:
    hasty = settings.model_copy(update={"preflight_wait_seconds": 1e-4})
    with httpx.Client(transport=InProcess(create_app(hasty)), base_url="http://localhost") as http:
        submitted = http.post("/v1/checks", json=exact_job.model_dump(mode="json")).json()
        assert submitted["status"] == "checking"
        assert drain(Runtime.of(settings), Queue.GPU) == 2
        found = http.get(f"/v1/checks/{submitted['id']}").json()
    assert [stage["stage"] for stage in found["stages"]] == ["check", "measure"]
    assert found["report"]["findings"] == []


@pytest.fixture(scope="module")
def url(service_settings: Settings, store: Engine) -> Iterator[str]:
    """A server, and a gpu worker in this process."""
    runtime, stopping = Runtime.of(service_settings), Event()

    def work() -> None:
        while not stopping.wait(0.1):
            drain(runtime, Queue.GPU)

    worker = Thread(target=work)
    with Service(service_settings, "127.0.0.1", 0, workers=False) as service:
        worker.start()
        try:
            yield service.url
        finally:
            stopping.set()
            worker.join()


def run(url: str, spec: JobSpec, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    file = folder / "job.yaml"
    file.write_text(yaml.safe_dump(spec.model_dump(mode="json")))
    return glossator(url, "check", str(file), *options)


def glossator(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from api.cli import main; main()", *arguments]
    return subprocess.run(command, env=os.environ | {"GLOSSATOR_API_URL": url}, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize("service_settings", ["sqlite"], indirect=True)
def test_the_command_line_exits_with_1_where_a_fault_is_found(url: str, tiny_job: JobSpec, exact_job: JobSpec, tmp_path: Path) -> None:
    well = run(url, exact_job, tmp_path)
    assert well.returncode == 0, well.stderr
    assert "Nothing wrong was found." in well.stdout and "CE recovered" in well.stdout
    wrong = run(url, tiny_job, tmp_path, "--json")
    assert wrong.returncode == 1, wrong.stderr
    report = json.loads(wrong.stdout)
    assert [finding["code"] for finding in report["findings"] if finding["severity"] == "fault"] == ["model"]
    check_id = wrong.stderr.splitlines()[0].removeprefix("check ")
    with Client(url) as client:
        assert client.get_check(check_id)["report"] == report
    shown = glossator(url, "job", "show", check_id)
    assert shown.returncode == 0, shown.stderr
    assert "fault: The dictionary does not fit the subject" in shown.stdout
