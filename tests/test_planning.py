"""Chunks of a plan cover what was asked, once; what waits for what is there."""

from dataclasses import replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from interp.domain.lifecycle import Stage
from interp.planning.plan import TRIALS, AskedFeatures, ChunkPlan, Range, Shard, Sizes, count, cut, part_size, plan, ranges_of, subtract

FEATURES = st.sets(st.integers(0, 200))


def members(ranges: list[Range]) -> list[int]:
    return [feature for start, stop in ranges for feature in range(start, stop)]


@given(FEATURES)
def test_ranges_hold_their_features(features: set[int]) -> None:
    ranges = ranges_of(sorted(features))
    assert members(ranges) == sorted(features)
    assert count(ranges) == len(features)
    assert all(stop < start for (_, stop), (start, _) in pairwise(ranges)), "neighbours are joined"


@given(FEATURES, FEATURES)
def test_subtract_is_the_difference_of_sets(one: set[int], other: set[int]) -> None:
    assert members(subtract(ranges_of(sorted(one)), ranges_of(sorted(other)))) == sorted(one - other)


@given(FEATURES, st.integers(1, 40))
def test_cut_keeps_order_and_size(features: set[int], size: int) -> None:
    groups = cut(ranges_of(sorted(features)), size)
    assert [feature for group in groups for feature in members(group)] == sorted(features)
    assert all(count(group) == size for group in groups[:-1])
    assert all(0 < count(group) <= size for group in groups)


SIZES = st.builds(
    Sizes,
    merge=st.integers(1, 30),
    explain=st.integers(1, 30),
    score=st.none() | st.integers(1, 30),
    groups=st.integers(1, 6),
    fan_in=st.integers(2, 5),
)


# Of each dictionary, the features asked for and those of them with evidence.
DICTIONARIES = st.lists(st.tuples(FEATURES.filter(bool), FEATURES), min_size=1, max_size=4)


def asked_of(asked: set[int], present: set[int]) -> AskedFeatures:
    wanted = ranges_of(sorted(asked))
    return AskedFeatures(wanted, subtract(wanted, ranges_of(sorted(present))))


def of_place(chunks: list[ChunkPlan], place: int) -> list[int]:
    return [feature for chunk in chunks if chunk.payload.get("dictionary", 0) == place for feature in members(chunk.payload["features"])]


STAGES = frozenset({Stage.EXPLAIN, Stage.WRITE, Stage.PROBE, Stage.SCORE, Stage.HEALTH})
WRITTEN = frozenset({Stage.WRITE, Stage.PROBE})
ASKED = st.sampled_from(
    [STAGES, STAGES - {Stage.HEALTH}, STAGES - WRITTEN, STAGES - {Stage.WRITE}, frozenset({Stage.EXPLAIN}), frozenset({Stage.HEALTH})]
)


@given(DICTIONARIES, st.integers(1, 30), ASKED, SIZES)
def test_a_plan_is_complete(dictionaries: list[tuple[set[int], set[int]]], shards: int, stages: frozenset[Stage], sizes: Sizes) -> None:
    cuts = [Shard(10 * number, 10 * number + 10, 100) for number in range(shards)]
    every = [asked_of(*one) for one in dictionaries]
    chunks = plan(every, cuts, "digest", stages, sizes)
    of = {stage: [chunk for chunk in chunks if chunk.stage == stage] for stage in Stage}
    assert all([chunk.number for chunk in of[stage]] == list(range(len(of[stage]))) for stage in Stage)
    for place, one in enumerate(every):
        assert of_place(of[Stage.MERGE], place) == members(list(one.missing))
        for stage in STAGES:
            assert sorted(of_place(of[stage], place)) == (members(list(one.asked)) if stage in stages else [])
    for chunk in of[Stage.HEALTH]:
        assert chunk.waits_for == next((stage for stage in (Stage.SCORE, Stage.EXPLAIN, Stage.MERGE) if of[stage]), None)
        counted = [of[Stage.COLLECT][number].payload["parts"] for number in chunk.payload["collected"]]
        assert all(members(dict(parts)[chunk.number]) == members(list(every[chunk.number].asked)) for parts in counted)
    for chunk in of[Stage.EXPLAIN]:
        place, mine = chunk.payload.get("dictionary", 0), set(members(chunk.payload["features"]))
        if chunk.waits_for is None:
            assert mine <= dictionaries[place][1]
        else:
            merged = next(part for part in of[Stage.MERGE] if f"merge:{part.number}" == chunk.waits_for)
            assert merged.payload.get("dictionary", 0) == place
            assert mine <= set(members(merged.payload["features"]))
    order = list(Stage)
    for chunk in (*of[Stage.WRITE], *of[Stage.PROBE], *of[Stage.SCORE]):
        place = chunk.payload.get("dictionary", 0)
        waited = _waited(chunk.waits_for, chunks)
        assert {other.stage for other in waited} == {max((one for one in stages if order.index(one) < order.index(chunk.stage)), key=order.index)}
        assert [other for other in waited if other.payload.get("dictionary", 0) == place] == waited, "its nulls are labels of its own dictionary"
        assert sorted(of_place(waited, place)) == members(list(every[place].asked))
    assert (chunks[-1].stage, chunks[-1].waits_for) == (Stage.SUMMARISE, chunks[-2].stage if chunks[:-1] else None)


