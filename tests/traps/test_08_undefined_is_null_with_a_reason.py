"""Trap 8, undefined as zero: with firing windows alone another tool reports a balanced accuracy of .375. Undefined is null, and says why."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from interp.domain.evidence import ContextKind
from interp.domain.spec import ScorerSpec
from interp.explain.pattern.literals import OneOf
from interp.explain.pattern.rule import Clause, Rule
from interp.score import registry
from interp.score.base import ScoreContext
from interp.stats.agreement import cohens_kappa, yes_no_figures
from interp.stats.ranking import auprc, auroc
from tests.score.any_model import any_model
from tests.score.cat_feature import VOCABULARY, contexts_of, item_of
from tests.score.test_choice import distractors

FIRING = {ContextKind.TOP: 3, ContextKind.UNIFORM: 10, ContextKind.WEIGHTED: 10}
SILENT = {ContextKind.INACTIVE: 20, ContextKind.NEAR_MISS: 5}
CONTROLS = frozenset({"empty", "baseline", "repeat", "judge_swap", "gold"})
NO_FIGURE = {
    "only firing windows": FIRING,
    "only silent windows": SILENT,
    "no window at all": {},
}


def judged(name, item):
    model = any_model()
    context = ScoreContext(VOCABULARY, 0, model, None, model, CONTROLS)
    return asyncio.run(registry.judged(ScorerSpec(name=name)).score(item, context))


def executable(name, item):
    return registry.get(ScorerSpec(name=name)).score([item], VOCABULARY, 0)[0]


def check(found):
    assert found.value is None
    assert found.interval is None
    assert found.reason
    assert found.metrics.get(found.metric) is None
    if found.null is not None:
        assert (found.null.value, found.null.lift, found.null.p_value) == (None, None, None) or found.null.lift is None
        assert found.null.reason
    for control in found.controls:
        assert control.lift is None
        assert control.value is not None or control.reason


# Of firing windows alone these are defined: Pearson's r, right against wrong marks, and the choice among groups of them.
DEFINED = {("simulation", "only firing windows"), ("fuzz", "only firing windows"), ("discrimination", "only firing windows")}


def cases(names):
    return [pytest.param(name, windows, id=f"{name}, {windows}") for name in sorted(names) for windows in NO_FIGURE if (name, windows) not in DEFINED]


@pytest.mark.parametrize(("name", "windows"), cases(registry.JUDGED))
def test_a_judged_score_without_one_of_its_two_sides(name, windows):
    check(judged(name, item_of(contexts_of(NO_FIGURE[windows]), distractors=distractors())))


@pytest.mark.parametrize(("name", "windows"), cases(registry.SCORERS))
def test_an_executable_score_without_one_of_its_two_sides(name, windows):
    rule = Rule((Clause((OneOf("word", 0, ("cat",)),), 1.0),)).to_json()
    item = item_of(contexts_of(NO_FIGURE[windows]), nulls=("dogs",) * 3)
    check(
        executable(
            name, replace(item, explanation=replace(item.explanation, rule=rule), nulls=tuple(replace(null, rule=rule) for null in item.nulls))
        )
    )


def test_the_case_of_the_trap_by_hand():
    """Five firing windows, three found: recall .6, and no specificity to take the mean with."""
    figures = yes_no_figures(np.ones(5, dtype=bool), np.array([True, True, True, False, False]))
    assert figures["recall"] == pytest.approx(0.6)
    assert figures["specificity"] is None
    assert figures["balanced_accuracy"] is None


def test_areas_and_kappa_of_one_side_are_none():
    assert auroc(np.array([0.1, 0.9]), np.array([True, True])) is None
    assert auprc(np.array([0.1, 0.9]), np.array([False, False])) is None
    assert cohens_kappa(np.array([True, True]), np.array([True, True])) is None
