"""From a job's spec and the facts to its chunks. Pure: no store, no model, no clock.

The stages, and what each chunk waits for:

    prepare (1) -> collect (one a corpus shard) -> merge (by feature range, waits for all of collect)
                -> explain (by feature range, waits for its own merge) -> score (by feature range, waits for all of explain)
                -> summarise (1, waits for all of score)

Features that have evidence already skip to explain; when all have, no model is opened.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from interp.lifecycle import Stage

Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class ChunkPlan:
    """One chunk to be. `units` are tokens for collect and features for what follows; `waits_for` is `stage` or `stage:number`."""

    stage: Stage
    number: int
    units: int
    payload: dict[str, Any] = field(default_factory=dict)
    waits_for: str | None = None


@dataclass(frozen=True, slots=True)
class Shard:
    """Documents `start` to `stop` (exclusive) of a tokenised corpus, and how many tokens they hold."""

    start: int
    stop: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Sizes:
    """Features a chunk, at most; `score` as `explain` when not given. They differ where the calls of one stage go in batches: those want many."""

    merge: int
    explain: int
    score: int | None = None


def count(ranges: Iterable[Range]) -> int:
    """How many features half-open ranges hold."""
    return sum(stop - start for start, stop in ranges)


def subtract(ranges: Sequence[Range], holes: Sequence[Range]) -> list[Range]:
    """`ranges` without `holes`. Both sorted and disjoint, half-open; so is the result."""
    left: list[Range] = []
    pending = iter(holes)
    hole = next(pending, None)
    for start, stop in ranges:
        position = start
        while hole is not None and hole[1] <= position:
            hole = next(pending, None)
        while hole is not None and hole[0] < stop:
            if position < hole[0]:
                left.append((position, hole[0]))
            position = hole[1]
            if hole[1] >= stop:
                break
            hole = next(pending, None)
        if position < stop:
            left.append((position, stop))
    return left


def ranges_of(features: Iterable[int]) -> list[Range]:
    """Ascending feature indices as half-open ranges."""
    ranges: list[Range] = []
    for feature in features:
        if ranges and ranges[-1][1] == feature:
            ranges[-1] = (ranges[-1][0], feature + 1)
        else:
            ranges.append((feature, feature + 1))
    return ranges


def cut(ranges: Sequence[Range], size: int) -> list[list[Range]]:
    """Groups of ranges that hold `size` features each (the last may hold fewer), in order."""
    groups: list[list[Range]] = [[]]
    room = size
    for start, stop in ranges:
        while start < stop:
            if room == 0:
                groups.append([])
                room = size
            end = min(stop, start + room)
            groups[-1].append((start, end))
            room -= end - start
            start = end
    return groups if groups[-1] else groups[:-1]


def plan_prepare() -> ChunkPlan:
    """The first chunk of every job: it looks at what there is and plans the rest."""
    return ChunkPlan(Stage.PREPARE, 0, units=1)


def plan(
    asked: Sequence[Range], missing: Sequence[Range], shards: Sequence[Shard], corpus: str | None, has_scorers: bool, sizes: Sizes
) -> list[ChunkPlan]:
    """All chunks after prepare.

    asked    features of the job, half-open, sorted, disjoint
    missing  those of them that have no evidence yet
    shards   the corpus cut for collection, and `corpus` its digest; empty and None when nothing is missing
    """
    collect = [
        ChunkPlan(Stage.COLLECT, number, shard.tokens, {"documents": [shard.start, shard.stop], "features": list(missing), "corpus": corpus})
        for number, shard in enumerate(shards)
        if missing
    ]
    merge = _merge(missing, len(collect), corpus, sizes.merge)
    explain: list[tuple[list[Range], str | None]] = [
        (group, f"{Stage.MERGE}:{part.number}") for part in merge for group in cut(part.payload["features"], sizes.explain)
    ]
    explain += [(group, None) for group in cut(subtract(asked, missing), sizes.explain)]
    chunks = collect + merge
    chunks += [ChunkPlan(Stage.EXPLAIN, number, count(group), {"features": group}, waits) for number, (group, waits) in enumerate(explain)]
    if has_scorers:
        scoring = enumerate(cut(asked, sizes.score or sizes.explain))
        chunks += [ChunkPlan(Stage.SCORE, number, count(group), {"features": group}, Stage.EXPLAIN) for number, group in scoring]
    chunks.append(ChunkPlan(Stage.SUMMARISE, 0, 1, waits_for=Stage.SCORE if has_scorers else Stage.EXPLAIN))
    return chunks


def _merge(missing: Sequence[Range], parts: int, corpus: str | None, size: int) -> list[ChunkPlan]:
    """`first` is where a chunk's features begin among all that are missing: the row of the partial evidence."""
    chunks: list[ChunkPlan] = []
    first = 0
    for number, group in enumerate(cut(missing, size)):
        payload = {"features": group, "first": first, "parts": parts, "corpus": corpus}
        chunks.append(ChunkPlan(Stage.MERGE, number, count(group), payload, waits_for=Stage.COLLECT))
        first += count(group)
    return chunks
