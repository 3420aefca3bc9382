"""What files make a reader do is done in processes with limits: memory, time, and nothing of the service at hand."""

import json
import math
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from api.app import create_app
from api.cli.local import Local
from benches.in_process import InProcess
from interp.config.settings import EXAMPLES, Settings
from interp.domain.errors import ChecksBusyError, FileMissingError, FilesTakeTooMuchError
from interp.domain.spec import CorpusSpec, DictionarySpec, JobSpec, SubjectSpec
from interp.planning.preflight import CHECK, PreflightRequest
from interp.security import sandbox
from interp.security.allowed_files import Roots
from interp.security.sandbox import Processes, ResourceLimits
from interp.store.db.engine import make_engine, snapshot
from interp.store.db.tables import JobRow
from tests import databases
from tests.security import apart

MIB = 1 << 20
PATIENCE = 60.0
LIMITS = ResourceLimits(256 * MIB, PATIENCE)


@pytest.fixture
def processes() -> Processes:
    return Processes(LIMITS, 2)


def call(task: "sandbox.Task[str, Any]", given: str = "", limits: ResourceLimits = LIMITS) -> Any:
    with Processes(limits, 1).begin(task, given, PATIENCE) as pending:
        return pending.result()


def until(look: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (found := look()):
        assert time.monotonic() < deadline, what
        time.sleep(0.01)
    return found


@pytest.mark.parametrize("nbytes", [1 << 30, 1 << 45])
def test_memory_has_an_end(nbytes: int) -> None:
    with pytest.raises(FilesTakeTooMuchError, match="256 MiB of memory") as error:
        call(apart.TAKE_MEMORY, str(nbytes))
    assert (error.value.status, error.value.details) == (422, {"limit": "memory"})
    assert "GLOSSATOR_PREFLIGHT_MEMORY_BYTES" in error.value.cure
    assert call(apart.TAKE_MEMORY, str(64 * MIB)) == 64 * MIB


@pytest.mark.parametrize("task", [apart.SPIN, apart.HANG])
def test_time_has_an_end(task: "sandbox.Task[str, Any]") -> None:
    with pytest.raises(FilesTakeTooMuchError, match=r"within 0\.2 seconds") as error:
        call(task, limits=ResourceLimits(256 * MIB, 0.2))
    assert (error.value.status, error.value.details) == (422, {"limit": "time"})
    assert "GLOSSATOR_PREFLIGHT_TIMEOUT_SECONDS" in error.value.cure


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGKILL"])
def test_a_process_that_dies_is_a_refusal(name: str) -> None:
    with pytest.raises(FilesTakeTooMuchError):
        call(apart.END, name)
    assert call(apart.ECHO, "still here") == "still here"


def test_errors_come_back_as_what_they_were() -> None:
    with pytest.raises(FileMissingError, match="gone") as error:
        call(apart.REFUSE, "gone \ud800")
    told = error.value
    assert (told.what, told.why, told.cure, told.details) == ("gone \\ud800", "It is a test.", "None.", {"place": [1, "two"]})
    with pytest.raises(RuntimeError, match="ZeroDivisionError: a fault"):
        call(apart.BREAK, "a fault")


def test_much_goes_through_in_both_directions() -> None:
    text = "ü\0" * (3 * MIB)
    assert call(apart.ECHO, text) == text


def test_an_answer_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "MOST_BYTES", MIB)
    with pytest.raises(FilesTakeTooMuchError):
        call(apart.ECHO, "a" * (8 * MIB))


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_nothing_of_the_service_is_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-the-bucket")
    monkeypatch.setenv("GLOSSATOR_LLM_API_KEY", "sk-of-the-server")
    sandbox.stop()
    with socket.create_server(("127.0.0.1", 0)):
        found = call(apart.LOOK)
    assert not [name for name in found["variables"] if name.startswith(("GLOSSATOR", "AWS"))]
    assert sorted({name.partition(" ")[0] for name in found["opened"]} - {f"/proc/{found['pid']}/fd"}) == ["/dev/null", "/memfd:exchange"]
    assert "" not in found["path"], "modules of the folder of the start"
    assert found["pid"] not in (os.getpid(), sandbox.server_pid())


