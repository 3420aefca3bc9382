"""Plan of a job's chunks from its spec and facts, without store, model and clock.

The stages, and what each chunk waits for:

    check (1, where the files were not checked before)
                -> prepare (1) -> collect (one per corpus shard and group of features) -> combine (a tree, where there are many shards)
                -> merge (by feature range, waits for the top of its group's tree)
                -> explain (by feature range, waits for its own merge) -> score (by feature range, waits for all of explain)
                -> summarise (1, waits for all of score)

Features with evidence skip to explain; when all have evidence, no model is loaded.

**Memory.** A worker holds the state of one group: some 50 kB per feature (`interp.collect.memory`). A group is all features, unless they exceed the
memory of workers; then each group streams the whole corpus again. Merging takes a bounded number of features at a time.

**Storage.** A part has 8 kB per feature of its group with the default settings: 8 GB per shard for a million features. A combine chunk removes its
inputs. Workers take the lowest number first, and chunks are numbered so that they combine as soon as possible and finish a group before the next. So
storage does not grow with the number of shards: it holds `fan_in` parts per level of the current group's tree and one per worker, and one part of
each group that waits for its merges (all features once at most).
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from interp.domain.lifecycle import Stage
from interp.planning.merge_tree import Part, merge_tree

Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class ChunkPlan:
    """A chunk of `units` tokens (collect) or features; `waits_for` is `stage`, `stage:number` or `stage:first-last`."""

    stage: Stage
    number: int
    units: int
    payload: dict[str, Any] = field(default_factory=dict)
    waits_for: str | None = None


@dataclass(frozen=True, slots=True)
class Shard:
    """Documents `start` to `stop` (exclusive) of a tokenised corpus, and their number of tokens."""

    start: int
    stop: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Sizes:
    """Largest numbers of features per chunk, and of parts that one reads.

    `score` is `explain` by default; they differ where one stage's calls go in batches, which need many. `collect` is all features by default, or as
    many as a worker can hold.
    """

    merge: int
    explain: int
    score: int | None = None
    collect: int | None = None
    fan_in: int = 16


def count(ranges: Iterable[Range]) -> int:
    """Return the number of features in half-open ranges."""
    return sum(stop - start for start, stop in ranges)


def subtract(ranges: Sequence[Range], holes: Sequence[Range]) -> list[Range]:
    """Return `ranges` without `holes`; all are sorted, disjoint and half-open."""
    left: list[Range] = []
    pending = deque(holes)
    for start, stop in ranges:
        while start < stop and pending and pending[0][0] < stop:
            low, high = pending[0]
            if start < low:
                left.append((start, low))
            start = max(start, high)
            if high <= stop:
                pending.popleft()
        if start < stop:
            left.append((start, stop))
    return left


def ranges_of(features: Iterable[int]) -> list[Range]:
    """Return ascending feature indices as half-open ranges."""
    ranges: list[Range] = []
    for feature in features:
        if ranges and ranges[-1][1] == feature:
            ranges[-1] = (ranges[-1][0], feature + 1)
        else:
            ranges.append((feature, feature + 1))
    return ranges


def cut(ranges: Sequence[Range], size: int) -> list[list[Range]]:
    """Return groups of ranges with `size` features each (the last: at most), in order."""
    groups: list[list[Range]] = []
    free = 0
    for start, stop in ranges:
        while start < stop:
            if free == 0:
                groups.append([])
                free = size
            end = min(stop, start + free)
            groups[-1].append((start, end))
            free -= end - start
            start = end
    return groups


# A check may fetch a dictionary; prepare and measure read, load and compute. Their progress is counted in percent.
PERCENT = 100


def plan_check() -> ChunkPlan:
    """Return the first chunk of a job whose files were not checked yet."""
    return ChunkPlan(Stage.CHECK, 0, units=PERCENT)


def plan_measure() -> ChunkPlan:
    """Return the chunk that measures the dictionary of a check."""
    return ChunkPlan(Stage.MEASURE, 0, units=PERCENT)


def plan_prepare(fingerprint: str | None = None) -> ChunkPlan:
    """Return the chunk that plans the others; `fingerprint` is the corpus' at submission."""
    return ChunkPlan(Stage.PREPARE, 0, units=PERCENT, payload={} if fingerprint is None else {"corpus": fingerprint})


