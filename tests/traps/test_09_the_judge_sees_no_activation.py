"""Trap 9, the judge sees the answer: another tool shows the judge activation values. Here they decide which windows are asked about and which tokens
are marked, and stand in no prompt."""

import asyncio
import re
from dataclasses import replace

import numpy as np
import pytest

from interp.domain.spec import ScorerSpec
from interp.score import registry
from interp.score.base import Distractor, ScoreContext
from tests.score.any_model import any_model, scored
from tests.score.cat_feature import VOCABULARY, item_of
from tests.score.test_choice import distractors

CONTROLS = frozenset({"empty", "baseline", "repeat", "gold"})
ALL = pytest.mark.parametrize("name", sorted(registry.JUDGED))


def shown(name, item):
    """All that any model was shown for a score, sorted: calls come in no order."""
    model = any_model()
    context = ScoreContext(VOCABULARY, 0, model, None, model, CONTROLS)
    found = asyncio.run(scored(registry.judged(ScorerSpec(name=name)), item, context))
    assert found.answered > 0
    return sorted(model.shown)


def scaled(contexts, factor):
    return replace(contexts, activations=(contexts.activations * factor).astype(np.float16))


@ALL
def test_other_activations_at_the_same_tokens_show_the_judge_the_same(name):
    item = item_of(baseline="dogs", distractors=distractors())
    other = replace(
        item,
        contexts=scaled(item.contexts, 4),
        statistics=replace(item.statistics, max_activation=4 * item.statistics.max_activation, mean_active=4 * item.statistics.mean_active),
        distractors=tuple(Distractor(foil.feature, scaled(foil.contexts, 4)) for foil in item.distractors),
    )
    assert shown(name, item) == shown(name, other)


@ALL
def test_no_prompt_holds_a_value(name):
    item = item_of(baseline="dogs", distractors=distractors())
    texts = [re.sub(r"^\[[\d.]+\] ", "", text, flags=re.MULTILINE) for text in shown(name, item)]
    numbers = {number for text in texts for number in re.findall(r"\d+\.\d+", text)}
    assert not numbers


@pytest.mark.parametrize("name", ["detection", "selection", "simulation", "embedding"])
def test_where_nothing_is_marked_not_even_the_place_is_shown(name):
    """Activations moved to other tokens of the same windows."""
    item = item_of(baseline="dogs")
    moved = replace(item, contexts=replace(item.contexts, activations=np.roll(item.contexts.activations, 3, axis=1)))
    assert shown(name, item) == shown(name, moved)
