"""Simulation, selection, embedding and surprisal through the client, over HTTP, against a scripted model."""

import asyncio
from functools import partial

import pytest

from api.demo.fake_llm.faults import Faults
from api.demo.fake_llm.readers import CoinReader
from benches.memory_call_store import MemoryCallStore
from interp.domain.errors import AbilityMissingError
from interp.domain.evidence import ContextKind
from interp.domain.spec import ModelSpec, ScorerSpec
from interp.llm.call_store import Tag
from interp.score import registry
from interp.score.base import ScoreContext
from tests.fakes.full_server import FullServer
from tests.fakes.lasting_faults import LastingFaults
from tests.score.cat_feature import VOCABULARY, contexts_of, item_of
from tests.score.over_http import client_at

WINDOWS = {ContextKind.TOP: 6, ContextKind.UNIFORM: 10, ContextKind.WEIGHTED: 10, ContextKind.INACTIVE: 20, ContextKind.NEAR_MISS: 5}
LABEL, OTHERS = 'the word "cat"', ('the word "man"', 'the word "fire"')
NAMES = ["simulation", "selection", "embedding", "surprisal"]
PASSING = {
    "rate_limited": 0.05,
    "server_error": 0.05,
    "dropped": 0.05,
    "invalid_json": 0.05,
    "missing_verdicts": 0.1,
    "refused": 0.05,
    "cut_short": 0.05,
}


Server = partial(FullServer, models=())


def scores(server, names, logprobs=False, own=LABEL, controls=(), books=None):
    """Scores by name, and the books."""
    books = books or MemoryCallStore()

    async def all_of_them():
        client = client_at(server.base_url)
        try:
            found = {}
            for name in names:
                model = client.model(ModelSpec(model="scripted", logprobs=logprobs), books, Tag("job", "chunk", "score", 0, name))
                second = client.model(ModelSpec(model="another"), books, Tag("job", "chunk", "score", 0, name))
                endpoint = ScoreContext(VOCABULARY, 0, model, second, model, frozenset(controls), 0.5)
                item = item_of(contexts_of(WINDOWS), own=own, nulls=OTHERS, baseline=OTHERS[0])
                found[name] = await registry.judged(ScorerSpec(name=name, positives=16, negatives=20)).score(item, endpoint)
            return found
        finally:
            await client.close()

    return asyncio.run(all_of_them()), books


def test_a_label_that_quotes_what_fires_is_found_right():
    with Server() as server:
        found, books = scores(server, NAMES)
    for name, score in found.items():
        assert score.failed == 0 and score.answered > 20, name
        assert score.value > 0.9, name
        assert score.null.lift > 0.3, name
    purposes = {call.tag.purpose for call in books.calls}
    assert purposes == {f"{name}{part}" for name in NAMES for part in ("", "/null")}
    for name in ("simulation", "selection"):
        calls = found[name].provenance["calls"]
        assert {purpose: set(keys) for purpose, keys in calls.items()} == {
            purpose: {call.key for call in books.calls if call.tag.purpose == purpose} for purpose in (name, f"{name}/null")
        }


def test_the_log_prob_form_is_read_from_the_alternatives():
    with Server() as server:
        found, books = scores(server, ["simulation"], logprobs=True)
    score = found["simulation"]
    assert score.provenance["template"] == "simulate_levels@3"
    assert score.failed == 0 and score.value > 0.9
    # The scripted model writes 10 or 0 and weighs the neighbours: expectations are neither.
    levels = {value for item in score.items for _, value in item.detail["predicted"]}
    assert levels and not levels & {0.0, 10.0}
    assert len({call.key for call in books.calls if call.tag.purpose == "simulation"}) == score.answered


@pytest.mark.parametrize("logprobs", [False, True])
def test_passing_faults_change_no_figure(logprobs):
    names = ["simulation"] if logprobs else ["simulation", "selection"]
    with Server() as server:
        calm, _ = scores(server, names, logprobs)
    with Server(faults=Faults(**PASSING), seed=3) as server:
        rough, _ = scores(server, names, logprobs)
        assert server.totals.by_fault["missing_verdicts"] and server.totals.by_fault["refused"]
    for name in names:
        assert rough[name].failed == 0, name
        assert rough[name].value == pytest.approx(calm[name].value), name


def test_every_control_over_http():
    with Server() as server:
        found, books = scores(server, NAMES, controls=("empty", "baseline", "repeat", "judge_swap"))
    for name, score in found.items():
        controls = {control.name: control for control in score.controls}
        assert set(controls) == {"empty", "baseline", "repeat", "judge_swap"}, name
        assert controls["baseline"].lift > 0.2, name
        assert all(control.value is not None or control.reason for control in controls.values()), name
    # The scripted model says the same again, and so does the second judge, which is itself.
    assert found["selection"].controls[2].value == found["simulation"].controls[2].value == pytest.approx(1.0)
    assert {"simulation/empty", "selection/repeat", "embedding/baseline", "surprisal/judge_swap"} <= {call.tag.purpose for call in books.calls}


def test_a_coin_is_worth_nothing():
    with Server(reader=CoinReader()) as server:
        found, _ = scores(server, ["simulation", "selection"])
    assert abs(found["simulation"].value) < 0.35
    assert abs(found["selection"].value - 0.5) < 0.25
    assert abs(found["selection"].null.lift) < 0.35


def test_a_second_look_asks_nothing():
    with Server() as server:
        first, books = scores(server, NAMES)
        asked = server.totals.requests
        again, _ = scores(server, NAMES, books=books)
        assert server.totals.requests == asked
    assert again == first


def test_a_model_that_cannot_read_prompts_pauses_the_job():
    with Server(faults=LastingFaults(lacks=frozenset({"completions"}))) as server, pytest.raises(AbilityMissingError):
        scores(server, ["surprisal"])
