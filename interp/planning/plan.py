"""Plan of a job's chunks from its spec and facts, without store, model and clock.

The stages, and what each chunk waits for:

    check (1, where the files were not checked before)
                -> prepare (1) -> collect (one per corpus shard and group of features) -> combine (a tree, where there are many shards)
                -> merge (by feature range, waits for the top of its group's tree)
                -> propose -> try (by feature range, for each round of an explainer that tries texts; each waits for its own range's stage before)
                -> explain (by feature range, waits for its own merge, or for its last round)
                -> write (by feature range, waits for all of explain) -> probe (by feature range, waits for all of write), where a scorer needs them
                -> score (by feature range, waits for all of the stage before)
                -> map (1 for each dictionary without one, waits for all of merge)
                -> health (1 for each dictionary, where the job asks for it) -> summarise (1)

Features with evidence skip to explain; when all have evidence, no model is loaded.

**Memory.** A worker holds the state of one group: some 50 kB per feature (`interp.collect.memory`). A group is all features, unless they exceed the
memory of workers; then each group, an equal part of every dictionary, streams the whole corpus again. Merging takes a bounded number of features at a
time.

**Storage.** A part has 8 kB per feature of its group with the default settings: 8 GB per shard for a million features. A combine chunk removes its
inputs. Workers take the lowest number first, and chunks are numbered so that they combine as soon as possible and finish a group before the next. So
storage does not grow with the number of shards: it holds `fan_in` parts per level of the current group's tree and one per worker, and one part of
each group that waits for its merges (all features once at most).
"""

from collections import Counter, deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from interp.domain.lifecycle import Stage
from interp.planning.merge_tree import Part, merge_tree

