"""Counts of a large dictionary: many who ask at once make one count, and it is made anew after a hundred times as long as it took."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, update

from api.http import count_cache
from api.http.count_cache import StateCounts
from interp.store.db.engine import snapshot, transaction
from interp.store.db.tables import FeatureRow
from interp.store.listings import feature_detail
from tests.api import synthetic


class Watch:
    """Stands for the clock, and counts how often features were counted. Each count takes `seconds`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
        self.now, self.counts, self.seconds = 1000.0, 0, seconds
        self.real = feature_detail.states
        monkeypatch.setattr(count_cache.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(count_cache.entry, "states", self.states)

    def states(self, session: object, run_id: int) -> dict[str, int]:
        self.counts += 1
        self.now += self.seconds
        return self.real(session, run_id)  # type: ignore[arg-type]


@pytest.fixture
def run_id(engine: Engine) -> int:
    found = synthetic.empty_run(engine, "counted@1")
    synthetic.add_features(engine, [synthetic.feature_row(found, index, state="dead" if index % 3 == 0 else "active") for index in range(9)])
    return found


def ask(engine: Engine, known: StateCounts, run_id: int) -> dict[str, int]:
    with snapshot(engine) as session:
        return known.of(session, run_id)


def test_a_count_is_kept_a_hundred_times_as_long_as_it_took(engine: Engine, run_id: int, monkeypatch: pytest.MonkeyPatch) -> None:
    watch, known = Watch(monkeypatch, seconds=0.2), StateCounts()
    assert ask(engine, known, run_id) == {"dead": 3, "active": 6}
    with transaction(engine) as session:
        session.execute(update(FeatureRow).values(state="rare"))
    watch.now += 19.9
    assert ask(engine, known, run_id) == {"dead": 3, "active": 6}
    watch.now += 0.2
    assert ask(engine, known, run_id) == {"rare": 9}
    assert watch.counts == 2


def test_each_run_is_counted_on_its_own(engine: Engine, run_id: int) -> None:
    known, other = StateCounts(), synthetic.empty_run(engine, "counted@2")
    assert [ask(engine, known, of) for of in (run_id, other)] == [{"dead": 3, "active": 6}, {}]


def test_many_who_ask_at_once_make_one_count(engine: Engine, run_id: int, monkeypatch: pytest.MonkeyPatch) -> None:
    watch, known, start = Watch(monkeypatch, seconds=1.0), StateCounts(), threading.Barrier(8)

    def one(_number: int) -> dict[str, int]:
        start.wait()
        return ask(engine, known, run_id)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(one, range(8))) == [{"dead": 3, "active": 6}] * 8
    assert watch.counts == 1


def test_a_count_that_fails_is_made_anew(engine: Engine, run_id: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> dict[str, int]:
        raise ValueError("away")

    known = StateCounts()
    with monkeypatch.context() as patched:
        patched.setattr(count_cache.entry, "states", fail)
        with pytest.raises(ValueError, match="away"):
            ask(engine, known, run_id)
    assert ask(engine, known, run_id) == {"dead": 3, "active": 6}
