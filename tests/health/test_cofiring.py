"""Counts of pairs equal their definitions, in any shards, listed or multiplied; planted relations are found, and none in independent features."""

import json
import random
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import nnls

from interp.health.cofiring import counting, pairs
from interp.health.cofiring.composites import most_left, sums_of_two
from interp.health.cofiring.counting import Cofiring, subset_of
from interp.health.cofiring.pairs import Margins, phi
from interp.health.cofiring.relations import CofiringReport, cofiring_report, cosine_by_chance
from interp.health.counts import Counts, merge
from tests.health.firings import Table, tables

CPU = torch.device("cpu")
NEIGHBOURS = np.array([[1, 2], [0, 4], [1, 3], [4, 9], [3, 1]])
TOKENS, DOCUMENTS, FEATURES, WIDTH = 12_000, 60, 40, 64


def counted(table: Table, neighbours: np.ndarray = NEIGHBOURS, seed: int = 0) -> Counts:
    found = Cofiring(np.arange(table.fires.shape[1]), neighbours, CPU, seed, stride=1)
    found.add(table.batch())
    return found.counts()


@pytest.mark.parametrize(("cost", "at_once"), [(counting.PAIR_COST, counting.PAIRS_AT_ONCE), (0, 3), (10**9, 3)], ids=["usual", "listed", "dense"])
@given(table=tables())
def test_counts_equal_their_definitions(cost: int, at_once: int, table: Table) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(counting, "PAIR_COST", cost)
        patched.setattr(counting, "PAIRS_AT_ONCE", at_once)
        sums = counted(table).sums
    fires = table.fires[table.counted].astype(np.int64)
    groups = table.groups[table.counted]
    np.testing.assert_array_equal(sums["together"], np.triu(fires.T @ fires, 1))
    np.testing.assert_array_equal(sums["tokens"], np.bincount(groups, minlength=128))
    for group in range(6):
        np.testing.assert_array_equal(sums["firing"][:, group], fires[groups == group].sum(axis=0))
    known = NEIGHBOURS < 5
    expected = (fires.T @ fires)[np.arange(5)[:, None], np.where(known, NEIGHBOURS, 0)]
    np.testing.assert_array_equal(sums["near"], np.where(known, expected, 0))


@given(tables(), st.lists(st.integers(0, 60), max_size=4), st.randoms(use_true_random=False))
def test_shards_in_any_order_give_the_same(table: Table, cuts: list[int], order: random.Random) -> None:
    parts = []
    for batch in table.shards(cuts):
        part = Cofiring(np.arange(5), NEIGHBOURS, CPU, stride=1)
        part.add(batch)
        parts.append(part.counts())
    order.shuffle(parts)
    merged = merge(parts)
    for name, array in counted(table).sums.items():
        np.testing.assert_array_equal(merged.sums[name], array)


