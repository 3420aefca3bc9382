"""How long calls took, from a histogram: within 5% of what sorting them gives, however they came in."""

import math
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, update

from interp.llm.base import Usage
from interp.store import migrate
from interp.store.db.engine import snapshot, transaction
from interp.store.db.tables import LlmCallRow
from interp.store.llm import call_stats, calls
from interp.store.llm.call_stats import LEAST_SECONDS, bucket_of, nearest_rank, seconds_of
from interp.store.llm.calls import pack_call
from tests.store.asked import BASE_URL, MODEL, call

KEY = ("explain", "contexts", MODEL, BASE_URL, "live")


def sorted_rank(seconds: list[float], share: float) -> float:
    return max(sorted(seconds)[math.ceil(share * len(seconds)) - 1], LEAST_SECONDS)


@given(st.lists(st.floats(0, 1e5), min_size=1, max_size=60), st.floats(0.01, 1))
def test_a_percentile_is_within_5_percent_of_the_nearest_rank(seconds: list[float], share: float) -> None:
    found = nearest_rank(Counter(map(bucket_of, seconds)), share)
    assert abs(found / sorted_rank(seconds, share) - 1) <= 0.05


@given(st.integers(bucket_of(LEAST_SECONDS), 200))
def test_the_middle_of_a_bucket_is_in_it(bucket: int) -> None:
    assert bucket_of(seconds_of(bucket)) == max(bucket, bucket_of(LEAST_SECONDS))


def save(engine: Engine, seconds: Iterable[float], **of: Any) -> None:
    made = [pack_call(replace(call(f"{number}", **of), seconds=value)) for number, value in enumerate(seconds)]
    with transaction(engine) as session:
        calls.save(session, made)


def test_calls_of_several_processes_add_up_and_groups_stay_apart(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = [0.2 + number % 40 / 10 for number in range(300)]
    for slot in (3, 4, 4):
        monkeypatch.setattr(call_stats, "SLOT", slot)
        save(engine, seconds)
    save(engine, [50.0], purpose="detection")
    save(engine, [99.0], job_id="another")
    with snapshot(engine) as session:
        p50, p95 = call_stats.latency_percentiles(session, "job", (0.5, 0.95))
        assert call_stats.latency_percentiles(session, "nobody", (0.5,)) == [{}]
    assert set(p50) == {KEY, ("explain", "detection", *KEY[2:])}
    assert abs(p50[KEY] / sorted_rank(seconds, 0.5) - 1) <= 0.05
    assert abs(p95[KEY] / sorted_rank(seconds, 0.95) - 1) <= 0.05


def test_cached_tokens_are_summed(engine: Engine) -> None:
    made = [pack_call(replace(call(f"{cached}"), usage=Usage(100, 5, cached_tokens=cached))) for cached in (0, 16, 64)]
    with transaction(engine) as session:
        calls.save(session, made)
    with snapshot(engine) as session:
        (line,) = call_stats.usage(session, "job")
    assert (line.prompt_tokens, line.cached_tokens) == (300, 80)


def test_calls_recorded_before_there_were_histograms_are_in_them(engine: Engine, database_url: str) -> None:
    save(engine, [0.0, 0.004, 1.0, 2.0, 2.0, 900.0])
    shares = (0.01, 0.3, 0.5, 0.9, 1.0)
    with snapshot(engine) as session:
        before = call_stats.latency_percentiles(session, "job", shares)
    engine.dispose()
    migrate.downgrade(database_url, "0004")
    migrate.upgrade(database_url)
    with snapshot(engine) as session:
        assert call_stats.latency_percentiles(session, "job", shares) == before


def test_writers_that_share_a_slot_lose_nothing(engine: Engine) -> None:
    threads = [threading.Thread(target=save, args=(engine, [0.1 * 2**number for number in order])) for order in (range(8), range(7, -1, -1)) * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with transaction(engine) as session:
        session.execute(update(LlmCallRow).values(seconds=0.0))
    with snapshot(engine) as session:
        (longest,) = call_stats.latency_percentiles(session, "job", (1.0,))
    assert abs(longest[KEY] / 12.8 - 1) <= 0.05
