"""Batches by REST and on the command line: listed, exported, and imported from any file that a runner wrote."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import Result
from sqlalchemy import Engine, delete, update
from typer.testing import CliRunner

from api.app import create_app
from api.cli import app, connect
from benches.in_process import InProcess
from glossator import ApiError, Client
from interp.config.settings import Settings
from interp.domain.access import Scope
from interp.domain.errors import InputError
from interp.domain.lifecycle import JobStatus
from interp.domain.spec import FILES
from interp.llm.call_store import UPLOADED, PendingBatch
from interp.llm.transports import batch_results
from interp.llm.transports.batch_files import blocks_of, requests_of, results_of
from interp.store.access import keys
from interp.store.db.engine import transaction
from interp.store.db.tables import ApiKeyRow, JobRow, LlmBatchRow
from interp.store.llm import batches
from interp.store.queue import jobs
from tests.fakes.batch_runner import failed, lines_of
from tests.store import steps
from workers.artifact_paths import store_of
from workers.batches import clear_ended

IDS = [f"{number:032x}" for number in range(1, 4)]


@pytest.fixture(autouse=True)
def nothing_left(store: Engine, service_settings: Settings) -> Iterator[None]:
    yield
    with transaction(store) as session:
        session.execute(delete(LlmBatchRow))
    for batch_id in IDS:
        store_of(service_settings).delete(requests_of(batch_id))
        store_of(service_settings).delete(results_of(batch_id))


def question(key: str) -> bytes:
    return json.dumps({"custom_id": key, "method": "POST", "url": "/v1/chat/completions", "body": {"model": "m", "messages": []}}).encode() + b"\n"


def result(key: str) -> dict[str, Any]:
    return {"id": "x", "custom_id": key, "response": {"status_code": 200, "request_id": "x", "body": {"choices": [{"i": key}]}}, "error": None}


@pytest.fixture
def job(store: Engine, service_settings: Settings) -> str:
    """A job with three batches of two questions, and what is no batch of the listing."""
    with transaction(store) as session:
        job_id = jobs.submit(session, steps.SPEC, steps.Checked(), owner="owner").id
    for batch_id in IDS:
        names = (f"{batch_id}-a", f"{batch_id}-b")
        with store_of(service_settings).writing(requests_of(batch_id)) as file:
            file.write(b"".join(map(question, names)))
        with transaction(store) as session:
            batches.submitted(session, job_id, "chunk", PendingBatch(batch_id, FILES, "org/model", names))
    with transaction(store) as session:
        batches.submitted(session, job_id, "chunk", PendingBatch(UPLOADED + "1" * 32, FILES, "org/model", ("k",)))
        batches.submitted(session, job_id, "chunk", PendingBatch("batch_1", "https://api.openai.com/v1", "gpt", ("k",)))
    return job_id


@pytest.fixture
def command(service_settings: Settings, store: Engine, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """The command line on the local database, without a server."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(connect, "settings", lambda: service_settings.model_copy(update={"port": 1}))
    return lambda *arguments: CliRunner().invoke(app, ["batches", *map(str, arguments)], catch_exceptions=False)


def test_batches_are_listed_newest_first_by_pages(client: Client, http: httpx.Client, job: str) -> None:
    found = list(client.list_batches())
    assert sorted(batch["id"] for batch in found) == IDS
    assert [batch["id"] for batch in client.list_batches(job=job, status="open")] == [batch["id"] for batch in found]
    assert {(batch["questions"], batch["model"], batch["status"], batch["has_results"], batch["job_id"]) for batch in found} == {
        (2, "org/model", "open", False, job)
    }
    assert list(client.list_batches(status="ended")) == list(client.list_batches(job="another")) == []
    page = http.get("/v1/batches", params={"limit": 2}).json()
    rest = http.get("/v1/batches", params={"limit": 2, "cursor": page["next_cursor"]}).json()
    assert [batch["id"] for batch in page["items"] + rest["items"]] == [batch["id"] for batch in found]
    assert rest["next_cursor"] is None
    assert http.get("/v1/batches", params={"status": "open", "cursor": page["next_cursor"]}).json()["code"] == "cursor-invalid"