def test_the_sample_is_one_token_in_so_many() -> None:
    table = Table(np.ones((640, 5), bool), np.zeros(640, np.int64), np.zeros(640, np.int64))
    batch = replace(table.batch(), picks=torch.arange(640) % 32 + 1000 * (torch.arange(640) // 32))
    found = Cofiring(np.arange(5), NEIGHBOURS, CPU, stride=32)
    found.add(batch)
    assert found.counts().sums["tokens"].sum() == 20


def test_a_wide_dictionary_has_a_subset_that_its_features_decide() -> None:
    chosen = subset_of(np.arange(1000), 3, 50)
    assert len(chosen) == 50
    assert not np.array_equal(chosen, subset_of(np.arange(1000), 4, 50))
    # What is collected beside a feature does not decide whether it is in the smaller of two samples.
    assert np.isin(np.arange(0, 1000, 2)[subset_of(np.arange(0, 1000, 2), 3, 10)], subset_of(np.arange(1000), 3, 50)).all()


@given(tables(), st.randoms(use_true_random=False))
def test_phi_is_the_correlation(table: Table, order: random.Random) -> None:
    fires = table.fires[table.counted].astype(np.float64)
    first, second = order.randrange(5), order.randrange(5)
    counts = [np.array([value]) for value in (fires[:, first].sum(), fires[:, second].sum(), (fires[:, first] * fires[:, second]).sum())]
    varies = len(fires) > 0 and fires[:, first].std() > 0 and fires[:, second].std() > 0
    expected = np.corrcoef(fires[:, first], fires[:, second])[0, 1] if varies else 0
    assert phi(float(len(fires)), *counts)[0] == pytest.approx(expected, abs=1e-9)


def independent(seed: int, runs: bool = False, features: int = FEATURES) -> Table:
    """Independent features; with `runs` each fires all through a few documents, else at tokens alone."""
    generator = np.random.default_rng(seed)
    documents = np.arange(TOKENS) * DOCUMENTS // TOKENS
    density = generator.choice([0.002, 0.01, 0.05], features)
    if runs:
        on = generator.random((DOCUMENTS, features)) < 3 / DOCUMENTS
        fires = on[documents] & (generator.random((TOKENS, features)) < 0.5)
    else:
        fires = generator.random((TOKENS, features)) < density
    fires[:, :2] = False, True
    return Table(fires, 2 * generator.integers(0, 3, TOKENS), documents)


def reported(table: Table, decoder: np.ndarray, neighbours: np.ndarray | None = None) -> CofiringReport:
    size = table.fires.shape[1]
    near = np.stack([np.roll(np.arange(size), -1), np.roll(np.arange(size), 7)], axis=1) if neighbours is None else neighbours
    kinds = np.stack([table.fires[table.kinds == kind].sum(axis=0) for kind in range(6)], axis=1)
    return cofiring_report(counted(table, near), decoder, kinds)


def directions(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((FEATURES, WIDTH)).astype(np.float32)


@pytest.mark.parametrize("runs", [False, True], ids=["tokens", "documents"])
def test_independent_features_have_no_relations_at_the_stated_rate(runs: bool) -> None:
    reports = [reported(independent(seed, runs), directions(seed)) for seed in range(30)]
    assert sum(bool(report.significant) for report in reports) <= 5, "at most 5% of 30 in the mean: 6 or more in 1 of 300"
    assert sum(report.implied_count + report.block_count + report.splits.count + report.composite_count for report in reports) == 0
    alive = int(independent(0, runs).fires.any(axis=0).sum())
    assert reports[0].tests == alive * (alive - 1) // 2


def test_taking_tokens_for_the_unit_would_find_pairs_in_independent_features(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "effects_of", lambda margins, first, second: np.ones(len(first)))
    assert sum(bool(reported(independent(seed, True), directions(seed)).significant) for seed in range(5)) == 5


def planted() -> tuple[Table, np.ndarray]:
    """Feature 3 fires only where 4 does; 5, 6, 7 fire together; 8 is the sum of 5 and 6; 10 and 11 are halves of one.

    25 is near to 5, with little of 6: no sum. 13 and 14 are near, but on other tokens, 16 and 17 near, but fire together: no halves.
    """
    table, decoder, generator = independent(0), directions(0), np.random.default_rng(1)
    fires = table.fires
    fires[:, 4] = generator.random(TOKENS) < 0.05
    fires[:, 3] = fires[:, 4] & (generator.random(TOKENS) < 0.2)
    together = generator.random(TOKENS) < 0.02
    for feature in (5, 6, 7):
        fires[:, feature] = together & (generator.random(TOKENS) < 0.9)
    unit = decoder / np.linalg.norm(decoder, axis=1, keepdims=True)
    decoder[8] = 3 * (0.8 * unit[5] + 0.5 * unit[6] + 0.2 * unit[20])
    whole = generator.random(TOKENS) < 0.03
    fires[:, 10] = whole & (table.kinds == 2) & (generator.random(TOKENS) < 0.5)
    fires[:, 11] = whole & (table.kinds == 2) & ~fires[:, 10]
    decoder[25] = unit[5] + 0.15 * unit[6] + 0.25 * unit[21]
    fires[:, 13] = (table.kinds == 0) & (generator.random(TOKENS) < 0.05)
    fires[:, 14] = (table.kinds == 4) & (generator.random(TOKENS) < 0.05)
    for feature in (16, 17):
        fires[:, feature] = whole & (generator.random(TOKENS) < 0.6)
    for feature in (10, 13, 16):
        decoder[feature + 1] = decoder[feature] + 0.6 * decoder[feature + 1]
    return table, decoder


def test_planted_relations_are_found_and_no_others() -> None:
    table, decoder = planted()
    neighbours = np.stack([np.roll(np.arange(FEATURES), -1), np.roll(np.arange(FEATURES), 7)], axis=1)
    report = reported(table, decoder, neighbours)
    assert [(one.feature, one.other) for one in report.implied] == [(3, 4)]
    implied = report.implied[0]
    assert (implied.share.value, implied.share.high) == (1, 1)
    assert implied.share.low < 1
    assert implied.chance == pytest.approx(0.05, abs=0.01)
    assert [block.features for block in report.blocks] == [(5, 6, 7)]
    assert report.blocks[0].linked == 1
    assert {(composite.feature, composite.parts) for composite in report.composites} == {(8, (5, 6))}
    assert report.composites[0].weights == pytest.approx((0.8, 0.5), abs=0.1)
    assert not report.composites[0].collinear
    assert report.composites[0].phi == pytest.approx(np.corrcoef(table.fires[:, 5], table.fires[:, 6])[0, 1])
    assert [(split.first, split.second) for split in report.splits.splits] == [(10, 11)]
    assert report.splits.chance is not None
    assert report.splits.chance.low <= report.splits.chance.value <= report.splits.chance.high
    tops = {tuple(sorted((pair.rarer, pair.other))) for pair in report.top}
    assert {(5, 6), (5, 7), (6, 7), (3, 4)} <= tops
    fires = table.fires.astype(float)
    for pair in report.top:
        assert pair.phi.low <= pair.phi.value <= pair.phi.high
        assert pair.phi.value == pytest.approx(np.corrcoef(fires[:, pair.rarer], fires[:, pair.other])[0, 1])
        assert pair.share.value == pytest.approx((fires[:, pair.rarer] * fires[:, pair.other]).sum() / fires[:, pair.rarer].sum())
    json.dumps(asdict(report), allow_nan=False)


def test_a_sum_that_keeps_its_parts_silent_is_found_among_nearest_features() -> None:
    table, decoder = independent(3), directions(3)
    unit = decoder / np.linalg.norm(decoder, axis=1, keepdims=True)
    decoder[2] = 0.7 * unit[5] + 0.7 * unit[9]
    # Where the sum fires neither part does.
    table.fires[np.ix_(table.fires[:, 2], [5, 9])] = False
    unit = decoder / np.linalg.norm(decoder, axis=1, keepdims=True)
    nearest = (unit @ unit.T - 2 * np.eye(FEATURES)).argsort(axis=1)[:, -4:]
    found = reported(table, decoder, nearest).composites
    assert [(one.feature, one.parts) for one in found] == [(2, (5, 9))]
    assert found[0].beside == 0 and found[0].phi is not None and abs(found[0].phi) < 0.1
    silent = replace(table, fires=table.fires & (np.arange(FEATURES) != 9))
    assert reported(silent, decoder, nearest).composites == (), "a part that never fires is none"


def test_random_directions_of_few_dimensions_are_near_and_no_splits() -> None:
    for seed in range(10):
        table, decoder = independent(seed), directions(seed)[:, :12]
        unit = decoder / np.linalg.norm(decoder, axis=1, keepdims=True)
        cosines = unit @ unit.T - 2 * np.eye(FEATURES)
        report = reported(table, decoder, cosines.argsort(axis=1)[:, -3:])
        assert cosines.max() > 0.5
        assert report.splits.count == report.composite_count == 0


def test_one_document_tells_no_chance() -> None:
    table, decoder = planted()
    report = reported(replace(table, groups=np.zeros(TOKENS, np.int64)), decoder)
    assert report.significant == report.tests == 0
    assert report.why
    assert report.top == report.blocks == report.implied == report.composites == ()


def test_margins_are_those_of_documents() -> None:
    table = independent(2, runs=True)
    margins = Margins.of(counted(table, np.zeros((FEATURES, 1), np.int64)))
    sums = np.stack([table.fires[table.groups == group].sum(axis=0) for group in range(DOCUMENTS)])
    density = table.fires.mean(axis=0)
    for feature in range(2, FEATURES):
        p = density[feature]
        effect = sums[:, feature].var(ddof=1) * DOCUMENTS / (TOKENS * p * (1 - p)) if p else 1
        assert margins.effects[feature] == pytest.approx(max(1, effect))
    assert margins.effects[:2].tolist() == [1, 1]


@given(st.integers(0, 2**32), st.floats(-0.95, 0.95))
def test_sums_of_two_are_non_negative_least_squares(seed: int, between: float) -> None:
    generator = np.random.default_rng(seed)
    basis = np.array([[1, 0, 0, 0], [between, np.sqrt(1 - between**2), 0, 0]])
    vectors = generator.standard_normal((20, 4))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    weights, explained = sums_of_two(vectors @ basis.T, np.full(20, between))
    for row, vector in enumerate(vectors):
        expected, residual = nnls(basis.T, vector)
        np.testing.assert_allclose(weights[row], expected, atol=1e-9)
        assert explained[row] == pytest.approx(1 - residual**2, abs=1e-9)


def test_bounds_by_chance_hold_for_random_directions() -> None:
    generator = np.random.default_rng(0)
    width, trials = 12, 200_000
    vectors = generator.standard_normal((trials, width))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    least = most_left(500, width)
    # What the first axis leaves, and of that the second.
    left = 1 - vectors[:, 1] ** 2 / (1 - vectors[:, 0] ** 2)
    assert 0 < (left <= least).mean() * 2 * 500 <= 0.1
    assert (vectors[:, 0] >= cosine_by_chance(20, width)).mean() * 20**2 / 2 <= 0.05
    assert most_left(500, 2) == 0
