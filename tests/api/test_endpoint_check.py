"""A model whose settings promise log-probabilities: it is held to it at submission, and its answers are scores of their own."""

import pytest

from interp.domain.spec import JobSpec, ScorerSpec
from interp.llm.base import Ability
from interp.planning.model_requirements import needs_of
from interp.planning.settings_digest import planned_scorer


def job(logprobs: bool, **more) -> JobSpec:
    models = {"explainer": {"model": "m"}, "judge": {"model": "m", "logprobs": logprobs}, "second_judge": {"model": "n"}, "embedding": {"model": "e"}}
    return JobSpec(subject={"model": "m"}, dictionary={"source": "d"}, corpus={"path": "c"}, models=models, **more)


@pytest.mark.parametrize("logprobs", [False, True])
def test_the_judge_is_asked_for_them_and_nobody_else(logprobs):
    scorers = ("detection", "simulation", "embedding")
    needs = needs_of(job(logprobs, explainers=("contexts",), scorers=scorers, controls=("judge_swap",)))
    assert {need.role for need in needs if Ability.LOGPROBS in need.abilities} == ({"judge"} if logprobs else set())
    assert {need.role for need in needs if Ability.EMBEDDINGS in need.abilities} == {"embedding"}


def test_scores_with_and_without_them_are_not_the_same_score():
    scorer = ScorerSpec(name="simulation")
    assert planned_scorer(job(True), scorer).digest != planned_scorer(job(False), scorer).digest
