"""Following a job: bars, lines, and a server that goes away for a while."""

import io
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from api.cli.output import progress
from api.cli.output.progress import (
    RATE_SECONDS,
    JobDidNotCompleteError,
    JobIsPausedError,
    LiveBars,
    NothingExplainedError,
    PlainLines,
    SpendLine,
    display,
    follow,
    raise_unless_completed,
    require_explained,
)
from glossator import Event, UnreachableError
from interp.domain.errors import ServerUnreachableError


def stage(name: str, done: int, total: int, **fields: Any) -> dict[str, Any]:
    known = {"unit": "tokens", "started_at": "2026-11-20T12:00:00Z", "finished_at": None, "seconds": 10.0, "eta_seconds": 30.0}
    return {"stage": name, "done": done, "total": total} | known | fields


def state(status: str, *stages: dict[str, Any]) -> dict[str, Any]:
    return {"id": "j", "status": status, "stages": list(stages), "error": None}


def test_a_log_gets_a_line_a_stage_that_ends_and_one_now_and_then() -> None:
    buffer = io.StringIO()
    console = Console(file=buffer, width=40)
    assert isinstance(display(console), PlainLines)
    with PlainLines(console, every=3600) as lines:
        lines.show(state("queued", stage("prepare", 0, 1, started_at=None)))
        for done in range(100, 1000, 100):
            lines.show(state("running", stage("collect", done, 1000)))
        lines.show(state("running", stage("collect", 1000, 1000, finished_at="x", seconds=65.0), stage("merge", 0, 9, started_at=None)))
    assert buffer.getvalue().splitlines() == ["waiting for a worker", "  collect 100%  1,000/1,000 tokens  15 tokens/s  took 1:05"]


def test_a_terminal_gets_bars_with_rate_and_time_left() -> None:
    buffer = io.StringIO()
    console = Console(file=buffer, width=120, force_terminal=True, color_system=None)
    with LiveBars(console) as bars:
        bars.show(state("running", stage("prepare", 100, 100, unit="percent", finished_at="x"), stage("collect", 250, 1000)))
    shown = buffer.getvalue()
    assert "250/1,000" in shown
    assert "25 tokens/s" in shown
    assert "0:30 left" in shown
    assert "took 0:10" in shown


def test_what_has_no_time_left_yet_has_no_rate_either() -> None:
    buffer = io.StringIO()
    with LiveBars(Console(file=buffer, width=120, force_terminal=True, color_system=None)) as bars:
        bars.show(state("running", stage("collect", 1, 25_000, eta_seconds=None)))
    assert "1/25,000" in buffer.getvalue()
    assert "tokens/s" not in buffer.getvalue()


class Flaky:
    """A client whose server goes away after the first event, is back at the third look, and then sees the job end."""

    url = "http://flaky"

    def __init__(self) -> None:
        self.looks = 0
        self.streams = 0

    def stream_job_events(self, job_id: str) -> Iterator[Event]:
        self.streams += 1
        yield Event("progress", state("running", stage("collect", 1, 2)))
        if self.streams == 1:
            raise UnreachableError("gone")
        yield Event("end", state("completed"))

    def get_job(self, job_id: str) -> dict[str, Any]:
        return state("completed")

    def is_ready(self) -> bool:
        self.looks += 1
        return self.looks >= 3


def test_a_server_that_comes_back_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "RETRY_SECONDS", 0.0)
    client = Flaky()
    assert follow(client, "j", Console(file=io.StringIO()))["status"] == "completed"  # type: ignore[arg-type]
    assert (client.looks, client.streams) == (3, 2)


def test_a_server_that_stays_away_ends_in_an_error_that_says_how_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr(progress, "RETURN_SECONDS", 0.0)
    with pytest.raises(ServerUnreachableError, match="--follow"):
        follow(Flaky(), "j", Console(file=io.StringIO()))  # type: ignore[arg-type]


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_only_a_completed_job_is_a_success(status: str) -> None:
    raise_unless_completed(state("completed"))
    with pytest.raises(JobDidNotCompleteError, match=status):
        raise_unless_completed(state(status))


