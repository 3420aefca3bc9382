"""No key uses more than its quota, whatever comes at the same moment."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import Engine, update

from interp.domain.access import Scope
from interp.domain.errors import GlossatorError, NotFoundError
from interp.domain.lifecycle import JobKind, JobStatus
from interp.domain.spec import BudgetSpec, JobSpec, ModelsSpec
from interp.store.access import keys, quotas
from interp.store.access.quotas import DAY, MONTH, Quota, QuotaReachedError, QuotaTooSmallError
from interp.store.db.dialect import now
from interp.store.db.engine import snapshot, transaction
from interp.store.db.tables import JobRow, KeyJobRow, LlmBudgetRow
from interp.store.llm.call_stats import PICO
from interp.store.queue import jobs
from tests.store import steps

MODELS = ModelsSpec.model_validate({"judge": {"model": "m"}})


def key(engine: Engine, **quota: float) -> str:
    with transaction(engine) as session:
        key_id = keys.create(session, "alice", [Scope.SUBMIT], "test").row.id
        quotas.set_quota(session, key_id, Quota(**quota))  # type: ignore[arg-type]
    return key_id


def submit(engine: Engine, key_id: str, spec: JobSpec = steps.SPEC, again: str | None = None, features: int = 10) -> str:
    with transaction(engine) as session:
        quotas.hold(session, key_id)
        job = jobs.submit(session, spec, steps.Checked(n_features=features), again)
        quotas.take(session, key_id, job.id)
        return job.id


def asking(usd: float | None) -> JobSpec:
    return steps.SPEC.model_copy(update={"models": MODELS, "budget": BudgetSpec(usd=usd)})


def end(engine: Engine, job_id: str, spent: float = 0.0) -> None:
    with transaction(engine) as session:
        session.execute(update(JobRow).where(JobRow.id == job_id).values(status=JobStatus.COMPLETED))
        session.execute(update(LlmBudgetRow).where(LlmBudgetRow.job_id == job_id).values(spent_picodollars=round(spent * PICO)))


def age(engine: Engine, job_id: str, by: timedelta) -> None:
    with transaction(engine) as session:
        session.execute(update(KeyJobRow).where(KeyJobRow.job_id == job_id).values(at=now(session) - by))


def count(engine: Engine) -> int:
    with snapshot(engine) as session:
        return session.query(JobRow).count()


def test_jobs_at_once(engine: Engine) -> None:
    key_id = key(engine, max_jobs=2)
    first = submit(engine, key_id)
    submit(engine, key_id)
    with pytest.raises(QuotaReachedError) as refused:
        submit(engine, key_id)
    assert refused.value.details["seconds"] > 0
    assert count(engine) == 2, "what is refused leaves nothing"
    end(engine, first)
    submit(engine, key_id)
    submit(engine, key(engine, max_jobs=1))


def test_a_request_that_is_sent_again_counts_once(engine: Engine) -> None:
    key_id = key(engine, max_jobs=1, features_per_day=10)
    assert submit(engine, key_id, again="a") == submit(engine, key_id, again="a")
    with snapshot(engine) as session:
        assert quotas.usage_of(session, key_id) == quotas.Usage(1, 10, 0.0)


def test_features_of_a_day(engine: Engine) -> None:
    key_id = key(engine, features_per_day=25)
    first = submit(engine, key_id)
    age(engine, first, DAY - timedelta(minutes=10))
    end(engine, submit(engine, key_id))
    with pytest.raises(QuotaReachedError) as refused:
        submit(engine, key_id)
    assert 500 < refused.value.details["seconds"] <= 600, "when the first job's day is over"
    with pytest.raises(QuotaTooSmallError, match="25 features a day"):
        submit(engine, key_id, features=26)
    age(engine, first, DAY + timedelta(minutes=1))
    submit(engine, key_id)


def test_dollars_of_a_month_are_those_spent_and_those_reserved(engine: Engine) -> None:
    key_id = key(engine, dollars_per_month=10)
    first = submit(engine, key_id, asking(6))
    with pytest.raises(QuotaReachedError, match=r"\$6.00 are spent or reserved"):
        submit(engine, key_id, asking(5))
    end(engine, first, spent=2)
    second = submit(engine, key_id, asking(8))
    end(engine, second, spent=8)
    age(engine, first, MONTH - timedelta(days=1))
    with pytest.raises(QuotaReachedError) as refused:
        submit(engine, key_id, asking(1))
    assert 86000 < refused.value.details["seconds"] <= 86400
    with pytest.raises(QuotaTooSmallError):
        submit(engine, key_id, asking(11))
    with pytest.raises(QuotaTooSmallError, match=r"budget\.usd"):
        submit(engine, key_id, asking(None))
    submit(engine, key_id), "a job by rules costs nothing"


def test_a_retry_and_a_larger_budget_are_checked(engine: Engine) -> None:
    key_id = key(engine, max_jobs=1, dollars_per_month=10)
    first = submit(engine, key_id, asking(4))
    with pytest.raises(QuotaTooSmallError), transaction(engine) as session:
        held = quotas.hold_of(session, first)
        jobs.resume(session, first, BudgetSpec(usd=11))
        quotas.recheck(session, held, first)
    with transaction(engine) as session:
        held = quotas.hold_of(session, first)
        jobs.resume(session, first, BudgetSpec(usd=9))
        quotas.recheck(session, held, first)
    end(engine, first, spent=1)
    submit(engine, key_id)
    with pytest.raises(QuotaReachedError), transaction(engine) as session:
        held = quotas.hold_of(session, first)
        session.execute(update(JobRow).where(JobRow.id == first).values(status=JobStatus.QUEUED))
        quotas.recheck(session, held, first)


def test_features_that_a_worker_counts_are_checked_there(engine: Engine) -> None:
    key_id = key(engine, features_per_day=15)
    with transaction(engine) as session:
        job = jobs.submit(session, steps.SPEC)
        quotas.take(session, key_id, job.id)
    with pytest.raises(QuotaTooSmallError), transaction(engine) as session:
        jobs.admit(session, job.id, steps.SPEC, steps.Checked(n_features=16))  # type: ignore[arg-type]
    with transaction(engine) as session:
        jobs.admit(session, job.id, steps.SPEC, steps.Checked(n_features=15))  # type: ignore[arg-type]
    with snapshot(engine) as session:
        assert quotas.usage_of(session, key_id).features == 15


def test_a_control_counts_and_a_check_does_not(engine: Engine) -> None:
    key_id = key(engine)
    submit(engine, key_id, steps.SPEC.model_copy(update={"controls": ("random_weights",)}))
    with transaction(engine) as session:
        quotas.take(session, key_id, jobs.submit(session, steps.SPEC, steps.Checked(), kind=JobKind.CHECK).id)  # type: ignore[arg-type]
    with snapshot(engine) as session:
        assert quotas.usage_of(session, key_id) == quotas.Usage(2, 20, 0.0)


def test_a_job_without_a_key_or_a_quota_is_free(engine: Engine) -> None:
    with transaction(engine) as session:
        quotas.hold(session, None)
        quotas.take(session, None, jobs.submit(session, steps.SPEC, steps.Checked()).id)
        assert quotas.hold_of(session, "none") is None
    key_id = key(engine)
    for _ in range(3):
        submit(engine, key_id)
    with snapshot(engine) as session:
        assert quotas.quota_of(session, key_id) == Quota()
        assert quotas.usage_of(session, key_id).jobs == 3


def test_a_quota_is_of_a_key_that_exists(engine: Engine) -> None:
    with pytest.raises(NotFoundError), transaction(engine) as session:
        quotas.set_quota(session, "00000000", Quota(max_jobs=1))


@pytest.mark.parametrize(
    ("quota", "spec"), [({"max_jobs": 2}, steps.SPEC), ({"features_per_day": 25}, steps.SPEC), ({"dollars_per_month": 10}, asking(5))]
)
def test_requests_at_the_same_moment_do_not_pass_together(engine: Engine, quota: dict[str, float], spec: JobSpec) -> None:
    key_id = key(engine, **quota)
    barrier = threading.Barrier(6)

    def try_it() -> bool:
        barrier.wait()
        return _passes(lambda: submit(engine, key_id, spec))

    with ThreadPoolExecutor(6) as pool:
        passed = [future.result() for future in [pool.submit(try_it) for _ in range(6)]]
    assert sum(passed) == 2 == count(engine)


def _passes(work: Callable[[], object]) -> bool:
    try:
        work()
    except GlossatorError as error:
        assert isinstance(error, QuotaReachedError)
        return False
    return True