def test_questions_go_out_and_results_come_in_again_and_again(client: Client, service_settings: Settings, job: str, tmp_path: Path) -> None:
    assert b"".join(client.stream_batch_requests(IDS[0])) == question(f"{IDS[0]}-a") + question(f"{IDS[0]}-b")
    file = tmp_path / "out.jsonl"
    file.write_bytes(lines_of([result(f"{IDS[0]}-b"), result("another"), result(f"{IDS[0]}-b"), failed(result(f"{IDS[0]}-a"), 500, "died")]) + b"{\n")
    for _ in range(2):
        counts = client.put_batch_results(IDS[0], file)
        assert {name: counts[name] for name in counts if name != "batch"} == {
            "is_stored": True,
            "lines": 5,
            "answered": 1,
            "failed": 1,
            "missing": 0,
            "duplicated": 1,
            "unknown": 1,
            "unreadable": 1,
        }
    kept = b"".join(blocks_of(store_of(service_settings), results_of(IDS[0]))).splitlines()
    assert [json.loads(line)["custom_id"] for line in kept] == [f"{IDS[0]}-b", f"{IDS[0]}-a"]
    assert json.loads(kept[1])["response"] == {"status_code": 500, "body": {"error": {"message": "died", "code": None, "param": None}}}
    assert [batch["has_results"] for batch in client.list_batches() if batch["id"] == IDS[0]] == [True]


def test_results_of_which_no_line_is_of_the_batch_leave_nothing(client: Client, job: str, tmp_path: Path) -> None:
    file = tmp_path / "out.jsonl"
    for content in (b"", b"\n\n", b"no json", lines_of([result(f"{IDS[1]}-a")])):
        file.write_bytes(content)
        with pytest.raises(ApiError, match="No line") as refused:
            client.put_batch_results(IDS[0], file)
        assert refused.value.code == "upload-invalid"
    assert not any(batch["has_results"] for batch in client.list_batches())


def test_what_is_too_much_leaves_nothing(client: Client, job: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_results, "MAX_RESULT_BYTES", 1000)
    file = tmp_path / "out.jsonl"
    file.write_bytes(lines_of([result(f"{IDS[0]}-a")] * 20))
    with pytest.raises(ApiError) as refused:
        client.put_batch_results(IDS[0], file)
    assert (refused.value.status, refused.value.code) == (413, "upload-too-large")
    assert not any(batch["has_results"] for batch in client.list_batches())


def test_a_batch_that_has_ended_takes_no_results(client: Client, store: Engine, service_settings: Settings, job: str, tmp_path: Path) -> None:
    with transaction(store) as session:
        batches.ended(session, job, IDS[0])
    assert clear_ended(store, service_settings) == 1
    file = tmp_path / "out.jsonl"
    file.write_bytes(lines_of([result(f"{IDS[0]}-a")]))
    counts = client.put_batch_results(IDS[0], file)
    assert (counts["is_stored"], counts["answered"], counts["batch"]["status"]) == (False, 1, "ended")
    assert store_of(service_settings).size(results_of(IDS[0])) is None
    with pytest.raises(ApiError, match="has ended") as refused:
        list(client.stream_batch_requests(IDS[0]))
    assert refused.value.status == 409


def test_batches_of_a_job_that_has_ended_are_not_open(client: Client, store: Engine, service_settings: Settings, job: str) -> None:
    with transaction(store) as session:
        session.execute(update(JobRow).where(JobRow.id == job).values(status=JobStatus.FAILED))
    assert list(client.list_batches(status="open")) == []
    assert clear_ended(store, service_settings) == 0, "the job may be retried"
    with transaction(store) as session:
        session.execute(update(JobRow).where(JobRow.id == job).values(status=JobStatus.CANCELLED))
    assert clear_ended(store, service_settings) == len(IDS)


