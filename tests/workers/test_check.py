"""Jobs whose files take longer to look at than a request waits: stored as `checking`, looked at by a worker, then queued or failed."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, select

from api.app import create_app
from api.jobs import admission
from benches.in_process import InProcess
from interp.config.settings import Settings
from interp.domain.errors import ConflictError, LeaseLostError
from interp.domain.lifecycle import Queue
from interp.domain.spec import JobSpec
from interp.store.db.engine import snapshot, transaction
from interp.store.db.tables import ChunkRow, JobRow
from interp.store.queue import chunks, completion, jobs
from tests.security import apart
from tests.store import steps
from workers.runtime import Runtime
from workers.tasks import check
from workers.worker import drain, run_chunk

PATIENCE = 60.0


@pytest.fixture
def hasty(settings: Settings) -> Settings:
    """A service whose requests do not wait for a look at files."""
    return settings.model_copy(update={"preflight_wait_seconds": 1e-4})


@pytest.fixture
def http(hasty: Settings) -> Iterator[httpx.Client]:
    with httpx.Client(transport=InProcess(create_app(hasty)), base_url="http://localhost") as client:
        yield client


@pytest.fixture
def runtime(settings: Settings) -> Runtime:
    return Runtime.of(settings)


@pytest.fixture
def body(tiny_job: JobSpec, tmp_path: Path) -> dict[str, Any]:
    """The tiny job, with a corpus of its own."""
    shutil.copy(tiny_job.corpus.path, tmp_path / "corpus.jsonl")
    return tiny_job.model_dump(mode="json") | {"corpus": tiny_job.corpus.model_dump(mode="json") | {"path": str(tmp_path / "corpus.jsonl")}}


def submit(http: httpx.Client, body: dict[str, Any], key: str | None = None) -> dict[str, Any]:
    answer = http.post("/v1/jobs", json=body, headers={"Idempotency-Key": key} if key else {})
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    return found


def until(look: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (found := look()):
        assert time.monotonic() < deadline, what
        time.sleep(0.01)
    return found


def test_the_answer_does_not_wait_for_files(settings: Settings, body: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A look that would never end: the answer comes in about the second that it waits, and a probe is answered meanwhile."""
    monkeypatch.setattr(admission, "CHECK", apart.endless(tmp_path / "reader"))
    app = create_app(settings.model_copy(update={"preflight_wait_seconds": 1.0}))
    with app.state.processes.begin(apart.ECHO, "", PATIENCE) as pending:
        pending.result()  # the server of such processes runs
    with httpx.Client(transport=InProcess(app), base_url="http://localhost") as http:
        answers: list[httpx.Response] = []
        asking = Thread(target=lambda: answers.append(http.post("/v1/jobs", json=body)))
        asking.start()
        reader = int(until(lambda: (tmp_path / "reader").exists() and (tmp_path / "reader").read_text(encoding="ascii"), "nobody reads"))
        assert http.get("/healthz").status_code == 200
        asking.join(PATIENCE)
        job = answers[0].json()
        assert (answers[0].status_code, job["status"], job["request_counts"]["total"], job["corpus"]) == (202, "checking", 0, None)
        assert answers[0].headers["location"] == f"/v1/jobs/{job['id']}"
        assert [(stage["stage"], stage["unit"], stage["total"]) for stage in job["stages"]] == [("check", "percent", 100)]
        assert job["id"] in [item["id"] for item in http.get("/v1/jobs", params={"status": "checking"}).json()["items"]]
    until(lambda: apart.is_gone(reader), "what nobody waits for still reads")