@given(DICTIONARIES, st.integers(1, 5), SIZES)
def test_texts_are_tried_in_rounds_between_evidence_and_labels(dictionaries: list[tuple[set[int], set[int]]], rounds: int, sizes: Sizes) -> None:
    trials = [(stage, turn) for turn in range(1, rounds + 1) for stage in TRIALS]
    every, cuts = [asked_of(*one) for one in dictionaries], [Shard(0, 10, 100)]
    chunks, without = plan(every, cuts, "digest", STAGES, sizes, trials), plan(every, cuts, "digest", STAGES, sizes)
    others = [chunk for chunk in chunks if chunk.stage not in TRIALS]
    assert [(chunk.stage, chunk.number, chunk.payload) for chunk in others] == [(chunk.stage, chunk.number, chunk.payload) for chunk in without]
    by_name = {f"{chunk.stage}:{chunk.number}": chunk for chunk in chunks}
    assert len(by_name) == len(chunks), "no two chunks share a number"
    before = {chunk.number: chunk.waits_for for chunk in without if chunk.stage == Stage.EXPLAIN}
    for chunk in (chunk for chunk in chunks if chunk.stage == Stage.EXPLAIN):
        features, waits_for = chunk.payload, chunk.waits_for
        for stage, turn in reversed(trials):
            trial = by_name.pop(str(waits_for))
            assert (trial.stage, trial.payload, trial.units) == (stage, features | {"round": turn}, chunk.units)
            waits_for = trial.waits_for
        assert waits_for == before[chunk.number], "the first round waits for the evidence, as the label did"
    assert not any(chunk.stage in TRIALS for chunk in by_name.values())


@given(DICTIONARIES, ASKED, st.integers(0, 15))
def test_maps_wait_for_evidence_alone_and_are_waited_for(dictionaries: list[tuple[set[int], set[int]]], stages: frozenset[Stage], which: int) -> None:
    every = [replace(asked_of(*one), is_mapped=bool(which >> place & 1)) for place, one in enumerate(dictionaries)]
    chunks = plan(every, [Shard(0, 10, 100)], "digest", stages, Sizes(4, 4))
    maps = [chunk for chunk in chunks if chunk.stage == Stage.MAP]
    assert [chunk.number for chunk in maps] == [place for place, one in enumerate(every) if one.is_mapped]
    assert all(chunk.payload.get("dictionary", 0) == chunk.number for chunk in maps)
    assert {chunk.waits_for for chunk in maps} <= {Stage.MERGE if any(one.missing for one in every) else None}
    others = [chunk for chunk in chunks if chunk.stage != Stage.MAP]
    plain = plan([replace(one, is_mapped=False) for one in every], [Shard(0, 10, 100)], "digest", stages, Sizes(4, 4))
    assert [(chunk.stage, chunk.number, chunk.payload) for chunk in others] == [(chunk.stage, chunk.number, chunk.payload) for chunk in plain]
    assert chunks[-1].waits_for == (chunks[-2].stage if chunks[:-1] else None)


