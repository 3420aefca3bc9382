"""What chunks measure of features is read back by run, name, settings and feature, on both databases."""

from sqlalchemy import Engine

from interp.store.db.engine import snapshot, transaction
from interp.store.results import measurements
from tests.api import synthetic


def test_the_last_measurement_of_the_same_counts(engine: Engine) -> None:
    run_id = synthetic.empty_run(engine, "toy@0")
    with transaction(engine) as session:
        measurements.save(session, run_id, "texts", "one", {3: {"fires": ["a\0b\ud800"]}, 1: {"fires": []}})
        measurements.save(session, run_id, "texts", "two", {3: {"fires": ["other"]}})
        measurements.save(session, run_id, "texts/read", "one", {3: {"level": 0.1}})
    with transaction(engine) as session:
        measurements.save(session, run_id, "texts", "one", {1: {"fires": ["b"]}})
    with snapshot(engine) as session:
        found = measurements.load(session, run_id, "texts", "one", [(0, 2), (3, 9)])
        lone = measurements.load(session, run_id, "texts", "one", [(3, 4)])
        many = measurements.load(session, run_id, "texts", "one", [(2 * number + 4, 2 * number + 5) for number in range(3000)])
    assert list(found) == [1, 3]
    assert found[1] == {"fires": ["b"]}
    assert "\0" not in found[3]["fires"][0]
    assert list(lone) == [3]
    assert many == {}
