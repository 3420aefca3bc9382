"""Show the progress of a job in a terminal, as live bars or as lines."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from api.cli.output.console import dollars, duration, err, say, thousands
from interp.domain.errors import GlossatorError, ServerUnreachableError
from interp.domain.lifecycle import JOB_ENDS, JobStatus, Stage

if TYPE_CHECKING:
    from api.cli.local import Local
    from glossator import Client

DETACHED = 130  # the status of a command ended by Ctrl-C, whose outcome is unknown
PLAIN_SECONDS = 5.0
RETURN_SECONDS = 60.0  # how long a server may be unreachable before following gives up
RETRY_SECONDS = 1.0
RATE_SECONDS = 2.0  # over which the rate of calls is measured
ASKING = (Stage.PROPOSE, Stage.EXPLAIN, Stage.WRITE, Stage.SCORE)
# Units without a meaningful rate.
UNRATED = frozenset({"chunks", "percent"})
# A paused job has no progress to follow.
STOPS = JOB_ENDS | {JobStatus.PAUSED}


class SpendLine:
    """One line of calls, calls per second, tokens and dollars, each with its cap."""

    def __init__(self) -> None:
        self._seen: tuple[float, int] | None = None
        self._rate: float | None = None

    def text(self, progress: dict[str, Any], moment: float) -> str:
        """Return the line at `moment`, of a monotonic clock; empty without language models."""
        budget = progress.get("budget")
        if not budget:
            return ""
        spent, caps = budget["spent"], budget["caps"]
        if self._seen is None:
            self._seen = (moment, spent["calls"])
        elif moment - self._seen[0] >= RATE_SECONDS:
            self._rate = (spent["calls"] - self._seen[1]) / (moment - self._seen[0])
            self._seen = (moment, spent["calls"])
        parts = [
            _capped(thousands(spent["calls"]), caps["calls"], thousands, " calls"),
            f"{self._rate:,.1f} calls/s" if self._rate else "",
            _capped(thousands(spent["tokens"]), caps["tokens"], thousands, " tokens"),
            _capped(f"cost {dollars(spent['usd'])}", caps["usd"], dollars, ""),
        ]
        return "  ".join(part for part in parts if part)


def _capped(spent: str, cap: float | None, show: Any, unit: str) -> str:
    return f"{spent}{unit}" if cap is None else f"{spent} of {show(cap)}{unit}"


class LiveBars(Progress):
    """A bar per stage with rate and time left, and a line of spend."""

    def __init__(self, console: Console) -> None:
        styles = {"count": "dim", "rate": "cyan", "time": "magenta"}
        fields = (TextColumn(f"{{task.fields[{name}]}}", style=style, markup=False) for name, style in styles.items())
        self._stages: dict[str, TaskID] = {}
        self._spend, self._footer = SpendLine(), ""
        super().__init__(TextColumn("{task.description:>9}", markup=False), BarColumn(bar_width=32), *fields, console=console)

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        if self._footer:
            yield Text(f"{'models':>9} {self._footer}", style="dim")

    def show(self, progress: dict[str, Any]) -> None:
        for stage in progress["stages"]:
            name, fields = stage["stage"], _fields(stage)
            if name not in self._stages:
                self._stages[name] = self.add_task(name, **fields)
            self.update(self._stages[name], completed=stage["done"], total=max(stage["total"], 1), **fields)
        self._footer = self._spend.text(progress, time.monotonic())


class PlainLines(AbstractContextManager["PlainLines"]):
    """A line per finished stage, and one every few seconds for the running stage."""

    def __init__(self, console: Console, every: float = PLAIN_SECONDS) -> None:
        self._console, self._every = console, every
        self._ended: set[str] = set()
        self._last = 0.0
        self._spend = SpendLine()

    def __exit__(self, *_: object) -> None:
        return None

    def show(self, progress: dict[str, Any]) -> None:
        running, spent = None, self._spend.text(progress, time.monotonic())
        for stage in progress["stages"]:
            if stage["finished_at"] and stage["stage"] not in self._ended:
                self._ended.add(stage["stage"])
                self._print(stage, spent)
            elif stage["started_at"] and not stage["finished_at"]:
                running = stage
        if not running and not self._ended and not self._last:
            self._last = time.monotonic()
            self._console.print("waiting for a worker")
        if running and time.monotonic() - self._last >= self._every:
            self._print(running, spent)

    def _print(self, stage: dict[str, Any], spent: str) -> None:
        self._last = time.monotonic()
        fields = _fields(stage)
        share = stage["done"] / stage["total"] if stage["total"] else 1.0
        parts = [f"{stage['stage']:>9} {share:4.0%}", f"{fields['count']} {stage['unit']}", fields["rate"], fields["time"]]
        if stage["stage"] in ASKING:
            parts.append(spent)
        self._console.print("  ".join(part for part in parts if part), markup=False, soft_wrap=True)


def _fields(stage: dict[str, Any]) -> dict[str, Any]:
    """Return a stage's count, rate and time as text."""
    seconds, done, eta = stage["seconds"], stage["done"], stage["eta_seconds"]
    has_rate = seconds > 0.5 and done and stage["unit"] not in UNRATED and eta is not None
    left = "" if eta is None else f"{duration(eta)} left"
    return {
        "count": f"{thousands(done)}/{thousands(stage['total'])}",
        "rate": f"{thousands(done / seconds)} {stage['unit']}/s" if has_rate else "",
        "time": f"took {duration(seconds)}" if stage["finished_at"] else left,
    }


