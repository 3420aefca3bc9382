"""States of jobs and chunks, and the legal transitions between them."""

from enum import StrEnum


class JobStatus(StrEnum):
    """State of a job; a worker checks the files of CHECKING jobs."""

    CHECKING = "checking"
    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    COMPLETED = "completed"
    FAILED = "failed"


class JobKind(StrEnum):
    """Purpose of a job: to explain features, or to check a dictionary."""

    JOB = "job"
    CHECK = "check"


class ChunkStatus(StrEnum):
    """State of a chunk; WAITING depends on an unfinished stage, READY may be leased."""

    WAITING = "waiting"
    READY = "ready"
    LEASED = "leased"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Stage(StrEnum):
    """Stages of a job, in order; `QUEUE_OF` has the queue of each.

    MEASURE is the one stage of a check, after CHECK.
    """

    CHECK = "check"
    MEASURE = "measure"
    PREPARE = "prepare"
    COLLECT = "collect"
    COMBINE = "combine"
    MERGE = "merge"
    PROPOSE = "propose"
    TRY = "try"
    EXPLAIN = "explain"
    WRITE = "write"
    PROBE = "probe"
    SCORE = "score"
    MAP = "map"
    HEALTH = "health"
    SUMMARISE = "summarise"


class Queue(StrEnum):
    GPU = "gpu"
    LLM = "llm"
    UPKEEP = "upkeep"


LLM_STAGES = frozenset({Stage.PROPOSE, Stage.EXPLAIN, Stage.WRITE, Stage.SCORE, Stage.SUMMARISE})
# The stages whose one chunk completes the job, with its result as summary.
LAST_STAGES = frozenset({Stage.SUMMARISE, Stage.MEASURE})
# Stages whose chunks wait for all stages before them, whatever else they wait for: a retry may open any of those again.
BARRIERS = (Stage.HEALTH, Stage.SUMMARISE)
QUEUE_OF = {stage: Queue.LLM if stage in LLM_STAGES else Queue.GPU for stage in Stage}

JOB_MOVES: dict[JobStatus, frozenset[JobStatus]] = {
    JobStatus.CHECKING: frozenset({JobStatus.QUEUED, JobStatus.CANCELLING, JobStatus.CANCELLED, JobStatus.FAILED}),
    JobStatus.QUEUED: frozenset({JobStatus.RUNNING, JobStatus.PAUSED, JobStatus.CANCELLING, JobStatus.CANCELLED, JobStatus.FAILED}),
    JobStatus.RUNNING: frozenset({JobStatus.PAUSED, JobStatus.CANCELLING, JobStatus.CANCELLED, JobStatus.COMPLETED, JobStatus.FAILED}),
    JobStatus.PAUSED: frozenset({JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.CANCELLING, JobStatus.CANCELLED}),
    JobStatus.CANCELLING: frozenset({JobStatus.CANCELLED, JobStatus.FAILED}),
    JobStatus.CANCELLED: frozenset(),
    # An ended job continues only where its failed chunks are retried (`store.jobs.retry`).
    JobStatus.COMPLETED: frozenset({JobStatus.RUNNING}),
    JobStatus.FAILED: frozenset({JobStatus.CHECKING, JobStatus.QUEUED, JobStatus.RUNNING}),
}

CHUNK_MOVES: dict[ChunkStatus, frozenset[ChunkStatus]] = {
    ChunkStatus.WAITING: frozenset({ChunkStatus.READY, ChunkStatus.CANCELLED}),
    ChunkStatus.READY: frozenset({ChunkStatus.LEASED, ChunkStatus.CANCELLED}),
    ChunkStatus.LEASED: frozenset({ChunkStatus.READY, ChunkStatus.DONE, ChunkStatus.FAILED, ChunkStatus.CANCELLED}),
    # Reopened with their job (`store.retrying`).
    ChunkStatus.DONE: frozenset({ChunkStatus.WAITING, ChunkStatus.READY}),
    ChunkStatus.FAILED: frozenset({ChunkStatus.WAITING, ChunkStatus.READY}),
    ChunkStatus.CANCELLED: frozenset({ChunkStatus.WAITING, ChunkStatus.READY}),
}

# Jobs whose chunks may be leased.
WORKABLE = (JobStatus.CHECKING, JobStatus.QUEUED, JobStatus.RUNNING)
JOB_ENDS = frozenset({JobStatus.CANCELLED, JobStatus.COMPLETED, JobStatus.FAILED})
CHUNK_ENDS = frozenset({ChunkStatus.DONE, ChunkStatus.FAILED, ChunkStatus.CANCELLED})
CHUNK_OPEN = tuple(status for status in ChunkStatus if status not in CHUNK_ENDS)


def stages_before(stage: Stage) -> tuple[Stage, ...]:
    """Return the stages that come before one, in order."""
    every = tuple(Stage)
    return every[: every.index(stage)]


def sources_of(target: JobStatus) -> frozenset[JobStatus]:
    """Return the job states from which `target` may be reached."""
    return frozenset(status for status, moves in JOB_MOVES.items() if target in moves)


def chunk_sources_of(target: ChunkStatus) -> frozenset[ChunkStatus]:
    """Return the chunk states from which `target` may be reached."""
    return frozenset(status for status, moves in CHUNK_MOVES.items() if target in moves)
