"""Detection, fuzz, discrimination and intruder through the client, over HTTP, against a scripted model."""

from itertools import groupby
from typing import get_args

import numpy as np
import pytest

from api.demo.fake_llm.faults import Faults
from api.demo.fake_llm.readers import NoisyReader, QuotedReader
from api.demo.fake_llm.server import ScriptedServer
from benches.memory_call_store import MemoryCallStore
from interp.domain.errors import BudgetReachedError
from interp.domain.spec import BudgetSpec, PromptOrder
from interp.llm.base import Ability
from tests.score.cat_feature import item_of
from tests.score.over_http import ScoringEndpoint
from tests.score.test_choice import distractors

LABEL, OTHERS = 'the word "cat"', ('the word "dog"', 'the word "fire"')
NAMES = ["detection", "fuzz", "discrimination", "intruder"]
CONTROLS = ("empty", "baseline", "repeat", "judge_swap", "gold")


def item(feature=0):
    return item_of(own=LABEL, nulls=OTHERS, baseline=OTHERS[0], distractors=distractors(), feature=feature)


@pytest.mark.parametrize("name", NAMES)
def test_a_judge_that_reads_the_label_finds_it_right(name):
    with ScriptedServer() as server:
        found = ScoringEndpoint(server.base_url).score(name, item(), CONTROLS)
        # A question that is asked for two purposes (a null that is the baseline) is one call.
        assert server.totals.calls == len({key for keys in found.provenance["calls"].values() for key in keys})
    assert found.failed == 0
    if name != "intruder":  # whose judge guesses by the likeness of words
        assert found.metrics["accuracy" if name == "discrimination" else "balanced_accuracy"] == 1
        assert found.null.lift > 0.3
    assert {control.name for control in found.controls} == set(CONTROLS)


@pytest.mark.parametrize("name", ["detection", "fuzz"])
def test_both_orders_are_read_alike_and_the_windows_first_go_out_by_group(name):
    """With one call in flight all questions about one prompt's windows reach the server before the next's."""
    found = {}
    for order in get_args(PromptOrder):
        with ScriptedServer() as server:
            found[order] = ScoringEndpoint(server.base_url, in_flight=1).score(name, item(), order=order)
            begun = [body["messages"][1]["content"].partition("\n</context-")[0] for body in server.totals.bodies]
        groups = [group for group, _ in groupby(begun)]
        assert len(begun) == 3 * 4
        assert len(groups) == len(set(groups)) == (4 if order == "windows_first" else 12)
    assert found["windows_first"].value == found["label_first"].value == 1
    assert found["windows_first"].null.values == found["label_first"].null.values
    assert [found[order].provenance["template"] for order in get_args(PromptOrder)] == [f"{kind_of(name)}@3", f"{kind_of(name)}@2"]


def kind_of(name):
    return "detect" if name == "detection" else name


# Faults of the way; a request that meets one is sent again, up to twelve times.
ON_THE_WAY = ("rate_limited", "rate_limited_silently", "server_error", "dropped", "dropped_midway", "truncated_body", "slow", "wrong_usage")


def scores_with(name, faults):
    """The score without and with faults."""
    with ScriptedServer() as server:
        calm = ScoringEndpoint(server.base_url).score(name, item(), ("empty", "gold"))
    with ScriptedServer(faults=faults, seed=5) as server:
        rough = ScoringEndpoint(server.base_url).score(name, item(), ("empty", "gold"))
        assert sum(server.totals.by_fault.values()) > 0
    return calm, rough


@pytest.mark.parametrize("name", NAMES)
def test_passing_faults_change_nothing(name):
    calm, rough = scores_with(name, Faults(**dict.fromkeys(ON_THE_WAY, 0.3 / len(ON_THE_WAY))))
    assert (rough.value, rough.answered, rough.failed) == (calm.value, calm.answered, 0)
    assert [each.prediction for each in rough.items] == [each.prediction for each in calm.items]
    assert rough.null.values == calm.null.values if calm.null else rough.null is None