@contextmanager
def fetch_bar() -> Iterator[Callable[[float], None]]:
    """Yield a function that shows the share of a download as a bar."""
    columns = (TextColumn("fetching"), BarColumn(bar_width=32), TextColumn("{task.percentage:>3.0f}%"))
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task("", total=1.0, visible=False)
        yield lambda share: bar.update(task, completed=share, visible=True)


@contextmanager
def feature_bar(title: str) -> Iterator[Callable[[int, int | None], None]]:
    """Yield a function that shows the features done, and of how many."""
    columns = (TextColumn(title), BarColumn(bar_width=32), TextColumn("{task.fields[count]} features"))
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task("", total=None, count="0")

        def show(done: int, total: int | None) -> None:
            bar.update(task, completed=done, total=total, count=thousands(done) if total is None else f"{thousands(done)}/{thousands(total)}")

        yield show


def display(console: Console) -> LiveBars | PlainLines:
    """Return bars if the terminal can draw them, else lines."""
    return LiveBars(console) if console.is_terminal and not console.is_dumb_terminal else PlainLines(console)


def follow(client: "Client", job_id: str, console: Console) -> dict[str, Any]:
    """Show a job until it ends or pauses, and return it; tolerates short outages."""
    from glossator import UnreachableError

    with display(console) as shown:
        while True:
            try:
                with closing(client.stream_job_events(job_id)) as events:
                    for event in events:
                        shown.show(event.data)
                        if event.data["status"] in STOPS:
                            break
                job = client.get_job(job_id)
            except UnreachableError:
                _wait_for(client)
                continue
            if job["status"] in STOPS:
                shown.show(job)
                return job


def follow_or_detach(client: "Client", job_id: str) -> dict[str, Any]:
    """Follow a job to its end; on Ctrl-C print how to follow it again."""
    try:
        return follow(client, job_id, err)
    except KeyboardInterrupt:
        say(f"\nDetached; the job goes on. Follow it again with: glossator job show {job_id} --follow")
        raise typer.Exit(DETACHED) from None


def _wait_for(client: "Client") -> None:
    deadline = time.monotonic() + RETURN_SECONDS
    while not client.is_ready():
        if time.monotonic() > deadline:
            raise ServerUnreachableError(
                f"The server at {client.url} went away.",
                cure="The job is kept: start the server again with `glossator serve`, then follow with `glossator job show ID --follow`.",
            )
        time.sleep(RETRY_SECONDS)


class JobDidNotCompleteError(GlossatorError, code="job-did-not-complete", title="The job did not complete"):
    """The job that was followed ended without completing."""


class JobIsPausedError(JobDidNotCompleteError, code="job-is-paused", title="The job is paused"):
    """The job that was followed is paused until a user resumes it."""


def raise_unless_completed(job: dict[str, Any]) -> None:
    """Raise JobDidNotCompleteError with the job's reason unless it completed."""
    if job["status"] == "completed":
        return
    if job["status"] == JobStatus.PAUSED:
        reason, resume = job.get("pause_reason") or {}, f"esume it with: glossator job resume {job['id']}"
        what = f"Job {job['id']} is paused. {reason.get('detail', '')}".strip()
        cure = f"{reason.get('cure', '')} Then r{resume}" if reason else f"R{resume}"
        raise JobIsPausedError(what, why=reason.get("why", ""), cure=cure.strip())
    error = job["error"] or {}
    what = f"Job {job['id']} {job['status']}. {error.get('detail', '')}".strip()
    raise JobDidNotCompleteError(what, why=error.get("why", ""), cure=error.get("cure", ""))


class NothingExplainedError(GlossatorError, code="nothing-explained", title="No feature was explained"):
    """The job completed, but none of its features has an explanation."""


def require_explained(reader: "Client | Local", job: dict[str, Any]) -> None:
    """Raise NothingExplainedError, with the most frequent failure, if the job explained no feature."""
    counts = job["summary"]["features"]
    if counts["explained"]:
        return
    rows = (row for made in job["runs"] for row in reader.list_explanations(dictionary=made["dictionary"], run=made["run"]))
    failures = Counter(row["failure"] for row in rows if row["job"] == job["id"] and row["failure"])
    by_state = ", ".join(f"{thousands(counts[state])} {state}" for state in ("rare", "dead", "failed") if counts.get(state))
    why = failures.most_common(1)[0][0] if failures else by_state
    raise NothingExplainedError(f"Of {thousands(counts['asked'])} features none was explained: {why or 'no reason is stored'}")
