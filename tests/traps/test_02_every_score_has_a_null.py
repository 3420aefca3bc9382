"""Trap 2: 85% of real and 85% of random descriptions reach p < .05 when each is held against zero. Every score has a null on the same items."""

import asyncio

import numpy as np
import pytest

from api.demo.fake_llm.readers import NoisyReader
from benches.truth.judges import InProcess, judge, oracle
from benches.truth.planted import DETECTION, item, matched, named
from interp.domain.spec import JobSpec, ScorerSpec
from interp.llm.prompt_text import parse_fenced
from interp.score import registry
from interp.score.base import ScoreContext
from tests.truth.fixtures import world

__all__ = ["world"]

PLACES = {"subject": {"model": "m"}, "dictionary": {"source": "d"}, "corpus": {"path": "c"}}


def test_a_job_that_asks_for_nothing_special_gets_nulls():
    job = JobSpec.model_validate({**PLACES, "scorers": registry.names()})
    assert job.controls == ("null",)
    assert all(registry.nulls_of(spec, job) >= 2 for spec in job.scorers)


@pytest.mark.parametrize("name", registry.SCORERS)
def test_scores_of_rules_have_a_null_a_lift_and_a_p_value(name, world):
    features = [feature for feature in named(world) if world.meanings[feature].kind == "token"]
    others = matched(world, features, 20, 0)
    items = [item(world, feature, world.meanings[feature], others[feature], seed=0) for feature in features[:5]]
    for score in registry.get(ScorerSpec(name=name)).score(items, world.vocabulary, 0):
        assert score.null.value is not None
        assert score.null.lift == pytest.approx(score.value - score.null.value)
        # A perfect correlation has no spread to make an interval of.
        assert score.null.lift_interval is not None or name == "simulation"
        assert 0 <= score.null.p_value <= 1
        assert len(score.null.features) == 20


@pytest.mark.parametrize("name", ["detection", "fuzz"])
def test_nulls_answer_the_same_items_in_the_same_prompts(name, world):
    """Own and null differ in the label alone, not in the windows, their order, or their company."""
    feature = named(world)[0]
    prompts: dict[str, list[str]] = {"own": [], "null": []}

    class Listening(InProcess):
        async def ask(self, prompt):
            part = "null" if "null" in self.purpose else "own"
            prompts[part].append(prompt.messages[-1].content)
            return await super().ask(prompt)

    others = matched(world, named(world), 2, 0)[feature]
    asked = item(world, feature, world.meanings[feature], others)
    scorer = registry.judged(ScorerSpec(name=name, judge="llm"))
    score = asyncio.run(scorer.score(asked, ScoreContext(world.vocabulary, 0, Listening(oracle(world)))))
    assert len(score.null.values) == 2
    assert len(prompts["null"]) == 2 * len(prompts["own"])
    assert {_contexts(text) for text in prompts["null"]} == {_contexts(text) for text in prompts["own"]}


def _contexts(message: str) -> tuple[str, ...]:
    return tuple(part.text for part in parse_fenced(message) if part.kind == "context")


def test_swapped_labels_have_no_lift_and_right_ones_have(world):
    """Judged by a noisy judge; the lift of a swapped label is nothing on average, and few of them have an interval that excludes nothing."""
    features = named(world)
    others = matched(world, features, 3, 0)
    swapped, right = (
        judge(
            InProcess(NoisyReader(oracle(world), 0.9, 0.1)),
            DETECTION,
            [item(world, feature, world.meanings[others[feature][0] if is_swapped else feature], others[feature][1:]) for feature in features],
            world.vocabulary,
        )
        for is_swapped in (True, False)
    )
    assert abs(np.mean([score.null.lift for score in swapped])) < 0.03
    assert np.mean([score.null.lift_interval.low > 0 for score in swapped]) < 0.1
    assert np.mean([score.null.lift for score in right]) > 0.3
    assert np.mean([score.null.lift_interval.low > 0 for score in right]) > 0.6