Range = tuple[int, int]
# Stages of a round in which an explainer has texts written, and the subject reads them.
TRIALS = (Stage.PROPOSE, Stage.TRY)
# Stages of scoring, each by the same ranges of features; each waits for all of the one before it.
SCORING = (Stage.WRITE, Stage.PROBE, Stage.SCORE)


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

    `score` is `explain` by default; they differ where one stage's calls go in batches, which need many. `groups` is how many groups of features are
    collected one after another. `batch_tokens` is the number of tokens that each collect chunk reads at once: one for all, so that the evidence does
    not depend on which worker takes which chunk. `counts_firing`: memory is enough to count for a health report in the same pass, as one group does.
    """

    merge: int
    explain: int
    score: int | None = None
    groups: int = 1
    batch_tokens: int | None = None
    counts_firing: bool = True
    fan_in: int = 16


@dataclass(frozen=True, slots=True)
class AskedFeatures:
    """One dictionary's features of a job, as half-open ranges, sorted and disjoint.

    `missing` are those of the `asked` that have no evidence yet. `is_mapped`: the job lays out all features of the dictionary.
    """

    asked: Sequence[Range]
    missing: Sequence[Range] = ()
    is_mapped: bool = False


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
    dictionaries: Sequence[AskedFeatures],
    shards: Sequence[Shard],
    corpus: str | None,
    stages: Collection[Stage],
    sizes: Sizes,
    trials: Sequence[tuple[Stage, int]] = (),
) -> list[ChunkPlan]:
    """Return all chunks after prepare, for the features of each of the job's dictionaries.

    `stages` are those of explain, write, probe, score and health that the job has; `trials` are the stages before explain, with rounds. `shards` is
    the corpus cut for collection, and `corpus` its digest; empty and None when nothing is missing. A payload's `dictionary` is the place of its
    dictionary among the job's, left out where it is the first.
    """
    counts_firing = Stage.HEALTH in stages and sizes.counts_firing and sizes.groups == 1
    chunks = _gather([of.missing for of in dictionaries], shards, corpus, sizes, counts_firing)
    merges = [chunk for chunk in chunks if chunk.stage == Stage.MERGE]
    tried: list[ChunkPlan] = []
    numbers: Counter[Stage] = Counter()
    explain: list[ChunkPlan] = []
    scoring: dict[Stage, list[ChunkPlan]] = {stage: [] for stage in SCORING if stage in stages}
    for place, of in enumerate(dictionaries):
        groups: list[tuple[list[Range], str | None]] = [
            (group, f"{Stage.MERGE}:{merge.number}")
            for merge in merges
            if merge.payload.get("dictionary", 0) == place
            for group in cut(merge.payload["features"], sizes.explain)
        ]
        groups += [(group, None) for group in cut(subtract(of.asked, of.missing), sizes.explain)]
        if Stage.EXPLAIN not in stages:
            continue
        first = len(explain)
        for group, merged in groups:
            waits = merged
            for stage, turn in trials:
                tried.append(ChunkPlan(stage, numbers[stage], count(group), _of(place, group) | {"round": turn}, waits))
                waits = f"{stage}:{numbers[stage]}"
                numbers[stage] += 1
            explain.append(ChunkPlan(Stage.EXPLAIN, len(explain), count(group), _of(place, group), waits))
        waits = _every(Stage.EXPLAIN, first, len(explain), len(dictionaries))
        for stage, planned in scoring.items():
            first = len(planned)
            for group in cut(of.asked, sizes.score or sizes.explain):
                planned.append(ChunkPlan(stage, len(planned), count(group), _of(place, group), waits))
            waits = _every(stage, first, len(planned), len(dictionaries))
    planned = [*chunks, *tried, *explain, *(chunk for own in scoring.values() for chunk in own)]
    # While labels are written, gpu workers are idle: nobody waits for a map.
    planned += [
        ChunkPlan(Stage.MAP, place, PERCENT, _of(place, ()), Stage.MERGE if merges else None) for place, of in enumerate(dictionaries) if of.is_mapped
    ]
    if Stage.HEALTH in stages:
        planned += _health(dictionaries, chunks, corpus, _last_of(planned))
    return [*planned, ChunkPlan(Stage.SUMMARISE, 0, 1, waits_for=_last_of(planned))]


def _every(stage: Stage, first: int, stop: int, dictionaries: int) -> str:
    """Return the `waits_for` of a dictionary's chunks of a stage: labels are one another's null."""
    return stage if dictionaries == 1 else _all_of([(stage, first), (stage, stop - 1)])


def _last_of(planned: Sequence[ChunkPlan]) -> Stage | None:
    """Return the last stage so far, for which all others are waited for too."""
    return planned[-1].stage if planned else None


def _health(dictionaries: Sequence[AskedFeatures], collecting: Sequence[ChunkPlan], corpus: str | None, waits_for: Stage | None) -> list[ChunkPlan]:
    """Return a chunk for each dictionary, which reads what collection counted, if it did.

    They come last: what a person waits for longest are the labels.
    """
    numbers = [chunk.number for chunk in collecting if chunk.stage == Stage.COLLECT and "counts_firing" in chunk.payload]
    return [
        ChunkPlan(
            Stage.HEALTH,
            place,
            PERCENT,
            _of(place, of.asked) | {"corpus": corpus, "collected": numbers if of.asked == of.missing else []},
            waits_for,
        )
        for place, of in enumerate(dictionaries)
    ]


def _of(place: int, features: Sequence[Range]) -> dict[str, Any]:
    return {"features": features} | ({"dictionary": place} if place else {})


def _gather(missing: Sequence[Sequence[Range]], shards: Sequence[Shard], corpus: str | None, sizes: Sizes, counts_firing: bool) -> list[ChunkPlan]:
    """Return the chunks that make evidence per group: collect, combine (a tree), merge.

    A collect chunk's `parts` are the places of its dictionaries, each with its features; it writes one file for each. A combine or merge chunk's
    `inputs` are the chunks whose files it reads, as (stage, number). `first` is the offset of a merge chunk's features in its group: the row of the
    files.
    """
    tree = merge_tree(len(shards), sizes.fan_in)
    collect: list[ChunkPlan] = []
    combine: list[ChunkPlan] = []
    merge: list[ChunkPlan] = []
    for group in _groups(missing, sizes.groups):
        numbers = _Numbers(len(collect), len(combine))
        places = [place for place, _ in group]
        for shard in shards:
            payload = {"documents": [shard.start, shard.stop], "parts": group, "corpus": corpus, "batch_tokens": sizes.batch_tokens}
            payload |= {"counts_firing": True} if counts_firing else {}
            collect.append(ChunkPlan(Stage.COLLECT, len(collect), shard.tokens, payload))
        for step in tree.steps:
            payload = {"inputs": numbers.of(step), "dictionaries": places}
            units = sum(count(features) for _, features in group)
            combine.append(ChunkPlan(Stage.COMBINE, len(combine), units, payload, waits_for=_all_of(numbers.of(step))))
        inputs = numbers.of(tree.top)
        for place, own in group:
            first = 0
            for features in cut(own, sizes.merge):
                payload = _of(place, features) | {"first": first, "inputs": inputs, "corpus": corpus}
                merge.append(ChunkPlan(Stage.MERGE, len(merge), count(features), payload, waits_for=_all_of(inputs)))
                first += count(features)
    return collect + combine + merge


@dataclass(frozen=True, slots=True)
class _Numbers:
    """First numbers of a group's chunks among all of their stage."""

    collect: int
    combine: int

    def of(self, parts: Sequence[Part]) -> list[tuple[Stage, int]]:
        return [(Stage.COMBINE, self.combine + part.number) if part.is_step else (Stage.COLLECT, self.collect + part.number) for part in parts]


def _all_of(inputs: Sequence[tuple[Stage, int]]) -> str:
    """Return the `waits_for` of these inputs; chunks between them are inputs, too."""
    (stage, first), (_, last) = inputs[0], inputs[-1]
    return f"{stage}:{first}" if first == last else f"{stage}:{first}-{last}"


def _groups(missing: Sequence[Sequence[Range]], number: int) -> list[list[tuple[int, list[Range]]]]:
    """Return groups with an equal part of each dictionary's features, by place."""
    parts = {place: cut(ranges, part_size(count(ranges), number)) for place, ranges in enumerate(missing) if ranges}
    groups = [[(place, own[group]) for place, own in parts.items() if group < len(own)] for group in range(number)]
    return [group for group in groups if group]


def part_size(features: int, groups: int) -> int:
    """Return the most features that a group has of a dictionary's."""
    return -(-features // groups)
