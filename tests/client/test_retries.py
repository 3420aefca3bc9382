"""Retries, reconnections and waits of the client, against scripted answers."""

import json
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glossator import ApiError, Client, JobNotCompletedError, Retries, UnreachableError, WaitTimeoutError, wire
from glossator.retries import retry_after_seconds

PROBLEM = {"content-type": "application/problem+json"}
Reply = httpx.Response | Exception


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits that the client asked for, of which none is waited."""
    waits: list[float] = []
    monkeypatch.setattr(wire.time, "sleep", waits.append)
    return waits


class Script(httpx.BaseTransport):
    """Answers in order; the last one again and again. Keeps the requests."""

    def __init__(self, *replies: Reply | Callable[[], Reply]) -> None:
        self._replies, self.requests = list(replies), list[httpx.Request]()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        found = self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]
        reply = found() if callable(found) else found
        if isinstance(reply, Exception):
            raise reply
        return reply


def busy(status: int = 503, **headers: str) -> httpx.Response:
    body = json.dumps({"code": "database-unreachable", "status": status, "detail": "The database is away."}).encode()
    return httpx.Response(status, headers=PROBLEM | {name.replace("_", "-"): value for name, value in headers.items()}, content=body)


def job(**fields: Any) -> dict[str, Any]:
    return {"id": "j", "status": "completed", "stages": [], "finished_at": "2026-01-01T00:00:00Z", "error": None, "pause_reason": None} | fields


def good(**fields: Any) -> httpx.Response:
    return httpx.Response(200, json=job(**fields))


def events(*parts: str) -> httpx.Response:
    return httpx.Response(200, headers={"content-type": "text/event-stream"}, content="".join(parts).encode())


def event(name: str, number: int, **fields: Any) -> str:
    return f"id: {number}\nevent: {name}\ndata: {json.dumps(job(**fields))}\n\n"


def test_retry_after_is_waited_for(slept: list[float]) -> None:
    script = Script(busy(retry_after="7"), busy(429, retry_after="2"), good())
    assert Client("http://x", script).get_job("j").status == "completed"
    assert [round(wait, 6) >= least for wait, least in zip(slept, (7, 2), strict=True)] == [True, True]
    assert slept[0] < 8


def test_without_retry_after_waits_double_and_end(slept: list[float]) -> None:
    script = Script(busy())
    with pytest.raises(ApiError, match="The database is away"):
        Client("http://x", script, retries=Retries(attempts=4, first_wait_seconds=1)).get_job("j")
    assert len(script.requests) == 4
    assert [low <= wait <= high for wait, low, high in zip(slept, (0.5, 1, 2), (1, 2, 4), strict=True)] == [True] * 3


def test_a_wait_that_is_too_long_is_not_begun(slept: list[float]) -> None:
    with pytest.raises(ApiError):
        Client("http://x", Script(busy(retry_after="3600"))).get_job("j")
    assert slept == []


@pytest.mark.parametrize("status", [400, 404, 409, 422, 500, 507])
def test_other_refusals_are_final(slept: list[float], status: int) -> None:
    script = Script(busy(status))
    with pytest.raises(ApiError):
        Client("http://x", script).get_job("j")
    assert len(script.requests) == 1


def test_a_submission_is_repeated_under_one_key(slept: list[float]) -> None:
    script = Script(busy(retry_after="1"), httpx.ReadError("cut"), good())
    Client("http://x", script).submit_job({"features": "all"})
    keys = {request.headers["idempotency-key"] for request in script.requests}
    assert (len(script.requests), len(keys)) == (3, 1)
    other = Script(good())
    Client("http://x", other).submit_job({"features": "all"})
    assert keys.isdisjoint({other.requests[0].headers["idempotency-key"]})


def test_what_may_have_been_done_is_not_repeated(slept: list[float]) -> None:
    script = Script(good(), httpx.ReadError("cut"))
    client = Client("http://x", script)
    client.get_job("j")
    with pytest.raises(UnreachableError):
        client.resume_job("j", {"usd": 5})
    assert len(script.requests) == 2


def test_a_server_that_was_reached_is_waited_for_and_no_other(slept: list[float]) -> None:
    script = Script(httpx.ConnectError("refused"))
    with pytest.raises(UnreachableError):
        Client("http://x", script).get_job("j")
    assert len(script.requests) == 1
    script = Script(good(), httpx.ConnectError("refused"), httpx.RemoteProtocolError("cut"), good())
    client = Client("http://x", script)
    client.get_job("j")
    assert client.get_job("j").id == "j"
    assert len(slept) == 2


@given(st.integers(1, 20), st.one_of(st.none(), st.floats(0, 1e6)), st.floats(0, 1), st.builds(Retries, st.integers(1, 20), st.floats(0.01, 10)))
def test_waits_are_bounded_and_never_too_early(failures: int, asked: float | None, draw: float, retries: Retries) -> None:
    wait = retries.wait_seconds(failures, asked, draw)
    if wait is None:
        assert failures >= retries.attempts or (asked or 0) > retries.longest_wait_seconds
    else:
        assert (asked or 0) <= wait <= retries.longest_wait_seconds + retries.first_wait_seconds


@given(st.text())
def test_no_retry_after_breaks_the_client(value: str) -> None:
    assert (retry_after_seconds({"retry-after": value}) or 0.0) >= 0


def test_retry_after_is_read_as_seconds_or_a_date() -> None:
    now = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
    assert retry_after_seconds({"retry-after": " 12 "}) == 12
    assert retry_after_seconds({"retry-after": "Thu, 01 Jan 2026 12:00:30 GMT"}, now) == 30
    assert retry_after_seconds({"retry-after": "Thu, 01 Jan 2026 11:00:00 GMT"}, now) == 0
    assert retry_after_seconds({}) is None


def test_events_go_on_where_they_were_cut(slept: list[float]) -> None:
    def cut() -> httpx.Response:
        def parts() -> Iterator[bytes]:
            yield b"retry: 2000\n" + event("progress", 4, status="running").encode()
            raise httpx.ReadError("cut")

        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=parts())

    again = event("progress", 0, status="running")
    script = Script(cut, httpx.ConnectError("refused"), events(": ping\n\n"), events(again, event("end", 1)))
    seen = [(found.name, found.data["status"]) for found in Client("http://x", script).stream_job_events("j")]
    assert seen == [("progress", "running"), ("end", "completed")], "the state that was repeated is not told twice"
    assert [request.headers.get("last-event-id") for request in script.requests] == [None, "4", "4", "4"]
    assert slept[0] >= 2, "the server said when to come back"


def test_events_end_where_the_server_stays_away(slept: list[float]) -> None:
    script = Script(events(event("progress", 0, status="running")), httpx.ConnectError("refused"))
    stream = Client("http://x", script, retries=Retries(attempts=3)).stream_job_events("j")
    assert next(stream).data["status"] == "running"
    with pytest.raises(UnreachableError):
        next(stream)
    assert len(script.requests) == 1 + 3


def test_events_of_no_job_are_a_problem_at_once(slept: list[float]) -> None:
    with pytest.raises(ApiError):
        next(Client("http://x", Script(busy(404))).stream_job_events("j"))


def test_waiting_returns_the_job_and_shows_a_bar(slept: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    stages = [{"stage": "collect", "done": 5, "total": 10, "finished_at": None}]
    running = event("progress", 0, status="running", finished_at=None, stages=stages)
    assert Client("http://x", Script(events(running, event("end", 1)), good())).wait("j", show=True).status == "completed"
    assert "[############            ]  50% collect" in capsys.readouterr().err


@pytest.mark.parametrize("status", ["failed", "cancelled", "paused"])
def test_a_job_that_does_not_complete_is_an_error_with_its_reason(slept: list[float], status: str) -> None:
    reason = {"detail": "The budget is used up.", "cure": "Raise it."}
    script = Script(events(event("progress", 0, status=status)), good(status=status, **{"error" if status == "failed" else "pause_reason": reason}))
    with pytest.raises(JobNotCompletedError, match=r"j: \w+. The budget is used up. Raise it.") as error:
        Client("http://x", script).wait("j")
    assert error.value.job["status"] == status


def test_waiting_ends_at_its_deadline(slept: list[float]) -> None:
    script = Script(lambda: events(event("progress", 0, status="running", finished_at=None)))
    with pytest.raises(WaitTimeoutError):
        Client("http://x", script).wait("j", timeout_seconds=0)


def test_a_deprecated_operation_warns() -> None:
    with pytest.warns(DeprecationWarning, match="GET /v1/jobs/j is deprecated and ends on Sat"):
        script = Script(httpx.Response(200, headers={"deprecation": "@1", "sunset": "Sat, 01 Jan 2028 00:00:00 GMT"}, json=job()))
        Client("http://x", script).get_job("j")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Client("http://x", Script(good())).get_job("j")


def test_a_key_is_sent_as_given_or_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(good())
    Client("http://x", script).get_job("j")
    monkeypatch.setenv("GLOSSATOR_API_KEY", "from-environment")
    Client("http://x", script).get_job("j")
    Client("http://x", script, key="given").get_job("j")
    assert [request.headers.get("authorization") for request in script.requests] == [None, "Bearer from-environment", "Bearer given"]


def test_an_upload_that_is_cut_is_sent_again_from_its_beginning(slept: list[float], tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(b"content")
    bodies: list[bytes] = []

    class Reading(Script):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            bodies.append(request.read())
            return super().handle_request(request)

    Client("http://x", Reading(busy(retry_after="1"), httpx.WriteError("cut"), httpx.Response(201, json={"id": "f"}))).upload_file(file)
    assert bodies == [b"content"] * 3
