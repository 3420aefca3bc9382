"""Matching of dictionaries: the one-to-one assignment on candidates is that on all pairs; planted copies, splits and duplicates."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from interp.domain.errors import DictionaryError
from interp.health import matching as module
from interp.health.directions import random_directions
from interp.health.matching import JOINT, Match, matching
from tests.health.directions import dictionary_of, normal


def cosines_of(first: torch.Tensor, second: torch.Tensor) -> np.ndarray:
    unit = [torch.nn.functional.normalize(side.float(), dim=1) for side in (first, second)]
    return (unit[0] @ unit[1].T).double().numpy()


def check(found: Match, cosines: np.ndarray) -> None:
    """Assert that figures are those of the definition, by SciPy's dense assignment."""
    assert found.forward.mean.value == pytest.approx(cosines.max(1).mean(), abs=1e-6)
    assert found.backward.mean.value == pytest.approx(cosines.max(0).mean(), abs=1e-6)
    rows, columns = linear_sum_assignment(cosines, maximize=True)
    assert found.one_to_one.mean.value == pytest.approx(cosines[rows, columns].mean(), abs=1e-6)
    assert (found.one_to_one.pairs, found.one_to_one.bound, found.one_to_one.mean.why) == (min(cosines.shape), found.one_to_one.mean.value, JOINT)
    for side, axis in ((found.forward, 1), (found.backward, 0)):
        assert side.chosen + side.double_counted == cosines.shape[1 - axis]
        if len(cosines) > 1 < cosines.shape[1]:
            highest = cosines.max(axis)
            assert side.mean.standard_error == pytest.approx(highest.std(ddof=1) / len(highest) ** 0.5, abs=1e-6)
            assert side.same.value == pytest.approx((highest > 0.9).mean())


def sizes_and_ties(examples: int):
    def decorate(test):
        return settings(max_examples=examples)(
            given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 5), st.booleans(), st.integers(0, 9))(test)
        )

    return decorate


