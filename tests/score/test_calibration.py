"""Swapped explanations through the whole scorer: matched nulls make "significant" mean what it says."""

import numpy as np
import pytest

from interp.domain.explanation import Explanation
from interp.domain.spec import ScorerSpec, SplitCounts
from interp.explain.pattern.literals import OneOf
from interp.explain.pattern.rule import Clause, Rule
from interp.score import registry
from interp.score.base import ScorerInput
from interp.score.items.nulls import choose_nulls
from interp.stats.multiplicity import benjamini_hochberg
from interp.stats.pooled import pooled_p
from tests.explain.planted import evidence, text

SWAPS = 300
FEATURES = 200
JUDGED = 30
COUNTS = SplitCounts(top=0, uniform=15, weighted=15, inactive=20, near_miss=0)


def _dictionary(count, random):
    """Features that fire on sets of words, some common and some rare; each with its true rule."""
    vocabulary = text().vocabulary
    words = sorted({string.strip().lower() for string in vocabulary.strings if string.strip().isalpha()})
    bare = np.array([string.strip().lower() for string in vocabulary.strings])
    often = np.bincount(text().rows.ravel(), minlength=len(bare))
    words = [word for word in words if 30 < often[bare == word].sum() < 4000]
    # No two features share a word: a borrowed explanation that is half right is not a swap.
    deal = iter(random.permutation(words).tolist())
    sets = [tuple(next(deal) for _ in range(random.integers(1, 4))) for _ in range(count)]
    fires = [np.isin(bare, chosen) for chosen in sets]
    densities = np.array([often[fire].sum() for fire in fires]) / text().rows.size
    rules = [Rule((Clause((OneOf("word", 0, chosen),), 1.0),)).to_json() for chosen in sets]
    explanations = [
        Explanation(number, "test", " or ".join(chosen), rule=rule) for number, (chosen, rule) in enumerate(zip(sets, rules, strict=True))
    ]
    return fires, densities, explanations


@pytest.mark.parametrize("name", registry.SCORERS)
def test_swapped_explanations_are_significant_no_more_often_than_promised(name):
    """The judged explanation and its nulls are 21 features alike in density and length: no one of them is the right one."""
    random = np.random.default_rng(0)
    fires, densities, explanations = _dictionary(FEATURES, random)
    lengths = np.array([len(explanation.text) for explanation in explanations])
    chosen = choose_nulls(range(len(fires)), densities, lengths, 21, 0)
    evidences = [evidence(fires[feature][text().rows], feature, explain=SplitCounts(), test=COUNTS) for feature in range(JUDGED)]
    items = []
    for swap in range(SWAPS):
        feature = swap % len(evidences)
        borrowed = [explanations[other] for other in random.permutation(chosen[feature])]
        items.append(ScorerInput.of(evidences[feature], borrowed[0], borrowed[1:]))
    scores = registry.get(ScorerSpec(name=name)).score(items, text().vocabulary, 0)
    p_values = _p_values(scores)
    assert len(p_values) > SWAPS / 3
    paired = [score.null.p_paired for score in scores if score.null.p_paired is not None]
    assert len(paired) > SWAPS / 3
    assert np.mean(np.array(paired) <= 0.05) <= 0.06
    assert np.mean(np.array(p_values) <= 0.05) <= 0.07
    assert np.mean(benjamini_hochberg(p_values) <= 0.05) <= 0.01

    true = [
        ScorerInput.of(evidences[feature], explanations[feature], [explanations[other] for other in chosen[feature][:20]])
        for feature in range(JUDGED)
    ]
    right = registry.get(ScorerSpec(name=name)).score(true, text().vocabulary, 0)
    assert np.mean(np.array(_p_values(right)) <= 0.05) > 0.9
    assert np.mean([score.null.p_paired <= 0.05 for score in right if score.null.p_paired is not None]) > 0.9


def _p_values(scores):
    """As a summary has them: by rank where a feature has nulls enough, else from the nulls of all that have too few. Undefined ones are left out."""
    few = [score for score in scores if score.null.p_method is None and score.value is not None]
    assert all(sum(value is not None for value in score.null.values) < 19 for score in few), "no p by rank from fewer nulls than are promised"
    if not few:
        return [score.null.p_value for score in scores if score.null.p_value is not None]
    nulls = np.array([[np.nan if value is None else value for value in score.null.values] for score in few])
    pooled = pooled_p(np.array([score.value for score in few]), nulls)
    return [*(score.null.p_value for score in scores if score.null.p_method == "rank"), *pooled[~np.isnan(pooled)].tolist()]