def test_many_endless_looks_leave_the_service_at_hand(
    settings: Settings, body: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """None of many requests keeps a thread or a process: there would soon be no more of them."""
    monkeypatch.setattr(admission, "CHECK", apart.endless(tmp_path / "reader"))
    app = create_app(settings.model_copy(update={"preflight_wait_seconds": 0.05, "preflight_processes": 1}))
    with httpx.Client(transport=InProcess(app), base_url="http://localhost", timeout=PATIENCE) as http:
        asked = [http.post("/v1/jobs", json=body) for _ in range(60)]
        assert {(answer.status_code, answer.json()["status"]) for answer in asked} == {(202, "checking")}
        assert http.get("/healthz").status_code == 200


def test_estimates_wait_within_bounds(settings: Settings, body: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """They have no state to wait in: as many as there are processes wait to the deadline, the others are told to come again."""
    monkeypatch.setattr(admission, "CHECK", apart.endless(tmp_path / "reader"))
    app = create_app(settings.model_copy(update={"preflight_wait_seconds": 0.05, "preflight_processes": 1, "preflight_timeout_seconds": 3.0}))
    with httpx.Client(transport=InProcess(app), base_url="http://localhost", timeout=PATIENCE) as http:
        answers: list[httpx.Response] = []
        asking = Thread(target=lambda: answers.append(http.post("/v1/jobs/estimate", json=body)))
        asking.start()
        until(lambda: (tmp_path / "reader").exists(), "nobody reads")
        busy = http.post("/v1/jobs/estimate", json=body)
        assert (busy.status_code, busy.json()["code"]) == (503, "checks-busy")
        assert http.get("/healthz").status_code == 200
        asking.join(PATIENCE)
        assert (answers[0].status_code, answers[0].json()["code"]) == (422, "files-take-too-much")
        assert "GLOSSATOR_PREFLIGHT_TIMEOUT_SECONDS" in answers[0].json()["cure"]


def test_a_worker_looks_and_the_job_goes_on_to_its_end(http: httpx.Client, runtime: Runtime, body: dict[str, Any]) -> None:
    job = submit(http, body)
    assert job["status"] == "checking"
    assert run_chunk(runtime, Queue.GPU)
    found = http.get(f"/v1/jobs/{job['id']}").json()
    assert (found["status"], found["started_at"], found["request_counts"]["total"]) == ("queued", None, 32)
    assert found["corpus"]["files"] == 1
    assert [stage["stage"] for stage in found["stages"]] == ["check", "prepare"]
    drain(runtime, Queue.GPU, Queue.LLM)
    assert steps.look(runtime.engine, job["id"]).status == "completed"


def test_what_would_be_refused_fails_and_can_be_tried_again(http: httpx.Client, runtime: Runtime, body: dict[str, Any]) -> None:
    corpus = Path(body["corpus"]["path"])
    kept = corpus.read_bytes()
    corpus.write_bytes(b"{}\n")
    job = submit(http, body)
    drain(runtime, Queue.GPU)
    found = http.get(f"/v1/jobs/{job['id']}").json()
    assert (found["status"], found["error"]["status"], found["error"]["stage"]) == ("failed", 422, "check")
    assert found["error"]["cure"]
    corpus.write_bytes(kept)
    assert http.post(f"/v1/jobs/{job['id']}/retry").json()["status"] == "checking"
    assert run_chunk(runtime, Queue.GPU)
    assert http.get(f"/v1/jobs/{job['id']}").json()["status"] == "queued"


def test_limits_hold_in_the_worker(http: httpx.Client, settings: Settings, body: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "CHECK", apart.GREEDY)
    job = submit(http, body)
    assert run_chunk(Runtime.of(settings.model_copy(update={"preflight_memory_bytes": 1 << 26})), Queue.GPU)
    found = http.get(f"/v1/jobs/{job['id']}").json()
    assert (found["status"], found["error"]["code"]) == ("failed", "files-take-too-much")
    assert "GLOSSATOR_PREFLIGHT_MEMORY_BYTES" in found["error"]["cure"]


def test_the_same_key_gives_the_same_job_whatever_its_state(http: httpx.Client, runtime: Runtime, body: dict[str, Any]) -> None:
    neurons = {"source": body["subject"]["model"], "format": "neurons", "hook_point": "blocks.0.mlp.hook_post"}
    several = [body["dictionary"] | {"name": None}, neurons]
    body = body | {"controls": ["null", "random_weights"], "dictionary": several[0], "dictionaries": several}
    first = submit(http, body, "nightly")
    assert submit(http, body, "nightly") == first
    run_chunk(runtime, Queue.GPU)
    again = submit(http, body, "nightly")
    assert (again["id"], again["status"]) == (first["id"], "queued")
    assert again["control"] is not None, "the control is written once the files are known"
    assert all(one["name"] for one in again["spec"]["dictionaries"]), "the control is named after them"
    assert len(again["spec"]["dictionaries"]) == 2
    assert http.post("/v1/jobs", json=body | {"seed": 8}, headers={"Idempotency-Key": "nightly"}).status_code == 409


def test_a_key_whose_files_have_gone_gives_its_job(http: httpx.Client, body: dict[str, Any]) -> None:
    first = submit(http, body, "monthly")
    os.remove(body["corpus"]["path"])  # noqa: PTH107 - it is a text
    assert submit(http, body, "monthly") == first


def test_cancelled_before_a_worker_looks(http: httpx.Client, runtime: Runtime, body: dict[str, Any]) -> None:
    job = submit(http, body)
    assert http.post(f"/v1/jobs/{job['id']}/cancel").json()["status"] == "cancelled"
    assert not run_chunk(runtime, Queue.GPU)


def test_cancelled_while_a_worker_looks(
    http: httpx.Client, runtime: Runtime, body: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The process that reads is ended, and the job is cancelled."""
    monkeypatch.setattr(check, "CHECK", apart.endless(tmp_path / "reader"))
    job = submit(http, body)
    working = Thread(target=run_chunk, args=(runtime, Queue.GPU))
    working.start()
    reader = int(until(lambda: (tmp_path / "reader").exists() and (tmp_path / "reader").read_text(encoding="ascii"), "nobody reads"))
    assert http.post(f"/v1/jobs/{job['id']}/cancel").json()["status"] == "cancelling"
    working.join(PATIENCE)
    assert not working.is_alive()
    assert http.get(f"/v1/jobs/{job['id']}").json()["status"] == "cancelled"
    until(lambda: apart.is_gone(reader), "it still reads")


def test_a_job_that_is_checked_cannot_be_paused(http: httpx.Client, body: dict[str, Any]) -> None:
    answer = http.post(f"/v1/jobs/{submit(http, body)['id']}/pause")
    assert (answer.status_code, "checking" in answer.json()["detail"]) == (409, True)


def test_a_worker_that_dies_over_it_is_followed_by_another(http: httpx.Client, runtime: Runtime, body: dict[str, Any], tiny_job: JobSpec) -> None:
    """The first one's lease runs out; what it would still write is refused."""
    job = submit(http, body)
    with transaction(runtime.engine) as session:
        lease = chunks.claim(session, Queue.GPU, "of a worker that dies", 30.0)
    assert lease is not None
    completion.sweep(runtime.engine, lambda owner: owner == "of a worker that dies", 6)
    assert run_chunk(runtime, Queue.GPU)
    assert job_row(runtime.engine, job["id"]).status == "queued"
    found = admission.check(tiny_job, runtime.settings)
    with pytest.raises(LeaseLostError), transaction(runtime.engine) as session:
        jobs.admit(session, job["id"], found.spec, found.facts)
    with snapshot(runtime.engine) as session:
        assert sorted(session.scalars(select(ChunkRow.stage).where(ChunkRow.job_id == job["id"]))) == ["check", "prepare"]


def job_row(engine: Engine, job_id: str) -> JobRow:
    with snapshot(engine) as session:
        return jobs.get(session, job_id)


def test_other_changes_of_a_job_that_is_checked(http: httpx.Client, runtime: Runtime, body: dict[str, Any]) -> None:
    job = submit(http, body)
    assert http.post(f"/v1/jobs/{job['id']}/resume", json={"budget": {"calls": 5}}).json()["status"] == "checking"
    with pytest.raises(ConflictError), transaction(runtime.engine) as session:
        jobs.retry(session, job["id"])
