"""The record of calls and the cache: what was asked and answered can be had again, whole; what was not answered is never recalled."""

import threading

from sqlalchemy import Engine, func, select

from interp.llm.base import Usage
from interp.llm.call_store import PendingBatch
from interp.store.db.engine import snapshot, transaction
from interp.store.db.tables import LlmBatchRow
from interp.store.db.text import unpack
from interp.store.llm import batches, call_stats, calls, reply_cache
from interp.store.llm.calls import pack_call
from tests.store.asked import BASE_URL, MODEL, call


def save(engine: Engine, *made: calls.Call) -> None:
    packed = [pack_call(item) for item in made]
    with transaction(engine) as session:
        calls.save(session, packed)


def test_an_answer_is_recalled_by_its_key_with_usage_and_cost(engine: Engine) -> None:
    save(engine, call("a", tokens=(5, 6), cost=None), call("b", is_known=False))
    with snapshot(engine) as session:
        found = reply_cache.recall(session, ["a", "b", "nobody asked"])
        whole = reply_cache.load(session, ["a", "nobody asked"])
    assert set(found) == {"a", "b"}
    assert (found["a"].raw, found["a"].usage, found["a"].cost_usd) == ('{"choices": []}', Usage(5, 6), None)
    assert not found["b"].usage.is_known
    assert (unpack(whole["a"].prompt), whole["a"].model, whole["a"].base_url) == ('{"asked": "a ü"}', MODEL, BASE_URL)
    assert list(whole) == ["a"]


def test_what_was_not_answered_is_kept_with_what_came_back_and_never_recalled(engine: Engine) -> None:
    save(
        engine,
        *(call(status, status=status, raw="half a rep") for status in ("refused", "truncated", "failed")),
        call("none", status="failed", raw=None),
    )
    with snapshot(engine) as session:
        assert reply_cache.recall(session, ["refused", "truncated", "failed", "none"]) == {}
        found = calls.page(session, "job", feature=7)
    assert [(row.status, row.error) for row in found[:2]] == [("refused", "it was refused"), ("truncated", "it was truncated")]
    assert [row.raw is None for row in found] == [False, False, False, True]
    assert all(row.prompt is not None for row in found)


def test_the_first_answer_stays(engine: Engine) -> None:
    save(engine, call("a", raw="first"), call("a", raw="second"))
    save(engine, call("a", raw="third"))
    with snapshot(engine) as session:
        assert reply_cache.recall(session, ["a"])["a"].raw == "first"
        assert len(calls.by_key(session, ["a"])) == 3


def test_more_keys_than_a_statement_takes(engine: Engine) -> None:
    keys = [f"{number:064d}" for number in range(2 * reply_cache.MOST_KEYS + 3)]
    save(engine, *map(call, keys))
    with snapshot(engine) as session:
        assert set(reply_cache.recall(session, [*keys, "other", *keys])) == set(keys)


def test_usage_adds_up_by_stage_purpose_and_model_and_an_unknown_price_stays_unknown(engine: Engine) -> None:
    save(
        engine,
        call("a", attempts=3),
        call("b", status="failed", tokens=(1, 0), is_known=False),
        call("c", stage="score", purpose="detection", cost=None),
        call("d", stage="score", purpose="detection", cost=0.5),
        call("e", job_id="another"),
    )
    with snapshot(engine) as session:
        explained, scored = call_stats.usage(session, "job")
    assert (explained.questions, explained.answered, explained.attempts) == (2, 1, 4)
    assert (explained.prompt_tokens, explained.completion_tokens, explained.tokens_known) == (101, 10, False)
    assert explained.cost_usd == explained.priced_usd == 0.002
    assert (scored.stage, scored.purpose, scored.cost_usd, scored.priced_usd) == ("score", "detection", None, 0.5)


def test_calls_come_in_pages(engine: Engine) -> None:
    save(engine, *(call(str(number), feature=number % 2, stage="score" if number > 5 else "explain") for number in range(9)))
    with snapshot(engine) as session:
        first = calls.page(session, "job", limit=4)
        rest = calls.page(session, "job", after=first[-1].id)
        some = calls.page(session, "job", stage="score", feature=1)
    assert [row.key for row in (*first, *rest)] == [str(number) for number in range(9)]
    assert [row.key for row in some] == ["7"]


def test_writers_of_the_same_answers_do_not_lock_each_other_out(engine: Engine) -> None:
    errors: list[BaseException] = []

    def write(keys: list[str]) -> None:
        try:
            save(engine, *map(call, keys))
        except BaseException as error:
            errors.append(error)

    keys = [f"k{number:03d}" for number in range(200)]
    threads = [threading.Thread(target=write, args=[order]) for order in (keys, keys[::-1]) * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_a_batch_is_pending_until_it_has_ended(engine: Engine) -> None:
    batch = PendingBatch("batch_1", BASE_URL, MODEL, ("a", "b"))
    with transaction(engine) as session:
        batches.submitted(session, "job", "chunk", batch)
        batches.submitted(session, "job", "another chunk", PendingBatch("batch_2", BASE_URL, MODEL, ("c",)))
    with snapshot(engine) as session:
        assert batches.pending(session, "chunk", BASE_URL, MODEL) == [batch]
        assert batches.pending(session, "chunk", BASE_URL, "another model") == []
    with transaction(engine) as session:
        batches.ended(session, "job", "batch_1")
    with snapshot(engine) as session:
        assert batches.pending(session, "chunk", BASE_URL, MODEL) == []
        assert session.scalar(select(func.count()).select_from(LlmBatchRow)) == 2