def test_unknown_batches(client: Client, http: httpx.Client, job: str, tmp_path: Path) -> None:
    file = tmp_path / "out.jsonl"
    file.write_bytes(b"x")
    for ask in (lambda: list(client.stream_batch_requests("f" * 32)), lambda: client.put_batch_results("f" * 32, file)):
        with pytest.raises(ApiError) as refused:
            ask()
        assert refused.value.status == 404
    assert http.put("/v1/batches/batch_1/results", content=b"x").status_code == 422
    assert http.get("/v1/batches/..%2f..%2fetc/requests").status_code in (404, 422)


def test_results_are_for_the_jobs_owner_to_give(service_settings: Settings, store: Engine, job: str) -> None:
    with transaction(store) as session:
        made = {
            name: keys.create(session, name, [scope], "test").text
            for name, scope in (("owner", Scope.SUBMIT), ("other", Scope.SUBMIT), ("reader", Scope.READ))
        }
    try:
        with httpx.Client(transport=InProcess(create_app(service_settings)), base_url="http://test") as http:

            def put(name: str) -> int:
                return http.put(
                    f"/v1/batches/{IDS[0]}/results",
                    content=lines_of([result(f"{IDS[0]}-a")]),
                    headers={"Authorization": f"Bearer {made[name]}", "Content-Type": "application/jsonl"},
                ).status_code

            assert [put(name) for name in ("reader", "other", "owner")] == [403, 403, 200]
            assert http.get(f"/v1/batches/{IDS[0]}/requests", headers={"Authorization": f"Bearer {made['reader']}"}).status_code == 200
            assert http.get(f"/v1/batches/{IDS[0]}/requests").status_code == 401
    finally:
        with transaction(store) as session:
            session.execute(delete(ApiKeyRow))


def test_export_run_import(command: Callable[..., Result], job: str, tmp_path: Path) -> None:
    shown = command("export", "--to", tmp_path / "out")
    lines = shown.stdout.splitlines()
    assert sorted(lines) == [
        f"vllm run-batch -i {tmp_path}/out/{batch_id}.jsonl -o {tmp_path}/out/{batch_id}.results.jsonl --model org/model" for batch_id in IDS
    ]
    assert (tmp_path / "out" / f"{IDS[0]}.jsonl").read_bytes() == question(f"{IDS[0]}-a") + question(f"{IDS[0]}-b")
    (tmp_path / "out" / f"{IDS[0]}.results.jsonl").write_bytes(lines_of([result(f"{IDS[0]}-a"), result(f"{IDS[0]}-b")]))
    shown = command("import", tmp_path / "out")
    assert shown.stdout == f"{IDS[0]}.results.jsonl: batch {IDS[0]}: 2 answered\n"
    assert sorted(one["id"] for one in json.loads(command("export", "--to", tmp_path / "again", "--json").stdout)) == IDS[1:]
    assert "results imported" in command("list").stdout
    assert json.loads(command("export", "--job", "another", "--to", tmp_path / "none", "--json").stdout) == []


def test_one_file_for_all_batches_finds_each(command: Callable[..., Result], job: str, tmp_path: Path) -> None:
    file = tmp_path / "all.jsonl"
    file.write_bytes(lines_of([result(f"{batch_id}-{letter}") for letter in "ab" for batch_id in IDS[:2]]))
    made = json.loads(command("import", file, "--json").stdout)
    assert sorted((one["batch"]["id"], one["answered"], one["unknown"]) for one in made) == [(batch_id, 2, 2) for batch_id in IDS[:2]]
    file.write_bytes(lines_of([result("nobody's")]))
    with pytest.raises(InputError, match="No line"):
        command("import", file)
    with pytest.raises(InputError, match="no results"):
        command("import", tmp_path)