@pytest.mark.parametrize("name", NAMES)
def test_faulty_replies_are_repaired_or_counted_as_failed(name):
    """A question is asked again once after a reply that cannot be read; two such replies in a row are a failure, never a no."""
    calm, rough = scores_with(name, Faults.mixed(0.3, stalled=0.0))
    assert rough.answered + rough.failed == calm.answered
    assert rough.failed <= calm.answered / 4
    for found, expected in zip(rough.items, calm.items, strict=True):
        assert found.prediction == expected.prediction or (found.prediction is None and found.failure)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_score_again_costs_nothing_and_is_the_same(name):
    with ScriptedServer() as server:
        endpoint = ScoringEndpoint(server.base_url)
        first, before = endpoint.score(name, item(), CONTROLS), server.totals.calls
        again = endpoint.score(name, item(), CONTROLS)
        assert server.totals.calls == before
    assert again == first


def test_log_probs_give_areas_under_curves():
    with ScriptedServer() as server:
        found = ScoringEndpoint(server.base_url, abilities=frozenset({Ability.LOGPROBS})).score("detection", item())
    assert found.metrics["auc"] == 1
    assert all(0 < each.detail["probability"] < 1 for each in found.items)


@pytest.mark.parametrize("name", ["detection", "fuzz"])
def test_a_noisy_judge_shows_its_own_rates_and_gold_knows_them(name):
    with ScriptedServer(NoisyReader(QuotedReader(), 0.85, 0.2)) as server:
        endpoint = ScoringEndpoint(server.base_url)
        found = [endpoint.score(name, item(feature), ("gold",)) for feature in range(12)]
    recall, specificity = (np.mean([score.metrics[figure] for score in found]) for figure in ("recall", "specificity"))
    assert recall == pytest.approx(0.85, abs=0.08)
    assert specificity == pytest.approx(0.8, abs=0.08)
    assert np.mean([score.interval.low <= 0.825 <= score.interval.high for score in found]) >= 0.75
    counts = {part: sum(score.controls[0].details[part] for score in found) for part in ("tp", "fn", "tn", "fp")}
    assert counts["tp"] / (counts["tp"] + counts["fn"]) == pytest.approx(0.85, abs=0.2)
    assert counts["fp"] / (counts["fp"] + counts["tn"]) == pytest.approx(0.2, abs=0.2)


@pytest.mark.parametrize("name", ["detection", "fuzz"])
def test_stopping_early_asks_less_and_says_the_same(name):
    with ScriptedServer(faults=Faults.mixed(0.2, stalled=0.0), seed=2) as server:
        endpoint = ScoringEndpoint(server.base_url)
        found = endpoint.score(name, item(), stop="sequential", threshold=0.6)
    assert found.value == 1
    assert found.provenance["items"]["stopped"] == "above"
    assert found.provenance["items"]["asked"] < found.provenance["items"]["of"] / 2
    assert found.interval.low > 0.6


@pytest.mark.parametrize("name", NAMES)
def test_a_budget_that_is_raised_goes_on_where_it_stopped(name):
    with ScriptedServer() as server:
        whole = ScoringEndpoint(server.base_url).score(name, item(), CONTROLS)
        needed = server.totals.calls
    with ScriptedServer() as server:
        endpoint = ScoringEndpoint(server.base_url, MemoryCallStore(BudgetSpec(calls=needed // 2)))
        with pytest.raises(BudgetReachedError):
            endpoint.score(name, item(), CONTROLS)
        assert server.totals.calls <= needed // 2
        endpoint.books.budget = BudgetSpec(calls=needed)
        again = endpoint.score(name, item(), CONTROLS)
        assert server.totals.calls == needed
    assert again.value == whole.value
    assert [(each.context, each.prediction) for each in again.items] == [(each.context, each.prediction) for each in whole.items]
