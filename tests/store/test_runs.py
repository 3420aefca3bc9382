"""Runs: numbers, names, which one is current, and what is said before any is finished."""

import threading

import pytest
from sqlalchemy import Engine, func, select, update

from interp.domain.errors import ConflictError, InputError, NotFoundError
from interp.domain.lifecycle import Stage
from interp.planning.plan import ChunkPlan
from interp.store.db.engine import snapshot, transaction
from interp.store.db.tables import DictionaryRow, FeatureRow, JobRow, RunRow
from interp.store.queue import jobs
from interp.store.results import evidence, runs
from tests.api import synthetic
from tests.store import steps


def digest(number: int) -> str:
    return f"{number:08x}".ljust(64, "0")


@pytest.fixture
def dictionary(engine: Engine) -> int:
    """A dictionary with a run that has completed, number 1."""
    run_id = synthetic.empty_run(engine, "toy@0")
    with snapshot(engine) as session:
        return session.get_one(RunRow, run_id).dictionary_id


def add(engine: Engine, dictionary: int, number: int, features: int = 0, completes: bool = True) -> int:
    """Another run of the dictionary, with evidence of so many features."""
    with transaction(engine) as session:
        run_id = runs.save(session, digest(number), dictionary, {"seed": number}, {"path": f"/texts/{number}"}, 10)
        gathered = [synthetic.feature_evidence(index) for index in range(features)]
        evidence.save(session, run_id, [evidence.Gathered(item.feature, item.statistics, b"") for item in gathered])
    if completes:
        with transaction(engine) as session:
            runs.complete(session, run_id)
    return run_id


def current(engine: Engine, dictionary: int) -> int | None:
    with snapshot(engine) as session:
        found = runs.current(session, dictionary)
        assert [run.id for run in runs.all_current(session)] == ([] if found is None else [found.id])
        return None if found is None else found.number


def of(engine: Engine, dictionary: int) -> DictionaryRow:
    with snapshot(engine) as session:
        return session.get_one(DictionaryRow, dictionary)


def test_runs_are_numbered_within_their_dictionary_and_written_once(engine: Engine, dictionary: int) -> None:
    made = [add(engine, dictionary, number) for number in (5, 6, 5)]
    assert made[0] == made[2] != made[1]
    other = synthetic.empty_run(engine, "toy@1")
    with snapshot(engine) as session:
        assert [session.get_one(RunRow, run).number for run in (*made, other)] == [2, 3, 2, 1]


def test_runs_that_come_at_once_take_no_number_twice(engine: Engine, dictionary: int) -> None:
    threads = [threading.Thread(target=add, args=(engine, dictionary, number)) for number in range(10, 18)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with snapshot(engine) as session:
        assert sorted(session.scalars(select(RunRow.number).where(RunRow.dictionary_id == dictionary))) == list(range(1, 10))


def test_the_current_run_is_the_last_completed_of_those_that_cover_most(engine: Engine, dictionary: int) -> None:
    assert current(engine, dictionary) == 1
    add(engine, dictionary, 2, features=5)
    assert current(engine, dictionary) == 2
    add(engine, dictionary, 3, features=3)
    assert current(engine, dictionary) == 2, "covers less, however new"
    add(engine, dictionary, 4, features=5)
    assert current(engine, dictionary) == 4, "covers as much, and is newer"
    add(engine, dictionary, 5, features=12, completes=False)
    assert current(engine, dictionary) == 4, "never one that is not finished"


def test_a_pinned_run_is_current_until_it_is_unpinned(engine: Engine, dictionary: int) -> None:
    ids = [add(engine, dictionary, number, features=number, completes=number < 4) for number in (2, 3, 4)]
    row = of(engine, dictionary)
    for run_id, number in ((ids[0], 2), (ids[1], 3), (ids[0], 2)):
        with transaction(engine) as session:
            runs.pin(session, row, session.get_one(RunRow, run_id))
        assert current(engine, dictionary) == number
    add(engine, dictionary, 9, features=12)
    assert current(engine, dictionary) == 2
    with transaction(engine) as session, pytest.raises(ConflictError, match="not finished"):
        runs.pin(session, row, session.get_one(RunRow, ids[2]))
    with transaction(engine) as session:
        runs.unpin(session, row)
    assert current(engine, dictionary) == 5


def test_a_run_is_named_by_number_address_or_digest(engine: Engine, dictionary: int) -> None:
    add(engine, dictionary, 0xABCDEF)
    row = of(engine, dictionary)
    with snapshot(engine) as session:
        for name in ("2", "toy@0/2", digest(0xABCDEF)[:8], digest(0xABCDEF)):
            assert runs.named(session, row, name).number == 2
        for name in ("toy@0/2", digest(0xABCDEF)[:8]):
            assert runs.addressed(session, name).number == 2
        for name in ("3", "deadbeefdead", "toy@0/3"):
            with pytest.raises(NotFoundError):
                runs.named(session, row, name)
        for name in ("", "0", "-1", "abc", "other@0/1", "00", "%", "ABCDEFAB", "1 ", "٣"):
            with pytest.raises(InputError):
                runs.named(session, row, name)
        for name in ("2", "abc"):
            with pytest.raises(InputError):
                runs.addressed(session, name)
        with pytest.raises(NotFoundError):
            runs.addressed(session, "none@such/1")


def test_before_any_run_is_finished_the_job_at_work_is_named(engine: Engine, dictionary: int) -> None:
    with transaction(engine) as session:
        session.execute(update(RunRow).values(completed_at=None))
    run_id = add(engine, dictionary, 2, features=3, completes=False)
    job_id = steps.running(engine, ChunkPlan(Stage.EXPLAIN, 0, 4))
    with transaction(engine) as session:
        jobs.attach(session, job_id, [(dictionary, run_id)], 4)
    row = of(engine, dictionary)
    with snapshot(engine) as session, pytest.raises(NotFoundError) as refused:
        runs.shown(session, row)
    assert "No run of toy@0 is finished yet" in refused.value.what
    assert job_id in str(refused.value.why)
    assert "run=2" in str(refused.value.cure)
    with snapshot(engine) as session:
        assert runs.shown(session, row, "2").id == run_id
        assert runs.covered(session, [run_id]) == {run_id: 3}


def test_a_job_that_completes_finishes_its_run_and_one_that_fails_does_not(engine: Engine, dictionary: int) -> None:
    for number, ends in ((2, jobs.fail), (3, jobs.complete)):
        run_id = add(engine, dictionary, number, features=number, completes=False)
        job_id = steps.running(engine, ChunkPlan(Stage.EXPLAIN, 0, 4))
        with transaction(engine) as session:
            jobs.attach(session, job_id, [(dictionary, run_id)], 4)
        with transaction(engine) as session:
            ends(session, job_id, {})
        with snapshot(engine) as session:
            found = session.get_one(RunRow, run_id)
            assert (found.completed_at is not None, found.covered_features) == ((True, 3) if number == 3 else (False, 0))
    assert current(engine, dictionary) == 3


def test_no_run_changes_the_listing_of_another(engine: Engine, dictionary: int) -> None:
    first = add(engine, dictionary, 2, features=4)
    with transaction(engine) as session:
        session.execute(update(FeatureRow).where(FeatureRow.run_id == first).values(label="first"))
    add(engine, dictionary, 3, features=6, completes=False)
    with snapshot(engine) as session:
        counted = dict(session.execute(select(FeatureRow.label, func.count()).group_by(FeatureRow.label)).all())
        assert counted == {"first": 4, None: 6}
        assert session.scalar(select(func.count()).select_from(JobRow)) == 0
