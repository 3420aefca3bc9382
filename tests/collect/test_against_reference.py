"""Streaming collection gives what the slow, obvious way gives: exactly, since the fakes' arithmetic is exact."""

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import NamedTuple

import numpy as np
import pytest

from interp.collect import levels as calibration
from interp.collect.finish import finish
from interp.collect.levels import CALIBRATION_TOKENS, calibrate
from interp.collect.run import collect
from interp.dictionary.canonical import Positions
from interp.domain.evidence import ACTIVE_KINDS, ContextKind, FeatureEvidence, Split
from interp.domain.spec import CollectionSpec, SplitCounts
from tests.collect import reference
from tests.collect.fakes import FakeSubject, make_corpus, make_dictionary

FEATURES = 24
SEED = 7
SPEC = CollectionSpec(
    row_tokens=64,
    window=16,
    batch_tokens=1024,
    left_context=12,
    firing_rate=0.05,
    explain=SplitCounts(top=4, uniform=6, weighted=5, inactive=7, near_miss=3),
    test=SplitCounts(top=3, uniform=2, weighted=6, inactive=8, near_miss=5),
)


class Both(NamedTuple):
    """What collection gave and what the reference sees; `levels` are the reference's own."""

    evidence: list[FeatureEvidence]
    windows: list[reference.Window]
    levels: list[float]


@pytest.fixture(
    scope="module",
    params=[*product(["relu", "jumprelu", "topk"], ["zero", "quantile"], [False]), *product(["relu", "topk"], ["zero", "quantile"], [True])],
    ids=str,
)
def both(request: pytest.FixtureRequest) -> Both:
    activation, mode, packing = request.param
    subject, dictionary = FakeSubject(), make_dictionary(FEATURES, activation)
    corpus = make_corpus(np.random.default_rng(3).integers(1, 300, 60))
    spec = SPEC.model_copy(update={"firing_level": mode, "packing": packing})
    found = calibrate(subject, dictionary, corpus, spec, np.arange(FEATURES), lambda done: None)
    partial = collect(subject, dictionary, corpus, (0, len(corpus)), spec, SEED, np.arange(FEATURES), lambda done: None, found)
    windows = reference.windows_of(subject, dictionary, corpus, spec)
    levels = [0.0] * FEATURES if mode == "zero" else reference.levels(subject, dictionary, corpus, spec, CALIBRATION_TOKENS)
    return Both(list(finish(partial, subject, dictionary, corpus, spec)), windows, levels)


def test_calibration_tells_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    subject, dictionary = FakeSubject(), make_dictionary(FEATURES, "relu")
    corpus = make_corpus(np.random.default_rng(3).integers(1, 300, 60))
    told: list[float] = []
    spec = SPEC.model_copy(update={"firing_level": "quantile"})
    calibrate(subject, dictionary, corpus, spec, np.arange(FEATURES), told.append)
    at_once = len(told)
    assert at_once > 2
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1)
    told.clear()
    monkeypatch.setattr(calibration, "MOST_BYTES", 1)
    calibrate(subject, dictionary, corpus, spec, np.arange(FEATURES), told.append)
    assert len(told) == FEATURES * at_once, "a pass for each feature"
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1)


def test_levels_are_those_quantiles(both: Both) -> None:
    assert [item.statistics.firing_level for item in both.evidence] == both.levels
    for item in both.evidence:
        np.testing.assert_array_equal(item.contexts.levels, np.float32(item.statistics.firing_level))
    if any(both.levels):
        fires = [item.statistics.density for item in both.evidence if item.statistics.firing_level > 0 and item.feature > 1]
        assert np.mean(fires) == pytest.approx(SPEC.firing_rate, rel=0.3)


def test_counts_are_exact(both: Both) -> None:
    evidence, windows, levels = both
    for item in evidence:
        values = np.concatenate([window.activations[item.feature] for window in windows])
        values = np.where(values > levels[item.feature], values, 0)
        statistics = item.statistics
        assert statistics.tokens_seen == sum(sum(window.counted) for window in windows)
        assert statistics.tokens_active == (values > 0).sum()
        assert statistics.windows_seen == tuple(sum(window.split == split for window in windows) for split in Split)
        assert statistics.windows_active == tuple(
            sum(window.split == split and window.maximum(item.feature) > levels[item.feature] for window in windows) for split in Split
        )
        assert statistics.max_activation == values.max()
        assert statistics.mean_active == pytest.approx(values[values > 0].mean(dtype=np.float64) if (values > 0).any() else 0.0, abs=1e-6)
        np.testing.assert_array_equal(item.histogram, reference.histogram(windows, item.feature, levels[item.feature]))


