"""Which windows a language model is asked about: a part that still stands for the whole."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interp.domain.evidence import ContextKind, Contexts
from interp.score.items.sampling import sample
from interp.score.items.test_set import TestSet
from tests.score.cat_feature import FULL, contexts_of


def _both(contexts: Contexts, first: ContextKind, second: ContextKind, count: int) -> Contexts:
    """The first `count` windows of one kind, kept for another reason as well."""
    rows = np.flatnonzero(contexts.kinds == first)[:count]
    doubled = contexts.select(np.concatenate([np.arange(len(contexts)), rows]))
    doubled.kinds[len(contexts) :] = second
    return doubled


CONTEXTS = _both(_both(contexts_of(FULL), ContextKind.INACTIVE, ContextKind.NEAR_MISS, 10), ContextKind.UNIFORM, ContextKind.WEIGHTED, 5)


@pytest.mark.parametrize("kind", [ContextKind.UNIFORM, ContextKind.INACTIVE])
def test_each_window_of_a_uniform_sample_is_asked_about_with_the_same_chance(kind):
    """Also those that were kept for a second reason: else the rates at the true mix of the corpus would lean their way."""
    questions = TestSet.of(CONTEXTS)
    times = dict.fromkeys([name for name, kept in zip(questions.contexts.identities(), questions.groups[kind.name.lower()], strict=True) if kept], 0)
    seeds = 1500
    for seed in range(seeds):
        drawn = sample(questions, 20, 20, seed, 0)
        for name in np.array(drawn.contexts.identities())[drawn.groups[kind.name.lower()]]:
            times[str(name)] += 1
    shares = np.array(list(times.values())) / seeds
    assert np.abs(shares - shares.mean()).max() < 5 * np.sqrt(shares.mean() * (1 - shares.mean()) / seeds)


@settings(max_examples=60)
@given(
    st.fixed_dictionaries({kind: st.integers(0, 12) for kind in ContextKind}),
    st.integers(2, 30),
    st.integers(2, 30),
    st.integers(0, 2**31 - 1),
)
def test_as_many_as_asked_for_or_all_there_are_and_no_top_windows(counts, positives, negatives, seed):
    questions = TestSet.of(contexts_of(counts))
    drawn = sample(questions, positives, negatives, seed, 3)
    assert drawn.positive.sum() == min(positives, counts[ContextKind.UNIFORM] + counts[ContextKind.WEIGHTED])
    assert drawn.negative.sum() == min(negatives, counts[ContextKind.INACTIVE] + counts[ContextKind.NEAR_MISS])
    assert drawn.scored.all()
    maxima = drawn.contexts.maxima()
    assert (maxima[drawn.positive] > 0).all()
    assert (maxima[drawn.negative] == 0).all()
    again = sample(questions, positives, negatives, seed, 3)
    assert again.contexts.identities() == drawn.contexts.identities()


def test_positives_come_from_the_whole_range():
    questions = TestSet.of(contexts_of(FULL))
    strengths = questions.contexts.maxima()[questions.positive]
    drawn = [sample(questions, 20, 20, 0, feature) for feature in range(200)]
    weak = np.quantile(strengths, 0.2)
    assert 0.1 < np.mean([(asked.contexts.maxima()[asked.positive] < weak).mean() for asked in drawn]) < 0.3
