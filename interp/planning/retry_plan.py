"""Which chunks of a job are opened again when what failed is to be tried again. Pure: it sees the job's chunks, and says what becomes of them."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from interp.domain.errors import ArtifactMissingError, BlobCorruptError
from interp.domain.lifecycle import CHUNK_OPEN, ChunkStatus, Stage
from interp.planning.plan import Range

# Stages that a chunk may fail in without its job: what it was about is counted as failed, and the job goes on.
EXPENDABLE = frozenset({Stage.MERGE, Stage.EXPLAIN, Stage.SCORE})
# Who leaves partial evidence, which lies there until all of it is merged (`retention.needs_partials`), who reads it, and what they fail of without.
PARTIAL = frozenset({Stage.COLLECT, Stage.COMBINE})
READERS = frozenset({Stage.COMBINE, Stage.MERGE})
LOST = frozenset({ArtifactMissingError.code, BlobCorruptError.code})


@dataclass(frozen=True, slots=True)
class ChunkState:
    """A chunk as it is. `failed` counts features (or scores) of a chunk that is done, that have no good result all the same; `error` is the code of
    what a chunk failed of.
    """

    id: str
    stage: Stage
    number: int
    status: ChunkStatus
    waits_for: str | None = None
    features: Sequence[Range] = field(default=())
    units: int = 0
    failed: int = 0
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Reopening:
    """Ids of chunks that become ready, and of those that wait again; how many features are counted as failed no longer."""

    ready: list[str]
    waiting: list[str]
    features: int


def reopening(chunks: Sequence[ChunkState]) -> Reopening:
    """What is to be done again: chunks that failed, were cancelled with their job, or are done with failures, and what was made of them.

    What is merged again is merged of the partial evidence that lies there. It is collected again only where a chunk that reads it found it gone.
    """
    again = {chunk.id: chunk for chunk in chunks if _is_wanting(chunk)}
    if any(chunk.stage in READERS and chunk.error in LOST for chunk in again.values()):
        again |= {chunk.id: chunk for chunk in chunks if chunk.stage in PARTIAL}
    merged = {f"{Stage.MERGE}:{chunk.number}" for chunk in again.values() if chunk.stage == Stage.MERGE}
    again |= {chunk.id: chunk for chunk in chunks if chunk.stage == Stage.EXPLAIN and chunk.waits_for in merged}
    explained = sorted(span for chunk in again.values() if chunk.stage == Stage.EXPLAIN for span in chunk.features)
    again |= {chunk.id: chunk for chunk in chunks if chunk.stage == Stage.SCORE and _overlap(chunk.features, explained)}
    if again:
        again |= {chunk.id: chunk for chunk in chunks if chunk.stage == Stage.SUMMARISE}
    again = {name: chunk for name, chunk in again.items() if chunk.status not in CHUNK_OPEN}
    still_open = _Open(chunk for chunk in chunks if chunk.id in again or chunk.status in CHUNK_OPEN)
    waiting = [chunk.id for chunk in again.values() if chunk.waits_for is not None and still_open.holds_back(chunk.waits_for)]
    ready = [name for name in again if name not in set(waiting)]
    return Reopening(ready, waiting, sum(_counted(chunk) for chunk in again.values()))


class _Open:
    """The numbers of the chunks that are open, by stage."""

    def __init__(self, chunks: Iterable[ChunkState]) -> None:
        self._numbers: dict[str, set[int]] = {}
        for chunk in chunks:
            self._numbers.setdefault(chunk.stage, set()).add(chunk.number)

    def holds_back(self, waits_for: str) -> bool:
        """Whether a chunk that waits for this has to wait: `stage`, `stage:number` or `stage:first-last`."""
        stage, _, place = waits_for.partition(":")
        numbers = self._numbers.get(stage, set())
        first, _, last = place.partition("-")
        return bool(numbers) if not place else any(int(first) <= number <= int(last or first) for number in numbers)


def _is_wanting(chunk: ChunkState) -> bool:
    return chunk.status in (ChunkStatus.FAILED, ChunkStatus.CANCELLED) or (chunk.status == ChunkStatus.DONE and chunk.failed > 0)


def _counted(chunk: ChunkState) -> int:
    """How many features of the job this chunk's end has counted as failed."""
    if chunk.status == ChunkStatus.FAILED and chunk.stage in EXPENDABLE:
        return chunk.units
    return chunk.failed if chunk.status == ChunkStatus.DONE and chunk.stage == Stage.EXPLAIN else 0


def _overlap(some: Iterable[Range], others: Sequence[Range]) -> bool:
    """Whether half-open ranges have a feature in common; `others` ascending and disjoint."""
    places = ((start, bisect_left(others, (stop, stop))) for start, stop in some)
    return any(place > 0 and others[place - 1][1] > start for start, place in places)