def test_dead_and_constant_features_say_so(both: Both) -> None:
    dead, always = both.evidence[:2]
    assert dead.statistics.is_dead
    assert dead.statistics.state == "dead"
    assert dead.statistics.mean_active == 0.0
    assert not np.isin(dead.contexts.kinds, ACTIVE_KINDS).any()
    if always.statistics.density == 1:
        assert set(always.contexts.kinds) == set(ACTIVE_KINDS)


@pytest.mark.parametrize("kind", ContextKind)
@pytest.mark.parametrize("split", Split)
def test_samples_are_the_first_by_priority(both: Both, kind: ContextKind, split: Split) -> None:
    evidence, windows, levels = both
    count = getattr(SPEC.explain if split is Split.EXPLAIN else SPEC.test, kind.name.lower())
    for item in evidence:
        neighbours = [(neighbour.feature, neighbour.cosine) for neighbour in item.nearest[: SPEC.near_miss_neighbours]]
        expected = reference.sample(windows, item.feature, kind, split, count, SEED, neighbours, levels)
        contexts = item.contexts.of(split, kind)
        assert contexts.identities() == [f"{window.document:016x}:{window.start}" for window in expected]
        for place, window in enumerate(expected):
            length = len(window.tokens)
            assert contexts.lengths[place] == length
            assert contexts.positions[place] == window.position
            assert contexts.tokens[place, :length].tolist() == window.tokens
            assert not contexts.tokens[place, length:].any()
            assert contexts.left_tokens(place) == window.left(SPEC.left_context)
            np.testing.assert_array_equal(contexts.activations[place, :length], window.activations[item.feature].astype(np.float16))
            assert not contexts.activations[place, length:].any()


def test_a_subject_without_bos() -> None:
    subject, dictionary = FakeSubject(bos=None), make_dictionary(FEATURES)
    corpus = make_corpus([1, 64, 65, 200, 300])
    partial = collect(subject, dictionary, corpus, (0, 5), SPEC, SEED, np.arange(FEATURES), lambda done: None)
    windows = reference.windows_of(subject, dictionary, corpus, SPEC)
    evidence = list(finish(partial, subject, dictionary, corpus, SPEC))
    assert evidence[5].statistics.windows_seen == tuple(sum(window.split == split for window in windows) for split in Split)
    top = reference.sample(windows, 5, ContextKind.TOP, Split.EXPLAIN, SPEC.explain.top, SEED, [])
    assert evidence[5].contexts.of(Split.EXPLAIN, ContextKind.TOP).identities() == [f"{window.document:016x}:{window.start}" for window in top]


def test_some_features_alone_give_what_they_give_among_all() -> None:
    subject, dictionary, corpus = FakeSubject(), make_dictionary(FEATURES), make_corpus([200] * 20)
    run: Callable[[np.ndarray], list[FeatureEvidence]] = lambda features: list(  # noqa: E731
        finish(collect(subject, dictionary, corpus, (0, 20), SPEC, SEED, features, lambda done: None), subject, dictionary, corpus, SPEC)
    )
    everything, some = run(np.arange(FEATURES)), run(np.array([3, 11, 12]))
    for item in some:
        whole = everything[item.feature]
        assert item.statistics == whole.statistics
        assert item.nearest == whole.nearest
        assert item.contexts.identities() == whole.contexts.identities()
        np.testing.assert_array_equal(item.contexts.activations, whole.contexts.activations)


@pytest.mark.parametrize(
    "positions",
    [Positions(prepend_bos=False), Positions(excluded_tokens=(5, 9, 40)), Positions(start=3, stop=-20, step=2), Positions(False, (7,), 0, 17)],
)
def test_only_where_the_dictionary_was_trained(positions: Positions) -> None:
    subject, dictionary = FakeSubject(), replace(make_dictionary(FEATURES), positions=positions)
    corpus = make_corpus(np.random.default_rng(3).integers(1, 300, 30))
    partial = collect(subject, dictionary, corpus, (0, len(corpus)), SPEC, SEED, np.arange(FEATURES), lambda done: None)
    windows = reference.windows_of(subject, dictionary, corpus, SPEC)
    for item in finish(partial, subject, dictionary, corpus, SPEC):
        values = np.concatenate([window.activations[item.feature] for window in windows])
        assert item.statistics.tokens_seen == sum(sum(window.counted) for window in windows)
        assert item.statistics.tokens_active == (values > 0).sum()
        top = reference.sample(windows, item.feature, ContextKind.TOP, Split.EXPLAIN, SPEC.explain.top, SEED, [])
        contexts = item.contexts.of(Split.EXPLAIN, ContextKind.TOP)
        assert contexts.identities() == [f"{window.document:016x}:{window.start}" for window in top]
        for place, window in enumerate(top):
            assert contexts.tokens[place, : len(window.tokens)].tolist() == window.tokens
            np.testing.assert_array_equal(contexts.activations[place, : len(window.tokens)], window.activations[item.feature].astype(np.float16))
