"""What the current token leaves equals its definition, and a feature of the token before is told from one of the token."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from interp.health.reconstruction import context as module
from interp.health.reconstruction.context import context
from tests.health.test_concepts import dictionary_of

WIDTH = 4


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 40), st.integers(1, 6), st.integers(0, 2**31))
def test_figures_equal_their_definitions(count: int, types: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    tokens, documents = random.integers(0, types, count), random.integers(0, 3, count)
    x = torch.from_numpy(random.standard_normal((count, WIDTH)).astype(np.float32))
    axes = dictionary_of(torch.eye(WIDTH) * torch.tensor([1.0, 2.0, 0.5, 1.0])[:, None])
    found = context(axes, x, tokens, documents)
    used = np.flatnonzero([(tokens == token).sum() > 1 for token in tokens])
    assert (found.tokens, found.types) == (len(used), len(set(tokens[used])))
    if not len(used):
        assert found.left.value is None and found.left.why
        return
    f, ids, norms = axes.encode(x[used]).double().numpy(), tokens[used], axes.W_dec.double().numpy() ** 2
    loo = np.array([f[[j for j in range(len(used)) if j != i and ids[j] == ids[i]]].mean(0) for i in range(len(used))])
    rest = np.array([np.delete(f, i, axis=0).mean(0) for i in range(len(used))])
    left, total = ((f - loo) ** 2).sum(0), ((f - rest) ** 2).sum(0)
    weights = norms.sum(1)
    if (total * weights).sum() > 1e-9:
        assert found.left.value == pytest.approx((left * weights).sum() / (total * weights).sum(), rel=1e-6)
    parts = left * weights
    for one in found.features:
        assert one.share == pytest.approx(parts[one.feature] / parts.sum(), rel=1e-6)
        if one.token is not None:
            assert one.token == pytest.approx(1 - left[one.feature] / total[one.feature], abs=1e-6)
    assert [one.share for one in found.features] == sorted((one.share for one in found.features), reverse=True)
    json.dumps(asdict(found), allow_nan=False)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 60), st.integers(1, 3), st.integers(0, 2**31))
def test_the_last_two_leave_what_a_token_of_each_pair_leaves(count: int, types: int, seed: int) -> None:
    """Pairs as types of a vocabulary of their own, without the tokens that have none before."""
    random = np.random.default_rng(seed)
    tokens, documents = random.integers(0, types, count), random.integers(0, 3, count)
    before = np.where(random.random(count) < 0.2, -1, random.integers(0, types, count))
    x, axes = torch.from_numpy(random.standard_normal((count, WIDTH)).astype(np.float32)), dictionary_of(torch.eye(WIDTH))
    found, known = context(axes, x, tokens, documents, before), before >= 0
    by_pair = context(axes, x[torch.from_numpy(known)], (types * before + tokens)[known], documents[known])
    own, expected = asdict(found.last_two), {name: value for name, value in asdict(by_pair).items() if name != "last_two"}
    if not found.last_two.tokens:
        assert "No pair" in (found.last_two.left.why or "") and by_pair.tokens == 0
        return
    assert own == expected
    alone = context(axes, x, tokens, documents)
    assert {**asdict(found), "last_two": None} == {**asdict(alone), "last_two": None} and alone.last_two.tokens == 0


def test_a_feature_of_the_last_two_is_told_from_one_of_three() -> None:
    random = np.random.default_rng(0)
    tokens = random.integers(0, 4, 4000)
    before, third = np.roll(tokens, 1), np.roll(tokens, 2)
    x = np.stack([tokens == 2, (before == 2) & (tokens == 1), (third == 2) & (tokens == 1), np.zeros(4000)], axis=1).astype(np.float32)
    found = context(dictionary_of(torch.eye(WIDTH)), torch.from_numpy(x), tokens, np.arange(4000) // 100, before)
    assert {one.feature for one in found.features} == {1, 2} and [one.feature for one in found.last_two.features] == [2]
    assert found.last_two.types == 16 and found.last_two.left.standard_error
    assert found.last_two.left.value is not None and found.left.value is not None and 0 < found.last_two.left.value < found.left.value
    (longer,) = found.last_two.features
    assert longer.share == 1 and longer.token == pytest.approx(0.2, abs=0.05)


def test_a_feature_of_the_token_before_is_first_and_one_of_the_token_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 64)
    random = np.random.default_rng(0)
    tokens = random.integers(0, 5, 2000)
    before = np.roll(tokens, 1)
    x = np.stack([tokens == 2, before == 2, random.random(2000) < 0.001, np.zeros(2000)], axis=1).astype(np.float32)
    found = context(dictionary_of(torch.eye(WIDTH)), torch.from_numpy(x), tokens, np.arange(2000) // 100)
    assert [one.feature for one in found.features] == [1, 2]
    assert found.features[0].share > 0.98
    assert found.features[0].token == pytest.approx(0, abs=0.01)
    assert found.token.quantiles is not None and found.token.quantiles[-1] == pytest.approx(1)
    assert found.left.value == pytest.approx(0.5, abs=0.03) and found.left.standard_error
