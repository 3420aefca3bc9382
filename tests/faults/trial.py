"""One trial: a job runs, a fault strikes at a drawn moment, and afterwards every promise is looked at."""

import math
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random

from sqlalchemy import func, select

from glossator import ApiError, UnreachableError
from interp.domain.lifecycle import CHUNK_ENDS, JOB_ENDS, ChunkStatus, JobStatus, Stage
from interp.domain.spec import BudgetSpec, JobSpec
from interp.store.db.engine import snapshot
from interp.store.db.tables import ChunkRow, JobRow, LlmCallRow
from interp.store.queue import budgets
from tests.faults.cluster import Cluster
from tests.faults.job import LATENCY, TOKEN_CAP, Reference
from tests.faults.moments import Held, Lease, Moment, lease_of, leases, status_of
from tests.faults.results import repeated, results
from tests.faults.waiting import until

AGAIN_SECONDS = 0.05
ON_THE_WIRE_SECONDS = 0.1


@dataclass
class Scene:
    """What a fault is given: the service, the job under way, and the trial's own chance. `is_long`: it may last as long as it is described.

    `held`: who worked on what at the strike; `in_flight`: calls that were out then, or answered and not yet written down. A fault that waits for a
    moment of its own looks anew; `is_hasty`: it takes whoever works, with calls on their way or without. `since` is the time (monotonic)
    from which recovery counts, where that is not the end of the fault; `unseen` how many calls may be out that the endpoint has not seen yet.
    """

    cluster: Cluster
    job_id: str
    random: Random
    is_long: bool
    calls_before: int
    held: list[Held] = field(default_factory=list)
    in_flight: int = 0
    chunks_before: int = 0
    since: float | None = None
    unseen: int = 0
    is_hasty: bool = False

    def look(self) -> None:
        """Sees who works on what, and what is out, just now."""
        self.chunks_before = sum(repeated(self.cluster.engine, self.job_id).values())
        self.held = leases(self.cluster.engine, self.job_id)
        recorded, totals = _recorded(self.cluster, self.job_id), self.cluster.server.totals
        self.in_flight = totals.calls - self.calls_before + totals.in_flight - recorded

    def _look_closely(self) -> None:
        """What a worker that stands still had handed to the network counts as out; the server reads it a moment later."""
        end, most = time.monotonic() + ON_THE_WIRE_SECONDS, 0
        while time.monotonic() < end:
            self.look()
            most = max(most, self.in_flight)
        self.in_flight = most

    def catch(self, queue: str | None = None) -> tuple[str, list[Held]] | None:
        """Stops (SIGSTOP) a worker of the kind, or of any, that surely holds a chunk, and looks; None where nobody does.

        Where an llm worker is asked for, one half of the trials wait until calls are on their way.
        """
        engine, server = self.cluster.engine, self.cluster.server
        for name in sorted({name for held in leases(engine, self.job_id) if (name := self._worker_of(held, queue))}):
            self.cluster.freeze(name)
            found = [held for held in leases(engine, self.job_id) if self.cluster.member_of(held.owner) == name]
            if found and (self.is_hasty or server.totals.in_flight or queue != "llm"):
                self._look_closely()
                return name, found
            self.cluster.thaw(name)
        return None

    def take_from_the_living(self) -> None:
        """Leases are about to be given away whose workers live: each lets calls out, a window at a time, until its next look tells it."""
        windows = 1 + math.ceil(self.cluster.settings.lease_check_interval_seconds / LATENCY)
        self.unseen = windows * self.cluster.settings.llm_max_concurrent_calls * len(self.cluster.of_queue("llm"))

    def is_over(self) -> bool:
        """Whether the job has ended: nobody will be caught any more."""
        return status_of(self.cluster.engine, self.job_id) in JOB_ENDS

    def _worker_of(self, held: Held, queue: str | None) -> str | None:
        return self.cluster.member_of(held.owner) if queue in (None, held.queue) else None


@dataclass(frozen=True)
class Fault:
    """A row of the table. `strike` returns when the fault is over; `at_submission` strikes before, while the job is submitted.

    `short` and `tries`: times in the short and the long form. `blocks` says why it cannot be tried here, None where it can.
    """

    key: str
    title: str
    strike: Callable[[Scene], None]
    stages: Sequence[Stage]
    short: int = 1
    tries: int = 5
    is_kill: bool = False
    at_submission: Callable[[Cluster], None] | None = None
    blocks: Callable[[Cluster], str | None] = lambda _cluster: None


@dataclass(frozen=True)
class Outcome:
    """`broken`: promises not kept. Chunks and calls are those done again; `in_flight` calls were out at the strike, or not yet written."""

    fault: str
    seed: int
    moment: str
    broken: tuple[str, ...]
    chunks: int
    calls: int
    in_flight: int
    recovery_seconds: float
    job_seconds: float

    @property
    def is_recovered(self) -> bool:
        return not self.broken