def test_who_is_not_waited_for_is_ended(processes: Processes, tmp_path: Path) -> None:
    with processes.begin(apart.SPIN, str(tmp_path / "pid"), 1.0) as pending:
        pid = int(until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(encoding="ascii"), "it did not start"))
        assert not pending.wait(0.01)
    until(lambda: apart.is_gone(pid), "it still spins")
    assert call(apart.ECHO, "next") == "next"


def test_only_so_many_at_once(processes: Processes) -> None:
    with processes.begin(apart.HANG, "", 1.0), processes.begin(apart.HANG, "", 1.0), pytest.raises(ChecksBusyError) as error:
        processes.begin(apart.ECHO, "", 0.05).__enter__()
    assert (error.value.status, "GLOSSATOR_PREFLIGHT_PROCESSES" in error.value.cure) == (503, True)
    with processes.begin(apart.ECHO, "room again", 1.0) as pending:
        assert pending.result() == "room again"


def test_a_server_that_was_killed_is_started_anew() -> None:
    assert call(apart.ECHO, "before") == "before"
    killed = sandbox.server_pid()
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    until(lambda: apart.is_gone(killed), "it was not killed")
    assert call(apart.ECHO, "after") == "after"
    assert sandbox.server_pid() != killed


def test_stopping_ends_what_is_at_work(processes: Processes, tmp_path: Path) -> None:
    with processes.begin(apart.SPIN, str(tmp_path / "pid"), 1.0) as pending:
        pid = int(until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(encoding="ascii"), "it did not start"))
        sandbox.stop()
        until(lambda: apart.is_gone(pid), "it still spins")
        with pytest.raises(ChecksBusyError):
            pending.result()
    assert sandbox.server_pid() is None


ALONE = """
import sys, time
from interp.security.sandbox import ResourceLimits, Processes, server_pid
from tests.security import apart
with Processes(ResourceLimits(1 << 28, 60.0), 1).begin(apart.HANG, sys.argv[1], 60.0) as pending:
    pending.wait(0.1)
    print(server_pid(), flush=True)
    while True:
        pending.wait(1.0)
"""


def test_all_end_with_the_process_that_asks(tmp_path: Path) -> None:
    place = tmp_path / "pid"
    command = [sys.executable, "-c", ALONE, str(place)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}) as process:
        assert process.stdout is not None
        server = int(process.stdout.readline())
        child = int(until(lambda: place.exists() and place.read_text(encoding="ascii"), "nothing hangs"))
        process.kill()
    until(lambda: apart.is_gone(server) and apart.is_gone(child), "they outlive it")


@pytest.fixture
def job(tmp_path: Path) -> JobSpec:
    """A small job on the example's files."""
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number in range(8):
        (corpus / f"{number}.txt").write_text(f"text {number}", encoding="utf-8")
    return JobSpec(
        subject=SubjectSpec(model=str(EXAMPLES / "pystdlib" / "subject"), device="cpu"),
        dictionary=DictionarySpec(source=str(EXAMPLES / "pystdlib" / "dictionary")),
        corpus=CorpusSpec(path=str(corpus)),
        explainers=("pattern",),
        scorers=("detection",),
    )


def huge_dictionary(job: JobSpec, folder: Path) -> Path:
    """The job's dictionary with many features and every number 0: a file of holes, read in no time, that takes 64 MiB and more to convert."""
    shutil.copytree(job.dictionary.source, folder)
    file = folder / "sae_weights.safetensors"
    with file.open("rb") as weights:
        length = struct.unpack("<Q", weights.read(8))[0]
        header = json.loads(weights.read(length))
    width = header["W_enc"]["shape"][0]
    features = (1 << 24) // (2 * width + 2)
    shapes = {"W_enc": [width, features], "b_enc": [features], "W_dec": [features, width], "b_dec": [width]}
    end, entries = 0, {}
    for name, shape in shapes.items():
        entries[name] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end := end + 4 * math.prod(shape)]}
    text = json.dumps(entries).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text)
    os.truncate(file, 8 + len(text) + end)
    config = json.loads((folder / "cfg.json").read_text(encoding="utf-8"))
    (folder / "cfg.json").write_text(json.dumps(config | {"architecture": "standard", "d_sae": features}), encoding="utf-8")
    return folder


