"""Trap 4, silent failure: a public run published F1 with 18,170 of 20,000 predictions missing. A failed call counted as "no" is right on every
silent window, and an exact-length check drops a short last batch."""

import pytest

from api.demo.fake_llm.faults import Faults
from api.demo.fake_llm.server import ScriptedServer
from interp.domain.errors import CallRejectedError
from interp.judge.yes_no import Window
from tests.score.cat_feature import item_of, score
from tests.score.fake_model import FakeModel, verdicts
from tests.score.over_http import ScoringEndpoint
from tests.score.test_yes_no import ask

LABEL = 'the text contains the word "cat"'
BOTH = pytest.mark.parametrize("name", ["detection", "fuzz"])


@BOTH
def test_a_server_that_refuses_most_calls_makes_the_score_no_better_than_one_that_answers(name):
    """Nearly every call refused: what is left is measured, what is missing is counted, and a "no" is nowhere made of it."""
    item = item_of(own=LABEL, nulls=('the word "dog"', 'the word "man"'))
    with ScriptedServer() as server:
        whole = ScoringEndpoint(server.base_url).score(name, item, per_prompt=4)
    with ScriptedServer(faults=Faults(refused=0.97), seed=3) as server:
        gaps = ScoringEndpoint(server.base_url).score(name, item, per_prompt=4)
    assert (whole.answered, whole.failed) == (40, 0)
    assert gaps.failed > 5
    assert gaps.answered + gaps.failed == 40
    answers = {each.context: each.prediction for each in whole.items}
    for each in gaps.items:
        assert each.prediction in (None, answers[each.context])
        assert (each.prediction is None) == (each.failure is not None)
    assert gaps.interval is None or gaps.interval.high - gaps.interval.low > whole.interval.high - whole.interval.low


@BOTH
def test_a_judge_that_always_fails_has_no_figure(name):
    def tell(asked):
        raise CallRejectedError("HTTP 400: the request is wrong.")

    found = score(name, FakeModel(tell), controls=("empty", "repeat", "gold"))
    assert (found.value, found.answered, found.failed) == (None, 0, 40)
    assert "HTTP 400" in found.reason
    assert found.metrics["specificity"] is None
    assert found.metrics["f1"] is None
    assert found.null.value is None
    assert all(control.value is None and control.reason for control in found.controls)


@BOTH
def test_a_judge_that_fails_on_silent_windows_is_not_right_there(name):
    """It answers nothing about a window without a cat, which a "no" by default would call perfect."""

    def tell(asked):
        if any(" cat" not in text for text in asked.texts.values()):
            raise CallRejectedError("HTTP 400: the request is wrong.")
        return verdicts(lambda text, label: True)(asked)

    found = score(name, FakeModel(tell), per_prompt=1)
    assert found.metrics["recall"] == 1
    silent = [each for each in found.items if each.kind in ("inactive", "near_miss")]
    assert silent and all(each.prediction is None for each in silent)
    assert found.metrics["specificity_inactive"] is None
    if name == "detection":
        assert found.value is None
        assert "silent" in found.reason


@pytest.mark.parametrize("count", [1, 7, 10, 11, 23])
def test_a_short_last_batch_is_a_batch(count):
    windows = [Window(f"text {place} cat") for place in range(count)]
    model = FakeModel(verdicts(lambda text, label: True))
    assert [verdict.value for verdict in ask(model, windows)] == [True] * count
    assert sum(len(asked.texts) for asked in model.asked) == count


@BOTH
def test_verdicts_that_a_reply_leaves_out_are_asked_for_again(name):
    item = item_of(own=LABEL, nulls=())
    with ScriptedServer(faults=Faults(missing_verdicts=0.5, extra_verdicts=0.5), seed=1) as server:
        found = ScoringEndpoint(server.base_url).score(name, item)
        assert server.totals.by_fault["missing_verdicts"] > 0
    assert found.answered + found.failed == 40
    assert found.answered >= 30