def drawn(one: int, other: int, width: int, ties: bool, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    first, second = normal(one, width, seed), normal(other, width, seed + 50)
    return (first.sign(), second.sign()) if ties else (first, second)


@sizes_and_ties(15)
def test_figures_are_those_of_the_definition(one: int, other: int, width: int, ties: bool, seed: int) -> None:
    first, second = drawn(one, other, width, ties, seed)
    report = matching(dictionary_of(first), (dictionary_of(second, second.flip(1)),))
    pair = report.pairs[0]
    check(pair.decoder.match, cosines_of(first, second))
    assert pair.encoder is not None
    check(pair.encoder.match, cosines_of(first, second.flip(1)))
    check(pair.decoder.random, cosines_of(random_directions(one, width, 0), random_directions(other, width, 1)))
    json.dumps(asdict(report), allow_nan=False)


@sizes_and_ties(40)
def test_on_candidates_the_best_assignment_lies_between_the_found_one_and_its_bound(one: int, other: int, width: int, ties: bool, seed: int) -> None:
    first, second = drawn(one, other, width, ties, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MOST_PAIRS", 30)
        patch.setattr(module, "CANDIDATES", 4)
        units = [torch.nn.functional.normalize(side, dim=1) for side in (first, second)]
        match, _, partners = module._match(*units)
    cosines = cosines_of(first, second)
    rows, columns = linear_sum_assignment(cosines, maximize=True)
    best, found = cosines[rows, columns].mean(), match.one_to_one
    assert found.mean.value is not None and found.bound is not None
    assert found.mean.value - 1e-6 <= best <= found.bound + 1e-6
    assert len(set(partners.first.tolist())) == len(set(partners.second.tolist())) == found.pairs == min(one, other)
    assert found.mean.value == pytest.approx(cosines[partners.first, partners.second].mean(), abs=1e-6)


def test_the_assignment_of_an_auction_is_the_dense_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_PAIRS", 0)
    monkeypatch.setattr(module, "EPSILON", 1e-8)
    first = normal(150, 24)
    second = (first + 1.2 * normal(150, 24, 1))[torch.randperm(150, generator=torch.Generator().manual_seed(2))]
    pair = matching(dictionary_of(first), (dictionary_of(second),)).pairs[0]
    cosines = cosines_of(first, second)
    rows, columns = linear_sum_assignment(cosines, maximize=True)
    best = pytest.approx(cosines[rows, columns].mean(), abs=1e-6)
    assert (pair.decoder.match.one_to_one.bound, pair.decoder.match.one_to_one.mean.value) == (best, best)
    assert cosines.max(1).mean() > cosines[rows, columns].mean() + 1e-3, "a row has not its nearest"


def test_a_shuffled_noisy_copy_is_found_and_the_rest_is_alone() -> None:
    base, noise = normal(300, 48), normal(300, 48, 1)
    second = base + 0.3 * noise
    second[200:] = noise[200:]
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    report = matching(dictionary_of(base), (dictionary_of(second[order] * 5),))
    pair = report.pairs[0]
    assert pair.decoder.match.one_to_one.same.value == pytest.approx(2 / 3) == report.same.value == report.similar_in_all.value
    assert pair.agreeing.value == pytest.approx(2 / 3)
    assert {feature for feature, _ in pair.decoder.first_alone.features} == set(range(200, 300)) and pair.decoder.first_alone.total == 100
    assert {int(order[feature]) for feature, _ in pair.decoder.second_alone.features} == set(range(200, 300))
    assert (pair.decoder.random.one_to_one.similar.value, pair.decoder.random.forward.similar.value) == (0, 0)
    assert report.similar_in_none.value == pytest.approx(1 / 3) and report.similar.why == module.ONE_OTHER


def test_a_rotated_copy_is_a_stranger_though_its_own_geometry_is_the_same() -> None:
    base = normal(200, 48)
    rotation = torch.linalg.qr(normal(48, 48, 3)).Q
    found = matching(dictionary_of(base), (dictionary_of(base @ rotation),)).pairs[0].decoder
    assert found.match.one_to_one.mean.value == pytest.approx(found.random.one_to_one.mean.value or 0, abs=0.03)
    assert found.match.forward.similar.value == 0


def test_greedy_matching_counts_a_feature_again_that_one_to_one_counts_once() -> None:
    """The first splits each of ten features into ten copies: greedily all of it is in the second."""
    few = torch.nn.functional.normalize(normal(10, 64), dim=1)
    first = few.repeat_interleave(10, dim=0) + 0.02 * normal(100, 64, 1)
    second = torch.cat([few, normal(90, 64, 2)])
    match = matching(dictionary_of(first), (dictionary_of(second),)).pairs[0].decoder.match
    assert match.forward.same.value == 1 and (match.forward.chosen, match.forward.double_counted) == (10, 90)
    assert match.one_to_one.same.value == pytest.approx(0.1)


def test_agreement_asks_for_the_same_partner_by_encoder_and_decoder() -> None:
    axes = torch.eye(6)
    swapped = axes[[1, 0, 2, 3, 4, 5]]
    assert matching(dictionary_of(axes), (dictionary_of(axes, swapped),)).pairs[0].agreeing.value == pytest.approx(4 / 6)


def test_shares_over_seeds_have_the_spread_of_seeds() -> None:
    base = torch.eye(8)
    others = tuple(dictionary_of(torch.cat([base[:kept], -base[kept:]])) for kept in (8, 6, 4))
    report = matching(dictionary_of(base), others)
    assert report.same.value == pytest.approx(0.75) and report.same.standard_error == pytest.approx(0.25 / 3**0.5)
    assert (report.same_in_all.value, report.similar_in_none.value) == (0.5, 0)


def test_zero_rows_are_counted_and_left_out() -> None:
    first, second = normal(6, 4), normal(5, 4, 1)
    first[2] = 0
    second[:] = 0
    report = matching(dictionary_of(first), (dictionary_of(second), dictionary_of(first)))
    nothing, itself = report.pairs
    assert nothing.decoder.zero == (1, 5) and nothing.decoder.match.one_to_one.mean.value is None and nothing.decoder.match.forward.mean.why
    assert nothing.decoder.first_alone.total == 5 and itself.decoder.match.one_to_one.same.value == 1
    assert report.same.value == 0.5
    json.dumps(asdict(report), allow_nan=False)


def test_the_larger_dictionary_has_features_that_no_partner_is_left_for() -> None:
    base = normal(7, 16)
    for first, second, place in ((base[:4], base, "second_alone"), (base, base[:4], "first_alone")):
        pair = matching(dictionary_of(first), (dictionary_of(second),)).pairs[0]
        assert getattr(pair.decoder, place).features == ((4, None), (5, None), (6, None)) and pair.decoder.match.one_to_one.same.value == 1


def test_other_spaces_are_refused_or_named() -> None:
    one = dictionary_of(normal(4, 6), normal(4, 5))
    with pytest.raises(DictionaryError, match=r"6 dimensions and made 7.*same hook point"):
        matching(one, (dictionary_of(normal(4, 7)),))
    with pytest.raises(DictionaryError, match="no dictionary"):
        matching(one, ())
    pair = matching(one, (dictionary_of(normal(4, 6), hook_point="blocks.2.hook_resid_pre"),)).pairs[0]
    assert pair.encoder is None and "5 dimensions" in (pair.encoder_why or "") and pair.agreeing.why == pair.encoder_why
    assert "blocks.2" in (pair.warning or "")


@pytest.mark.parametrize(("columns", "k"), [(40, 3), (700, 4), (1000, 2)])
def test_the_greatest_cosines_are_those_of_a_sort(columns: int, k: int) -> None:
    values = normal(20, columns)
    found = module._greatest(values, k)
    expected = values.sort(dim=1, descending=True)
    assert torch.equal(found[0], expected.values[:, :k]) and torch.equal(found[1], expected.indices[:, :k])
