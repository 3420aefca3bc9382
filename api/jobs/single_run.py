"""Submit a job once without a server: processes with the same job share it."""

from collections.abc import Callable

from api.jobs import admission
from api.jobs.endpoint_check import EndpointProbeCache
from interp.config.settings import Settings
from interp.domain.digests import digest_of
from interp.domain.lifecycle import JobStatus
from interp.domain.spec import BudgetSpec, JobSpec
from interp.store.db.engine import Engine, snapshot, transaction
from interp.store.queue import jobs
from workers.wakeup import notify


def submit_once(engine: Engine, settings: Settings, spec: JobSpec, key: str = "", progress: Callable[[float], None] = lambda _share: None) -> str:
    """Return the id of the job of this spec and key, submitted if new.

    The budget is no part of its identity. Raises what a submission over REST raises.
    """
    accepted = admission.accept(spec, settings)
    asked = accepted.spec.model_copy(update={"budget": BudgetSpec()})
    idempotency_key = f"run-{digest_of([key, asked.model_dump(mode='json')])}"
    with snapshot(engine) as session:
        known = jobs.submitted(session, asked, idempotency_key)
        if known is not None:
            return known.id
    admission.check_receiver(accepted.spec, settings)
    admission.check_models(accepted, settings, EndpointProbeCache())
    checked = admission.check(spec, settings, progress)
    with transaction(engine) as session:
        job_id = jobs.submit(session, checked.spec, checked.facts, idempotency_key, asked).id
    notify(engine, settings)
    return job_id


def go_on(engine: Engine, settings: Settings, job_id: str, budget: BudgetSpec) -> None:
    """Resume a paused job with this budget, or retry what failed of an ended one.

    Raises ConflictError.
    """
    with transaction(engine) as session:
        if jobs.get(session, job_id).status == JobStatus.PAUSED:
            jobs.resume(session, job_id, budget)
        else:
            jobs.retry(session, job_id)
    notify(engine, settings)