@given(st.lists(FEATURES.filter(bool), min_size=1, max_size=4), st.integers(1, 30), SIZES)
def test_every_feature_is_merged_from_every_document_once(dictionaries: list[set[int]], shards: int, sizes: Sizes) -> None:
    """Whatever the groups and the tree: a merge chunk's rows are its features, and under it lies each shard of its group."""
    every = [asked_of(asked, set()) for asked in dictionaries]
    cuts = [Shard(10 * number, 10 * number + 10, 100) for number in range(shards)]
    chunks = plan(every, cuts, "digest", STAGES, sizes)
    by_name = {(chunk.stage, chunk.number): chunk for chunk in chunks}
    for chunk in chunks:
        assert len(chunk.payload.get("inputs", [])) <= sizes.fan_in
        waited = _waited(chunk.waits_for, chunks)
        assert {by_name[stage, number].number for stage, number in chunk.payload.get("inputs", [])} <= {other.number for other in waited}
        assert all(other.stage != chunk.stage or other.number < chunk.number for other in waited), "nothing waits for what comes after it"
    for chunk in (chunk for chunk in chunks if chunk.stage is Stage.MERGE):
        place, leaves = chunk.payload.get("dictionary", 0), _leaves(chunk, by_name)
        assert [leaf.payload["documents"] for leaf in leaves] == [[cut.start, cut.stop] for cut in cuts]
        (group,) = {tuple(members(dict(leaf.payload["parts"])[place])) for leaf in leaves}
        first = chunk.payload["first"]
        assert list(group[first : first + chunk.units]) == members(chunk.payload["features"])
        assert len(group) <= part_size(len(dictionaries[place]), sizes.groups)
        steps = [by_name[stage, number] for stage, number in chunk.payload["inputs"] if stage is Stage.COMBINE]
        assert all(place in step.payload["dictionaries"] for step in steps)


def _leaves(chunk: ChunkPlan, by_name: dict[tuple[Stage, int], ChunkPlan]) -> list[ChunkPlan]:
    if chunk.stage is Stage.COLLECT:
        return [chunk]
    return [leaf for name in chunk.payload["inputs"] for leaf in _leaves(by_name[name], by_name)]


def _waited(name: str | None, chunks: list[ChunkPlan]) -> list[ChunkPlan]:
    """The chunks that a `waits_for` means: `stage`, `stage:number` or `stage:first-last`."""
    if name is None:
        return []
    stage, _, numbers = name.partition(":")
    first, _, last = numbers.partition("-")
    found = [chunk for chunk in chunks if chunk.stage == stage and (not numbers or int(first) <= chunk.number <= int(last or first))]
    assert found, f"nothing is called {name}"
    return found


def test_groups_are_even_and_no_more_than_needed() -> None:
    every = [AskedFeatures([(0, 100)], [(0, 100)]), AskedFeatures([(0, 4)], [(2, 4)])]
    chunks = plan(every[:1], [Shard(0, 10, 100)], "digest", {Stage.EXPLAIN}, Sizes(merge=512, explain=64, groups=3))
    parts = [[(0, [(0, 34)])], [(0, [(34, 68)])], [(0, [(68, 100)])]]
    assert [chunk.payload["parts"] for chunk in chunks if chunk.stage is Stage.COLLECT] == parts
    assert [(chunk.payload["inputs"], chunk.waits_for) for chunk in chunks if chunk.stage is Stage.MERGE] == [
        ([(Stage.COLLECT, number)], f"collect:{number}") for number in range(3)
    ]
    chunks = plan(every, [Shard(0, 10, 100)], "digest", {Stage.EXPLAIN}, Sizes(merge=512, explain=64, groups=3))
    together = [[*parts[0], (1, [(2, 3)])], [*parts[1], (1, [(3, 4)])], parts[2]]
    assert [chunk.payload["parts"] for chunk in chunks if chunk.stage is Stage.COLLECT] == together


def test_few_shards_need_no_tree() -> None:
    shards = [Shard(number, number + 1, 100) for number in range(16)]
    chunks = plan([AskedFeatures([(0, 10)], [(0, 10)])], shards, "digest", {Stage.EXPLAIN}, Sizes(merge=512, explain=64))
    assert not [chunk for chunk in chunks if chunk.stage is Stage.COMBINE]
    (merge,) = [chunk for chunk in chunks if chunk.stage is Stage.MERGE]
    assert merge.waits_for == "collect:0-15"