def plan(
    asked: Sequence[Range], missing: Sequence[Range], shards: Sequence[Shard], corpus: str | None, has_scorers: bool, sizes: Sizes
) -> list[ChunkPlan]:
    """Return all chunks after prepare.

    asked    features of the job, half-open, sorted, disjoint
    missing  those of them that have no evidence yet
    shards   the corpus cut for collection, and `corpus` its digest; empty and None when nothing is missing
    """
    chunks = _gather(missing, shards, corpus, sizes)
    merge = [chunk for chunk in chunks if chunk.stage == Stage.MERGE]
    explain: list[tuple[list[Range], str | None]] = [
        (group, f"{Stage.MERGE}:{part.number}") for part in merge for group in cut(part.payload["features"], sizes.explain)
    ]
    explain += [(group, None) for group in cut(subtract(asked, missing), sizes.explain)]
    chunks += [ChunkPlan(Stage.EXPLAIN, number, count(group), {"features": group}, waits) for number, (group, waits) in enumerate(explain)]
    if has_scorers:
        scoring = enumerate(cut(asked, sizes.score or sizes.explain))
        chunks += [ChunkPlan(Stage.SCORE, number, count(group), {"features": group}, Stage.EXPLAIN) for number, group in scoring]
    chunks.append(ChunkPlan(Stage.SUMMARISE, 0, 1, waits_for=Stage.SCORE if has_scorers else Stage.EXPLAIN))
    return chunks


def _gather(missing: Sequence[Range], shards: Sequence[Shard], corpus: str | None, sizes: Sizes) -> list[ChunkPlan]:
    """Return the chunks that make evidence per group: collect, combine (a tree), merge.

    A combine or merge chunk's `inputs` are the chunks whose parts it reads, as (stage, number). `first` is the offset of a merge chunk's features in
    its group: the row of the parts.
    """
    tree = merge_tree(len(shards), sizes.fan_in)
    collect: list[ChunkPlan] = []
    combine: list[ChunkPlan] = []
    merge: list[ChunkPlan] = []
    for group in _groups(missing, sizes.collect):
        parts = _Parts(len(collect), len(combine))
        for shard in shards:
            payload = {"documents": [shard.start, shard.stop], "features": group, "corpus": corpus}
            collect.append(ChunkPlan(Stage.COLLECT, len(collect), shard.tokens, payload))
        for step in tree.steps:
            payload = {"inputs": parts.of(step)}
            combine.append(ChunkPlan(Stage.COMBINE, len(combine), count(group), payload, waits_for=_all_of(parts.of(step))))
        inputs, first = parts.of(tree.top), 0
        for features in cut(group, sizes.merge):
            payload = {"features": features, "first": first, "inputs": inputs, "corpus": corpus}
            merge.append(ChunkPlan(Stage.MERGE, len(merge), count(features), payload, waits_for=_all_of(inputs)))
            first += count(features)
    return collect + combine + merge


@dataclass(frozen=True, slots=True)
class _Parts:
    """First numbers of a group's chunks among all of their stage."""

    collect: int
    combine: int

    def of(self, parts: Sequence[Part]) -> list[tuple[Stage, int]]:
        return [(Stage.COMBINE, self.combine + part.number) if part.is_step else (Stage.COLLECT, self.collect + part.number) for part in parts]


def _all_of(inputs: Sequence[tuple[Stage, int]]) -> str:
    """Return the `waits_for` of these inputs; chunks between them are inputs, too."""
    (stage, first), (_, last) = inputs[0], inputs[-1]
    return f"{stage}:{first}" if first == last else f"{stage}:{first}-{last}"


def _groups(features: Sequence[Range], size: int | None) -> list[list[Range]]:
    """Return groups of at most `size` features, as even as possible; one without a limit."""
    total = count(features)
    if size is None or total <= size:
        return [list(features)] if total else []
    return cut(features, -(-total // -(-total // size)))
