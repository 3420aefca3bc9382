"""Plan of the chunks of a job that are opened again by a retry."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from interp.domain.errors import ArtifactMissingError, BlobCorruptError
from interp.domain.lifecycle import BARRIERS, CHUNK_OPEN, ChunkStatus, Stage, stages_before
from interp.planning.plan import SCORING, TRIALS, Range

# Stages in which a chunk may fail without its job: its features are counted as failed, and the job continues.
EXPENDABLE = frozenset({Stage.MERGE, *TRIALS, Stage.EXPLAIN, *SCORING})
# Of those, the ones whose features the explain chunk after them counts, if it cannot label them.
COUNTED_LATER = frozenset(TRIALS)
# Stages that write partial evidence, which is kept until it is all merged (`retention.needs_partials`), stages that read it, and the errors of
# those when it is missing.
PARTIAL = frozenset({Stage.COLLECT, Stage.COMBINE})
READERS = frozenset({Stage.COMBINE, Stage.MERGE, Stage.HEALTH})
LOST = frozenset({ArtifactMissingError.code, BlobCorruptError.code})


@dataclass(frozen=True, slots=True)
class ChunkState:
    """A chunk's state; `failed` counts features (or scores) without a good result.

    `dictionary` is the place of the features' dictionary among the job's.
    """

    id: str
    stage: Stage
    number: int
    status: ChunkStatus
    waits_for: str | None = None
    features: Sequence[Range] = field(default=())
    dictionary: int = 0
    units: int = 0
    failed: int = 0
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Reopening:
    """Ids of chunks that become ready or wait; number of features that count anew."""

    ready: list[str]
    waiting: list[str]
    features: int


def reopening(chunks: Sequence[ChunkState]) -> Reopening:
    """Return the chunks to retry: failed, cancelled, with failures, or dependent on these.

    Merges read the stored partial evidence. It is collected again only where a chunk that reads it found it missing.
    """
    again = {chunk.id: chunk for chunk in chunks if _needs_retry(chunk)}
    if any(chunk.stage in READERS and chunk.error in LOST for chunk in again.values()):
        again |= {chunk.id: chunk for chunk in chunks if chunk.stage in PARTIAL}
    again |= _followers(chunks, again.values())
    for place, stage in enumerate(SCORING):
        spans = _features_of(again.values(), (Stage.EXPLAIN, *SCORING[:place]))
        again |= {chunk.id: chunk for chunk in chunks if chunk.stage == stage and _overlap(chunk.features, spans.get(chunk.dictionary, []))}
    if any(chunk.stage in PARTIAL for chunk in again.values()):
        again |= {chunk.id: chunk for chunk in chunks if chunk.stage == Stage.HEALTH}
    if again:
        again |= {chunk.id: chunk for chunk in chunks if chunk.stage == Stage.SUMMARISE}
    again = {name: chunk for name, chunk in again.items() if chunk.status not in CHUNK_OPEN}
    open_numbers: dict[str, set[int]] = defaultdict(set)
    for chunk in chunks:
        if chunk.id in again or chunk.status in CHUNK_OPEN:
            open_numbers[chunk.stage].add(chunk.number)
    waiting = [chunk.id for chunk in again.values() if _waits(chunk, open_numbers)]
    ready = [name for name in again if name not in set(waiting)]
    return Reopening(ready, waiting, sum(_failed_features(chunk) for chunk in again.values()))


def _followers(chunks: Sequence[ChunkState], again: Collection[ChunkState]) -> dict[str, ChunkState]:
    """Return the trial and explain chunks that follow reopened ones, by id."""
    waiting: dict[str | None, list[ChunkState]] = defaultdict(list)
    for chunk in chunks:
        if chunk.stage in (*TRIALS, Stage.EXPLAIN):
            waiting[chunk.waits_for].append(chunk)
    found: dict[str, ChunkState] = {}
    pending = [chunk for chunk in again if chunk.stage in (Stage.MERGE, *TRIALS)]
    while pending:
        last = pending.pop()
        followers = waiting[f"{last.stage}:{last.number}"]
        found |= {chunk.id: chunk for chunk in followers}
        pending += followers
    return found


def _features_of(chunks: Iterable[ChunkState], stages: Collection[Stage]) -> dict[int, list[Range]]:
    """Return the features of the chunks of some stages, ascending and disjoint, by dictionary."""
    found: dict[int, set[Range]] = defaultdict(set)
    for chunk in chunks:
        if chunk.stage in stages:
            found[chunk.dictionary].update((start, stop) for start, stop in chunk.features)
    return {dictionary: _joined(ranges) for dictionary, ranges in found.items()}


def _joined(ranges: Iterable[Range]) -> list[Range]:
    """Return sorted ranges; those that overlap become one."""
    joined: list[Range] = []
    for start, stop in sorted(ranges):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], stop))
        else:
            joined.append((start, stop))
    return joined


def _waits(chunk: ChunkState, open_numbers: Mapping[str, set[int]]) -> bool:
    if chunk.stage in BARRIERS:
        return any(open_numbers.get(stage) for stage in stages_before(chunk.stage))
    return chunk.waits_for is not None and _is_open(chunk.waits_for, open_numbers)


def _is_open(waits_for: str, open_numbers: Mapping[str, set[int]]) -> bool:
    """Return whether `stage`, `stage:number` or `stage:first-last` has an open chunk."""
    stage, _, place = waits_for.partition(":")
    numbers = open_numbers.get(stage, set())
    first, _, last = place.partition("-")
    return bool(numbers) if not place else any(int(first) <= number <= int(last or first) for number in numbers)


def _needs_retry(chunk: ChunkState) -> bool:
    return chunk.status in (ChunkStatus.FAILED, ChunkStatus.CANCELLED) or (chunk.status == ChunkStatus.DONE and chunk.failed > 0)


def _failed_features(chunk: ChunkState) -> int:
    """Return the number of features that this chunk has counted as failed."""
    if chunk.status == ChunkStatus.FAILED and chunk.stage in EXPENDABLE - COUNTED_LATER:
        return chunk.units
    return chunk.failed if chunk.status == ChunkStatus.DONE and chunk.stage == Stage.EXPLAIN else 0


def _overlap(some: Iterable[Range], others: Sequence[Range]) -> bool:
    """Return whether half-open ranges share a feature; `others` are ascending and disjoint."""
    places = ((start, bisect_left(others, (stop, stop))) for start, stop in some)
    return any(place > 0 and others[place - 1][1] > start for start, place in places)
