"""Chunks of a plan cover what was asked, once; what waits for what is there."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from interp.lifecycle import Stage
from interp.planning import Range, Shard, Sizes, count, cut, plan, ranges_of, subtract

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


@given(FEATURES.filter(bool), FEATURES, st.integers(1, 5), st.booleans(), st.integers(1, 30), st.integers(1, 30))
def test_a_plan_is_complete(asked: set[int], present: set[int], shards: int, has_scorers: bool, merge: int, explain: int) -> None:
    wanted = ranges_of(sorted(asked))
    missing = subtract(wanted, ranges_of(sorted(present)))
    cuts = [Shard(10 * number, 10 * number + 10, 100) for number in range(shards)]
    chunks = plan(wanted, missing, cuts, "digest", has_scorers, Sizes(merge, explain))
    of = {stage: [chunk for chunk in chunks if chunk.stage == stage] for stage in Stage}
    names = {f"{chunk.stage}:{chunk.number}" for chunk in chunks}
    assert len(names) == len(chunks)
    assert all(chunk.waits_for is None or chunk.waits_for in names or of[Stage(chunk.waits_for)] for chunk in chunks)
    assert [chunk.payload["documents"] for chunk in of[Stage.COLLECT]] == ([[cut.start, cut.stop] for cut in cuts] if missing else [])
    assert [feature for chunk in of[Stage.MERGE] for feature in members(chunk.payload["features"])] == members(missing)
    assert sorted(feature for chunk in of[Stage.EXPLAIN] for feature in members(chunk.payload["features"])) == members(wanted)
    scored = [feature for chunk in of[Stage.SCORE] for feature in members(chunk.payload["features"])]
    assert scored == (members(wanted) if has_scorers else [])
    rows = members(missing)
    for chunk in of[Stage.MERGE]:
        first = chunk.payload["first"]
        assert rows[first : first + chunk.units] == members(chunk.payload["features"])
    for chunk in of[Stage.EXPLAIN]:
        mine = set(members(chunk.payload["features"]))
        if chunk.waits_for is None:
            assert mine <= present
        else:
            merged = next(part for part in of[Stage.MERGE] if f"merge:{part.number}" == chunk.waits_for)
            assert mine <= set(members(merged.payload["features"]))
    assert chunks[-1].stage == Stage.SUMMARISE
