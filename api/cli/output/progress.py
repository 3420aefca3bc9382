"""A job's progress in a terminal: live bars, or a line now and then where there is no terminal to draw in."""

import time
from collections import Counter
from collections.abc import Iterable
from contextlib import AbstractContextManager, closing
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

import typer
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

from api.cli.output.console import dollars, duration, err, say, thousands
from api.cli.reader import Reader
from interp.domain.errors import GlossatorError, ServerUnreachableError
from interp.domain.lifecycle import JOB_ENDS, JobStatus, Stage

if TYPE_CHECKING:
    from api.client import Client

DETACHED = 130  # what a shell gives a command that Ctrl-C ended: the outcome is not known
PLAIN_SECONDS = 5.0
RETURN_SECONDS = 60.0  # how long a server may be away before following gives up
RETRY_SECONDS = 1.0
RATE_SECONDS = 2.0  # over which calls a second are counted
# A job that is paused goes on only when somebody resumes it: there is nothing to follow.
ASKING = (Stage.EXPLAIN, Stage.SCORE)
# Units of which a number a second says nothing.
UNRATED = frozenset({"chunks", "percent"})
STOPS = JOB_ENDS | {JobStatus.PAUSED}


class Watcher(Protocol):
    """Shows one state of a job after another."""

    def show(self, progress: dict[str, Any]) -> None: ...


class RateColumn(ProgressColumn):
    """Units a second over the stage's whole time, as the server measured it."""

    def render(self, task: Task) -> Text:
        rate = task.fields["rate"]
        return Text(f"{thousands(rate)} {task.fields['unit']}/s" if rate else "", style="cyan")


class Left(ProgressColumn):
    """The time that is left, or the time that a finished stage took."""

    def render(self, task: Task) -> Text:
        if task.fields["over"]:
            return Text(f"took {duration(task.fields['seconds'])}", style="dim")
        eta = task.fields["eta"]
        return Text(f"{duration(eta)} left" if eta is not None else "", style="magenta")


class Meter:
    """What language models have cost so far, in one line: calls, calls a second, tokens, dollars, and what is left of the caps."""

    def __init__(self) -> None:
        self._seen: tuple[float, int] | None = None
        self._rate: float | None = None

    def line(self, progress: dict[str, Any], moment: float) -> str:
        """Empty for a job that asks no language model. `moment` is a monotonic clock's."""
        budget = progress.get("budget")
        if not budget:
            return ""
        spent, caps = budget["spent"], budget["caps"]
        if self._seen is None:
            self._seen = (moment, spent["calls"])
        elif moment - self._seen[0] >= RATE_SECONDS:
            self._rate = (spent["calls"] - self._seen[1]) / (moment - self._seen[0])
            self._seen = (moment, spent["calls"])
        rate = [f"{self._rate:,.1f} calls/s"] if self._rate else []
        parts = [
            _of(thousands(spent["calls"]), caps["calls"], thousands, " calls"),
            *rate,
            _of(thousands(spent["tokens"]), caps["tokens"], thousands, " tokens"),
        ]
        return "  ".join([*parts, _of(f"cost {dollars(spent['usd'])}", caps["usd"], dollars, "")])


def _of(spent: str, cap: float | None, show: Any, unit: str) -> str:
    return f"{spent}{unit}" if cap is None else f"{spent} of {show(cap)}{unit}"


class Bars(Progress):
    """Bars with a line below them."""

    below = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        if self.below:
            yield Text(f"{'models':>9} {self.below}", style="dim")


class LiveBars(AbstractContextManager["LiveBars"]):
    """A bar a stage, with rate and time left."""

    def __init__(self, console: Console) -> None:
        count = TextColumn("{task.fields[count]}", style="dim", markup=False)
        self._bars = Bars(TextColumn("{task.description:>9}", markup=False), BarColumn(bar_width=32), count, RateColumn(), Left(), console=console)
        self._tasks: dict[str, TaskID] = {}
        self._meter = Meter()

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bars.stop()

    def show(self, progress: dict[str, Any]) -> None:
        for stage in progress["stages"]:
            fields = _fields(stage)
            if stage["stage"] not in self._tasks:
                self._tasks[stage["stage"]] = self._bars.add_task(stage["stage"], **fields)
            self._bars.update(self._tasks[stage["stage"]], completed=stage["done"], total=max(stage["total"], 1), **fields)
        self._bars.below = self._meter.line(progress, time.monotonic())


