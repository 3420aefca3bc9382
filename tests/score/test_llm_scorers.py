"""What holds of every scorer that asks a language model, by its name in the registry."""

import asyncio
import json
from dataclasses import asdict

import pytest

from interp.domain.spec import ScorerSpec
from interp.score import registry
from interp.score.base import ScoreContext
from interp.score.items.codec import decode_items, encode_items
from tests.score.any_model import AnyModel, any_model, scored
from tests.score.cat_feature import VOCABULARY, item_of
from tests.score.fake_model import reply
from tests.score.test_choice import distractors

CONTROLS = frozenset({"empty", "baseline", "repeat", "judge_swap", "gold"})
ALL = pytest.mark.parametrize("name", sorted(registry.JUDGED))


def score(name, model, seed=0, controls=CONTROLS):
    context = ScoreContext(VOCABULARY, seed, model, model, model, controls)
    item, scorer = item_of(baseline="dogs", distractors=distractors()), registry.judged(ScorerSpec(name=name))
    return asyncio.run(scored(scorer, item, context))


@ALL
def test_every_wanted_control_is_made_or_says_why_not(name):
    found = score(name, any_model())
    assert sorted(control.name for control in found.controls) == sorted(CONTROLS)
    assert all(control.value is not None or control.reason for control in found.controls)
    assert score(name, any_model(), controls=frozenset()).controls == ()


@ALL
def test_the_same_seed_gives_the_same_score_whatever_comes_back_first(name):
    assert score(name, any_model()) == score(name, any_model())


@ALL
def test_what_is_asked_can_be_counted_with_typical_replies(name):
    """A dry run answers each question with the reply that the prompt calls typical, and must get to the end as a real one does."""
    dry, real = AnyModel(lambda asked: reply(asked.prompt.typical, key=asked.prompt.digest)), any_model()
    found = score(name, dry)
    assert found.failed == 0
    score(name, real)
    assert sorted(dry.shown) == sorted(real.shown)


@ALL
def test_everything_of_a_score_can_be_stored(name):
    found = score(name, any_model())
    assert found.items
    assert decode_items(encode_items(found.items)) == found.items
    json.dumps(
        [found.value, found.metrics, found.provenance, [asdict(control) for control in found.controls], asdict(found.null) if found.null else None]
    )


@ALL
def test_provenance_names_the_model_the_template_the_seed_and_all_calls(name):
    found = score(name, any_model(), seed=7)
    assert found.provenance["model"] == {"model": "teller", "base_url": "test:"}
    assert found.provenance["seed"] == 7
    assert found.provenance["scorer_version"] == registry.judged(ScorerSpec(name=name)).version
    assert set(found.provenance["calls"]) <= {name, *(f"{name}/{part}" for part in ("null", "empty", "baseline", "repeat", "judge_swap", "gold"))}
    if name not in ("embedding", "surprisal"):
        assert "@" in found.provenance["template"]
        assert found.provenance["calls"][name]