@pytest.fixture
def service(tmp_path: Path) -> Settings:
    found = Settings(home=tmp_path / "home", preflight_memory_bytes=64 * MIB)
    databases.upgrade(found.database_url)
    return found


def test_a_name_that_is_no_text_goes_through(job: JobSpec, tmp_path: Path) -> None:
    (tmp_path / "corpus" / os.fsdecode(b"\xff.txt")).write_text("the largest of all " * 1000, encoding="utf-8")
    asked = PreflightRequest(job, Roots((os.path.realpath(tmp_path), os.path.realpath(EXAMPLES))), PATIENCE, 1 << 30)
    with Processes(LIMITS, 1).begin(CHECK, asked, 1.0) as pending:
        assert pending.result() == CHECK.function(asked)


def test_a_request_whose_files_take_memory_is_refused(job: JobSpec, tmp_path: Path, service: Settings) -> None:
    body = job.model_dump(mode="json")
    huge = body | {"dictionary": {"source": str(huge_dictionary(job, tmp_path / "huge"))}}
    with httpx.Client(transport=InProcess(create_app(service)), base_url="http://localhost") as http:
        answer = http.post("/v1/jobs", json=huge)
        assert (answer.status_code, answer.json()["code"]) == (422, "files-take-too-much"), answer.text
        assert "GLOSSATOR_PREFLIGHT_MEMORY_BYTES" in answer.json()["cure"]
        assert http.get("/healthz").status_code == 200
        calm = http.post("/v1/jobs", json=body)
        assert calm.status_code == 202, calm.text


def long_winded(job: JobSpec, folder: Path) -> Path:
    """The job's subject with some tokens of half a MiB, few enough for a tokenizer file that is read at once."""
    shutil.copytree(job.subject.model, folder)
    file = folder / "tokenizer.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    vocabulary = sorted(content["model"]["vocab"].items(), key=lambda entry: entry[1])
    content["model"]["vocab"] = {text * (1 << 19) if 4 < number < 36 else text: number for text, number in vocabulary}
    content["model"]["merges"] = []
    file.write_text(json.dumps(content), encoding="utf-8")
    return folder


def test_an_estimate_whose_texts_take_memory_is_refused(job: JobSpec, tmp_path: Path, service: Settings) -> None:
    """Prompts are made of the subject's tokens, as many as the job asks for."""
    models = {"explainer": {"model": "any"}}
    body = job.model_dump(mode="json") | {"explainers": [{"name": "contexts"}], "scorers": [], "models": models}
    endless = body | {"subject": {"model": str(long_winded(job, tmp_path / "subject")), "device": "cpu"}}
    roomy = service.model_copy(update={"preflight_memory_bytes": 256 * MIB})
    with httpx.Client(transport=InProcess(create_app(roomy)), base_url="http://localhost", timeout=PATIENCE) as http:
        answer = http.post("/v1/jobs/estimate", json=endless)
        assert (answer.status_code, answer.json().get("code")) == (422, "files-take-too-much"), answer.text
        assert http.post("/v1/jobs/estimate", json=body).status_code == 200


def test_reading_commands_start_no_process(job: JobSpec, service: Settings) -> None:
    sandbox.stop()
    engine = make_engine(service.database_url)
    local = Local(engine, service)
    assert list(local.list_jobs()) == []
    assert local.estimate_job(job.model_dump(mode="json"))["features"] > 0
    with httpx.Client(transport=InProcess(create_app(service)), base_url="http://localhost") as http:
        assert http.get("/v1/jobs").json()["items"] == []
    with snapshot(engine) as session:
        assert session.scalar(select(func.count()).select_from(JobRow)) == 0
    engine.dispose()
    assert sandbox.server_pid() is None
