"""The log: ids for what happens inside, one form for all libraries, and no secret whichever way it comes in."""

import asyncio
import io
import json
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from api.demo.fake_llm.server import ScriptedServer
from interp.config.settings import Settings
from interp.llm.base import Reply
from interp.observability import logs
from tests.llm.conftest import KEY, ClientHarness, question

SECRETS = {
    "llm_api_key": "plain-key-of-the-endpoint",
    "llm_keys": {"https://other.example/v1": 'key"with quotes'},
    "webhook_secret": "whsec_" + "A" * 32,
    "database_url": "postgresql://glossator:pass%2Fword@db/book",
    "broker_url": "redis://:broker-password@redis:6379/0",
    "artifacts_url": "s3://bucket",
    "artifact_options": {"key": "AKIA-bucket", "client": {"aws_secret": "secret-of-the-bucket"}, "endpoint_url": "http://minio:9000"},
}
HIDDEN = (
    "plain-key-of-the-endpoint",
    'key"with quotes',
    "A" * 32,
    "pass%2Fword",
    "pass/word",
    "broker-password",
    "AKIA-bucket",
    "secret-of-the-bucket",
)


@pytest.fixture(autouse=True)
def put_back() -> Iterator[None]:
    """The log that pytest has set up."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in (*logs.OURS, "httpx2", "uvicorn", "openai")}
    yield
    logging.captureWarnings(False)
    root.handlers[:], root.level = handlers, level
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)


def written(tmp_path: Path, write: Callable[[], object], **settings: Any) -> str:
    """What `write` leaves in the log."""
    stream = io.StringIO()
    logs.configure(Settings(home=tmp_path, **settings), "gpu-0", stream)
    write()
    return stream.getvalue()


def lines(tmp_path: Path, write: Callable[[], object], **settings: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in written(tmp_path, write, log_format="json", **settings).splitlines()]


def test_ids_are_on_every_line_inside_whoever_writes_it(tmp_path: Path) -> None:
    def write() -> None:
        ours, theirs = logs.get_logger("interp.ours"), logging.getLogger("theirs")
        ours.info("before")
        with logs.bound(job="j", chunk="c"):
            ours.info("inside", units=3)
            theirs.warning("of %s", "a library")
        ours.info("after")

    before, inside, library, after = lines(tmp_path, write)
    assert (inside["event"], inside["job"], inside["chunk"], inside["units"], inside["worker"]) == ("inside", "j", "c", 3, "gpu-0")
    assert (library["event"], library["job"], library["logger"], library["level"]) == ("of a library", "j", "theirs", "warning")
    assert "job" not in before and "job" not in after


def test_ids_go_along_to_the_event_loop_of_another_thread(tmp_path: Path) -> None:
    def write() -> None:
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()

        async def ask() -> None:
            await asyncio.sleep(0)
            logs.get_logger("workers.llm.event_loop").info("asked")

        with logs.bound(job="j", chunk="c"):
            asyncio.run_coroutine_threadsafe(ask(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    [line] = lines(tmp_path, write)
    assert (line["job"], line["chunk"]) == ("j", "c")


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_secret_comes_out_whichever_way_it_goes_in(tmp_path: Path, form: str) -> None:
    def write() -> None:
        ours, theirs = logs.get_logger("interp.ours"), logging.getLogger("theirs")
        for secret in HIDDEN:
            ours.info("as a value", value=secret, deeper={"list": [secret]})
            theirs.warning("as an argument: %s", secret)
            theirs.error(f"in the text: {secret}")
            with logs.bound(job=secret):
                try:
                    raise ValueError(f"in an error: {secret}")
                except ValueError:
                    ours.exception("failed")
        theirs.warning("Authorization: Bearer abc.def-ghi, and postgresql://me:another-password@host/db, and sk-proj-abcdefghijkl")
        theirs.warning("/v1/jobs?api_key=gl_5f3a9c21_0123456789abcdef")

    found = written(tmp_path, write, log_format=form, **SECRETS)
    assert "Traceback" in found and "in an error" in found
    for secret in (*HIDDEN, json.dumps(HIDDEN[1])[1:-1], "abc.def-ghi", "another-password", "sk-proj-abcdefghijkl", "gl_5f3a9c21_0123456789"):
        assert secret not in found
    assert "//me:***@host/db" in found
    assert "http://minio:9000" not in found or "endpoint_url" not in found


def test_tracebacks_show_no_local_variables(tmp_path: Path) -> None:
    def write() -> None:
        local = "a value that only this frame has"
        try:
            raise ValueError(str(len(local)))
        except ValueError:
            logs.get_logger("interp.ours").exception("failed")

    found = written(tmp_path, write, log_format="console")
    assert "ValueError" in found
    assert "only this frame has\n" not in found.replace('local = "a value that only this frame has"', "")


def test_the_level_holds_for_us_and_libraries_that_talk_are_quiet_even_at_debug(tmp_path: Path) -> None:
    def write() -> None:
        logs.get_logger("interp.ours").debug("fine")
        logs.get_logger("interp.ours").warning("coarse")
        logging.getLogger("openai._base_client").debug("Request options: {'headers': ...}")

    assert [line["event"] for line in lines(tmp_path, write, log_level="warning")] == ["coarse"]
    assert [line["event"] for line in lines(tmp_path, write, log_level="debug")] == ["fine", "coarse"]


@pytest.mark.parametrize("level", ["debug", "info"])
def test_no_library_is_heard_below_a_warning_whatever_its_name(tmp_path: Path, level: str) -> None:
    """A list of libraries named httpx, and the HTTP client had become httpx2: a line a call."""

    def write() -> None:
        logging.getLogger("uvicorn").setLevel(logging.DEBUG)
        for name in ("httpx", "httpx2", "openai._base_client", "uvicorn.access", "a.library.that.comes.next"):
            logging.getLogger(name).debug("headers: {...}")
            logging.getLogger(name).info("HTTP Request: POST http://127.0.0.1:8000/v1/chat/completions")
        logging.getLogger("workers.ours").info("told")

    assert [line["event"] for line in lines(tmp_path, write, log_level=level)] == ["told"]


def test_the_endpoints_client_writes_no_line_a_call(tmp_path: Path) -> None:
    def write() -> None:
        with ScriptedServer(key=KEY) as server:
            assert all(isinstance(reply, Reply) for reply in ClientHarness(server.base_url).ask_all([question(f"{number}") for number in range(3)]))

    assert "HTTP Request" not in written(tmp_path, write, log_level="debug")
    assert written(tmp_path, lambda: None) == ""


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:8000/v1 does not answer",
        "no connection to http://localhost:11434",
        "redis://redis:6379/0",
        'at "https://host:8443", then',
        "http://[::1]:8000/v1?user=a@b",
        "postgresql://db:5432/book?contact=me@example.org",
    ],
)
def test_ports_are_no_secrets(tmp_path: Path, text: str) -> None:
    [line] = lines(tmp_path, lambda: logs.get_logger("interp.ours").info(text))
    assert line["event"] == text


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:open-sesame@host:5432/db", "postgresql://me:***@host:5432/db"),
        ("redis://:open-sesame@redis:6379/0", "redis://:***@redis:6379/0"),
        ("https://me:open/sesame@host:8000/v1", "https://me:***@host:8000/v1"),
        ("https://me:open@sesame@host:8000/v1", "https://me:***@host:8000/v1"),
        ("https://me:12345@host:8000/v1", "https://me:***@host:8000/v1"),
        ("https://me:open-sesame@host:8000/v1?a=b@c", "https://me:***@host:8000/v1?a=b@c"),
    ],
)
def test_passwords_of_urls_are_hidden_and_their_ports_are_not(tmp_path: Path, url: str, shown: str) -> None:
    [line] = lines(tmp_path, lambda: logging.getLogger("theirs").warning("cannot open %s now", url))
    assert line["event"] == f"cannot open {shown} now"


def test_a_program_that_sets_up_no_log_gets_plain_lines(caplog: pytest.LogCaptureFixture) -> None:
    logs.get_logger("interp.ours").warning("as it is", value=1)
    assert caplog.records[-1].getMessage() == "as it is"