def budget(calls: int, tokens: int, usd: float | None, cap: int | None = None) -> dict[str, Any]:
    nothing = {"calls": 0, "tokens": 0, "usd": 0.0}
    return {
        "caps": {"calls": None, "tokens": cap, "usd": None},
        "spent": {"calls": calls, "tokens": tokens, "usd": usd},
        "reserved": nothing,
        "unsettled": nothing,
    }


def test_the_spend_line_says_calls_per_second_tokens_and_dollars() -> None:
    line = SpendLine()
    assert line.text(state("running"), 0.0) == "", "a job of rules alone has no spend"
    assert line.text(state("running") | {"budget": budget(10, 4000, 0.5, cap=9000)}, 0.0) == "10 calls  4,000 of 9,000 tokens  cost $0.5000"
    later = line.text(state("running") | {"budget": budget(50, 8000, None, cap=9000)}, 2 * RATE_SECONDS)
    assert later == "50 calls  10.0 calls/s  8,000 of 9,000 tokens  cost unknown"


def test_bars_have_the_spend_below_them() -> None:
    buffer = io.StringIO()
    console = Console(file=buffer, width=120, force_terminal=True, color_system=None)
    with LiveBars(console) as bars:
        bars.show(state("running", stage("score", 1, 2, unit="features")) | {"budget": budget(7, 900, 0.25)})
    assert "7 calls  900 tokens  cost $0.2500" in buffer.getvalue()


class Pausing:
    """A client whose job pauses: the stream goes on, since the job may be resumed."""

    url = "http://pausing"
    closed = False

    def stream_job_events(self, job_id: str) -> Iterator[Event]:
        try:
            yield Event("progress", state("running", stage("score", 1, 2)))
            while True:
                yield Event("progress", state("paused", stage("score", 1, 2)))
        finally:
            self.closed = True

    def get_job(self, job_id: str) -> dict[str, Any]:
        return state("paused") | {"pause_reason": {"detail": "No room for the next call.", "why": "The cap is 5.", "cure": "Raise it."}}


def test_following_ends_when_the_job_pauses_and_says_why_and_how_to_go_on() -> None:
    client = Pausing()
    job = follow(client, "j", Console(file=io.StringIO()))  # type: ignore[arg-type]
    assert client.closed, "the stream is let go"
    with pytest.raises(JobIsPausedError) as paused:
        raise_unless_completed(job)
    assert paused.value.what == "Job j is paused. No room for the next call."
    assert (paused.value.why, paused.value.cure) == ("The cap is 5.", "Raise it. Then resume it with: glossator job resume j")


def test_a_job_that_was_paused_by_hand_says_how_to_go_on() -> None:
    with pytest.raises(JobIsPausedError, match="Resume it with: glossator job resume j"):
        raise_unless_completed(state("paused"))


def test_a_demo_that_explained_nothing_fails_with_the_commonest_reason() -> None:
    rows = [
        {"job": job, "failure": failure}
        for job, failure in (("a", "cut off"), ("a", "refused"), ("a", "refused"), ("b", "cut off"), ("b", "cut off"))
    ]
    reader: Any = SimpleNamespace(list_explanations=lambda **_filters: iter(rows))
    job = {
        "id": "a",
        "runs": [{"dictionary": "toy@1", "run": "toy@1/1"}],
        "summary": {"features": {"asked": 3, "explained": 0, "rare": 0, "dead": 0, "failed": 0}},
    }
    with pytest.raises(NothingExplainedError) as failed:
        require_explained(reader, job)
    assert failed.value.what == "Of 3 features none was explained: refused"
    job["summary"]["features"]["explained"] = 1
    require_explained(reader, job)


def test_a_demo_whose_chunks_all_failed_says_how_many() -> None:
    reader: Any = SimpleNamespace(list_explanations=lambda **_filters: iter(()))
    counts = {"asked": 1200, "explained": 0, "rare": 100, "dead": 0, "failed": 1100}
    with pytest.raises(NothingExplainedError) as failed:
        require_explained(reader, {"id": "a", "runs": [], "summary": {"features": counts}})
    assert failed.value.what == "Of 1,200 features none was explained: 100 rare, 1,100 failed"