class PlainLines(AbstractContextManager["PlainLines"]):
    """A line for each stage that ends, and one every few seconds for the one that runs."""

    def __init__(self, console: Console, every: float = PLAIN_SECONDS) -> None:
        self._console, self._every = console, every
        self._ended: set[str] = set()
        self._last = 0.0
        self._meter = Meter()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        return None

    def show(self, progress: dict[str, Any]) -> None:
        running, spent = None, self._meter.line(progress, time.monotonic())
        for stage in progress["stages"]:
            if stage["finished_at"] and stage["stage"] not in self._ended:
                self._ended.add(stage["stage"])
                self._print(stage, spent)
            elif stage["started_at"] and not stage["finished_at"]:
                running = stage
        if not running and not self._ended and not self._last:
            self._last = time.monotonic()
            self._console.print("waiting for a worker", markup=False)
        if running and time.monotonic() - self._last >= self._every:
            self._print(running, spent)

    def _print(self, stage: dict[str, Any], spent: str) -> None:
        self._last = time.monotonic()
        fields = _fields(stage)
        share = stage["done"] / stage["total"] if stage["total"] else 1.0
        parts = [f"{stage['stage']:>9} {share:4.0%}", f"{fields['count']} {stage['unit']}"]
        if fields["rate"]:
            parts.append(f"{thousands(fields['rate'])} {stage['unit']}/s")
        if fields["over"]:
            parts.append(f"took {duration(stage['seconds'])}")
        elif fields["eta"] is not None:
            parts.append(f"{duration(fields['eta'])} left")
        if spent and stage["stage"] in ASKING:
            parts.append(spent)
        self._console.print("  ".join(parts), markup=False, soft_wrap=True)


def _fields(stage: dict[str, Any]) -> dict[str, Any]:
    seconds, done = stage["seconds"], stage["done"]
    return {
        "count": f"{thousands(done)}/{thousands(stage['total'])}",
        "unit": stage["unit"],
        "rate": done / seconds if seconds > 0.5 and stage["unit"] not in UNRATED else None,
        "eta": stage["eta_seconds"],
        "over": stage["finished_at"] is not None,
        "seconds": seconds,
    }


def watcher(console: Console) -> LiveBars | PlainLines:
    """Bars where they can be drawn, lines where they cannot (a log, a dumb terminal)."""
    return LiveBars(console) if console.is_terminal and not console.is_dumb_terminal else PlainLines(console)


def follow(client: "Client", job_id: str, console: Console) -> dict[str, Any]:
    """Shows a job until it ends or is paused, and returns it. A server that goes away for a while is waited for."""
    with watcher(console) as shown:
        while True:
            try:
                with closing(client.stream_job_events(job_id)) as events:
                    for event in events:
                        shown.show(event.data)
                        if event.data["status"] in STOPS:
                            break
                job = client.get_job(job_id)
            except ServerUnreachableError:
                _wait_for(client)
                continue
            if job["status"] in STOPS:
                shown.show(job)
                return job


def follow_or_detach(client: "Client", job_id: str) -> dict[str, Any]:
    """Follows a job to its end; Ctrl-C leaves it running and says how to come back."""
    try:
        return follow(client, job_id, err)
    except KeyboardInterrupt:
        say(f"\nDetached; the job goes on. Follow it again with: glossator job {job_id} --follow")
        raise typer.Exit(DETACHED) from None


def _wait_for(client: "Client") -> None:
    deadline = time.monotonic() + RETURN_SECONDS
    while not client.is_ready():
        if time.monotonic() > deadline:
            raise ServerUnreachableError(
                f"The server at {client.url} went away.",
                cure="The job is kept: start the server again with `glossator serve`, then follow with `glossator job ID --follow`.",
            )
        time.sleep(RETRY_SECONDS)


class JobDidNotCompleteError(GlossatorError):
    """The job that was followed ended without completing."""

    code, title = "job-did-not-complete", "The job did not complete"


class JobIsPausedError(JobDidNotCompleteError):
    """The job that was followed waits for somebody to resume it."""

    code, title = "job-is-paused", "The job is paused"


def outcome(job: dict[str, Any]) -> None:
    """Raises JobDidNotComplete for a job that failed, was cancelled or is paused, with the job's own reason."""
    if job["status"] == "completed":
        return
    error = job["error"] or {}
    what, why, cure = f"Job {job['id']} {job['status']}. {error.get('detail', '')}".strip(), error.get("why", ""), error.get("cure", "")
    if job["status"] == JobStatus.PAUSED:
        resume = f"Then let it go on with: glossator resume {job['id']}" if error else f"Let it go on with: glossator resume {job['id']}"
        raise JobIsPausedError(what.replace(" paused.", " is paused.", 1), why=why, cure=f"{cure} {resume}".strip())
    raise JobDidNotCompleteError(what, why=why, cure=cure)


class NothingExplainedError(GlossatorError):
    """A job completed, and not one of its features has an explanation."""

    code, title = "nothing-explained", "No feature was explained"


def require_explained(reader: Reader, job: dict[str, Any]) -> None:
    """Raises NothingExplained, with the failure that most features have, for a completed job that explained no feature."""
    counts = job["summary"]["features"]
    if counts["explained"]:
        return
    rows = reader.list_explanations(dictionary=job["dictionary"], run=job["run"])
    failures = Counter(row["failure"] for row in rows if row["job"] == job["id"] and row["failure"])
    told = ", ".join(f"{thousands(counts[state])} {state}" for state in ("rare", "dead", "failed") if counts.get(state))
    why = failures.most_common(1)[0][0] if failures else told
    raise NothingExplainedError(f"Of {thousands(counts['asked'])} features none was explained: {why or 'no reason is stored'}")