def attempt(cluster: Cluster, reference: Reference, fault: Fault, seed: int, is_long: bool = False) -> Outcome:
    """One job with one fault; the same seed strikes at the same moment. `is_long`: a fault that lasts does so for its whole time."""
    random = Random(f"{fault.key} {seed}")
    moment = Moment.drawn(random, fault.stages)
    # Half of the jobs have no cap: what a cap's books would stop must not go out twice without one.
    spec = reference.spec if random.random() < 0.5 else reference.spec.model_copy(update={"budget": BudgetSpec()})
    cluster.clean()
    calls_before, tokens_before, ended_before = cluster.server.totals.calls, cluster.server.totals.tokens, len(cluster.ended)
    begun = time.monotonic()
    with _meanwhile(moment.after, fault.at_submission, cluster):
        job_id = submit(cluster, spec)
    moment.wait(cluster.engine, job_id)
    scene = Scene(cluster, job_id, random, is_long, calls_before, is_hasty=random.random() < 0.5)
    scene.look()
    fault.strike(scene)
    recovery = _recovered(scene)
    broken = [*_unfinished(cluster, job_id), *cluster.ended[ended_before:]]
    job_seconds = time.monotonic() - begun
    totals = cluster.server.totals
    until(lambda: totals.in_flight == 0, "the last call's end")
    calls = totals.calls - calls_before - reference.calls
    chunks = sum(repeated(cluster.engine, job_id).values()) - scene.chunks_before
    broken += _differences(cluster, reference)
    broken += _overspent(cluster, job_id, totals.tokens - tokens_before)
    if not 0 <= calls <= scene.in_flight + scene.unseen:
        broken.append(f"{calls} calls were paid twice, and {scene.in_flight} were in flight")
    return Outcome(fault.key, seed, str(moment), tuple(broken), chunks, calls, scene.in_flight, recovery, job_seconds)


def submit(cluster: Cluster, spec: JobSpec) -> str:
    """Submits as a client should: with a key, and again until there is an answer."""
    key = str(uuid.uuid4())

    def asked() -> str | None:
        try:
            job_id: str = cluster.client.submit_job(spec.model_dump(mode="json"), key)["id"]
        except UnreachableError:
            return None
        except ApiError as refused:
            if refused.problem.get("status", 0) < 500:
                raise
            return None
        return job_id

    return until(asked, "a submitted job", every=AGAIN_SECONDS)


@contextmanager
def _meanwhile(after: float, strike: Callable[[Cluster], None] | None, cluster: Cluster) -> Iterator[None]:
    timer = threading.Timer(after, strike or (lambda _cluster: None), [cluster])
    timer.start()
    try:
        yield
    finally:
        timer.join()


def _recovered(scene: Scene) -> float:
    """Seconds from now until every chunk that was in work at the strike has ended, or is in living hands again. Ends with the job."""
    since = scene.since or time.monotonic()
    before = {held.chunk_id: lease_of(scene.cluster.engine, held.chunk_id) for held in scene.held}

    def taken_up() -> bool:
        return status_of(scene.cluster.engine, scene.job_id) in JOB_ENDS or all(_lives(scene, chunk_id, lease) for chunk_id, lease in before.items())

    until(taken_up, "every chunk in living hands")
    return time.monotonic() - since


def _lives(scene: Scene, chunk_id: str, before: Lease) -> bool:
    now = lease_of(scene.cluster.engine, chunk_id)
    if now.status in CHUNK_ENDS:
        return True
    renewed = now.expires_at is not None and before.expires_at is not None and now.expires_at > before.expires_at
    return now.status == ChunkStatus.LEASED and (now.token != before.token or renewed)


def _unfinished(cluster: Cluster, job_id: str) -> list[str]:
    """Waits for the job's end; what is wrong with it."""
    until(lambda: _job(cluster, job_id)[0] in (*JOB_ENDS, JobStatus.PAUSED), "the job's end")
    status, error, features_failed = _job(cluster, job_id)
    with snapshot(cluster.engine) as session:
        submitted = session.scalar(select(func.count()).select_from(JobRow))
        undone = session.scalar(select(func.count()).where(ChunkRow.job_id == job_id, ChunkRow.status != ChunkStatus.DONE))
    found = [] if status == JobStatus.COMPLETED else [f"the job is {status}: {error}"]
    found += [f"{submitted} jobs were made of one"] if submitted != 1 else []
    found += [f"{undone} chunks are not done"] if undone else []
    return found + ([f"{features_failed} features failed"] if features_failed else [])


def _job(cluster: Cluster, job_id: str) -> tuple[str, object, int]:
    with snapshot(cluster.engine) as session:
        status, error, failed = session.execute(
            select(JobRow.status, func.coalesce(JobRow.error, JobRow.pause_reason), JobRow.features_failed).where(JobRow.id == job_id)
        ).one()
    return status, error, failed


def _recorded(cluster: Cluster, job_id: str) -> int:
    """Attempts that are written down."""
    with snapshot(cluster.engine) as session:
        return int(session.scalar(select(func.sum(LlmCallRow.attempts)).where(LlmCallRow.job_id == job_id)) or 0)


def _differences(cluster: Cluster, reference: Reference) -> list[str]:
    """Where the book is not, byte for byte, what an undisturbed job leaves."""
    found = results(cluster.engine)
    return [
        f"{table}: {len(rows)} rows, {len(found[table])} here, and {sum(one not in rows for one in found[table])} of these are others"
        for table, rows in reference.rows.items()
        if found[table] != rows
    ]


def _overspent(cluster: Cluster, job_id: str, billed: int) -> list[str]:
    """What is wrong with the job's budget, held against the endpoint's own bill."""
    with snapshot(cluster.engine) as session:
        state = budgets.get(session, job_id)
    if state is None or not state.has_cap:
        return []
    used = state.spent.tokens + state.unsettled.tokens
    found = [f"{state.reserved.tokens} tokens are still set aside"] if state.reserved.tokens else []
    return found if billed <= used <= TOKEN_CAP else [*found, f"{billed} tokens were billed, {used} are in the books, {TOKEN_CAP} were allowed"]
