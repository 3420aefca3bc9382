"""Chunks of a plan cover what was asked, once; what waits for what is there."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from interp.domain.lifecycle import Stage
from interp.planning.plan import ChunkPlan, Range, Shard, Sizes, count, cut, plan, ranges_of, subtract

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
    collect=st.none() | st.integers(1, 60),
    fan_in=st.integers(2, 5),
)


@given(FEATURES.filter(bool), FEATURES, st.integers(1, 30), st.booleans(), SIZES)
def test_a_plan_is_complete(asked: set[int], present: set[int], shards: int, has_scorers: bool, sizes: Sizes) -> None:
    wanted = ranges_of(sorted(asked))
    missing = subtract(wanted, ranges_of(sorted(present)))
    cuts = [Shard(10 * number, 10 * number + 10, 100) for number in range(shards)]
    chunks = plan(wanted, missing, cuts, "digest", has_scorers, sizes)
    of = {stage: [chunk for chunk in chunks if chunk.stage == stage] for stage in Stage}
    assert all([chunk.number for chunk in of[stage]] == list(range(len(of[stage]))) for stage in Stage)
    assert [feature for chunk in of[Stage.MERGE] for feature in members(chunk.payload["features"])] == members(missing)
    assert sorted(feature for chunk in of[Stage.EXPLAIN] for feature in members(chunk.payload["features"])) == members(wanted)
    scored = [feature for chunk in of[Stage.SCORE] for feature in members(chunk.payload["features"])]
    assert scored == (members(wanted) if has_scorers else [])
    for chunk in of[Stage.EXPLAIN]:
        mine = set(members(chunk.payload["features"]))
        if chunk.waits_for is None:
            assert mine <= present
        else:
            merged = next(part for part in of[Stage.MERGE] if f"merge:{part.number}" == chunk.waits_for)
            assert mine <= set(members(merged.payload["features"]))
    assert chunks[-1].stage == Stage.SUMMARISE


@given(FEATURES.filter(bool), st.integers(1, 30), SIZES)
def test_every_feature_is_merged_from_every_document_once(asked: set[int], shards: int, sizes: Sizes) -> None:
    """Whatever the groups and the tree: a merge chunk's rows are its features, and under it lies each shard of its group."""
    missing = ranges_of(sorted(asked))
    cuts = [Shard(10 * number, 10 * number + 10, 100) for number in range(shards)]
    chunks = plan(missing, missing, cuts, "digest", True, sizes)
    by_name = {(chunk.stage, chunk.number): chunk for chunk in chunks}
    for chunk in chunks:
        assert len(chunk.payload.get("inputs", [])) <= sizes.fan_in
        waited = _waited(chunk.waits_for, chunks)
        assert {by_name[stage, number].number for stage, number in chunk.payload.get("inputs", [])} <= {other.number for other in waited}
        assert all(other.stage != chunk.stage or other.number < chunk.number for other in waited), "nothing waits for what comes after it"
    for chunk in (chunk for chunk in chunks if chunk.stage is Stage.MERGE):
        leaves = _leaves(chunk, by_name)
        assert [leaf.payload["documents"] for leaf in leaves] == [[cut.start, cut.stop] for cut in cuts]
        (group,) = {tuple(members(leaf.payload["features"])) for leaf in leaves}
        first = chunk.payload["first"]
        assert list(group[first : first + chunk.units]) == members(chunk.payload["features"])
        assert len(group) <= (sizes.collect or len(group))


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
    chunks = plan([(0, 100)], [(0, 100)], [Shard(0, 10, 100)], "digest", False, Sizes(merge=512, explain=64, collect=40))
    assert [chunk.payload["features"] for chunk in chunks if chunk.stage is Stage.COLLECT] == [[(0, 34)], [(34, 68)], [(68, 100)]]
    assert [(chunk.payload["inputs"], chunk.waits_for) for chunk in chunks if chunk.stage is Stage.MERGE] == [
        ([(Stage.COLLECT, number)], f"collect:{number}") for number in range(3)
    ]


def test_few_shards_need_no_tree() -> None:
    shards = [Shard(number, number + 1, 100) for number in range(16)]
    chunks = plan([(0, 10)], [(0, 10)], shards, "digest", False, Sizes(merge=512, explain=64))
    assert not [chunk for chunk in chunks if chunk.stage is Stage.COMBINE]
    (merge,) = [chunk for chunk in chunks if chunk.stage is Stage.MERGE]
    assert merge.waits_for == "collect:0-15"
