"""REST routes of checks."""

from fastapi import APIRouter, Response

from api.http.access.audit import made_at
from api.http.access.control import check_priority
from api.http.access.scopes import needs
from api.http.openapi import answers
from api.jobs import admission
from api.reads import checks as reads
from api.reads.checks import check_answer
from api.routes.dependencies import Caller, Configured, FileProcesses, Reading, Store
from api.routes.jobs import IdempotencyKey, JobId, NewJob, notify_workers
from api.schemas.checks import CheckAnswer
from api.schemas.examples import EXAMPLES
from interp.config.settings import Settings
from interp.domain.access import Principal, Scope
from interp.domain.errors import InputError
from interp.domain.lifecycle import JobKind
from interp.store.access import quotas
from interp.store.db.engine import snapshot, transaction
from interp.store.queue import jobs

router = APIRouter(prefix="/v1/checks", tags=["jobs"])


@router.post("", status_code=202, responses=answers(EXAMPLES["check"], 409, 422, 503, 507, status=202))
@needs(Scope.SUBMIT)
def submit_check(
    response: Response,
    engine: Store,
    settings: Configured,
    processes: FileProcesses,
    caller: Caller,
    spec: NewJob,
    idempotency_key: IdempotencyKey = None,
) -> CheckAnswer:
    """Check a job's dictionary on a sample of its corpus; explains nothing.

    A worker opens the subject and reports L0, FVU, cross-entropy recovered and dead features, and says which hook point, normalisation or BOS fits
    better. Files are read first, as for a job, and no language model is asked.
    """
    if spec.dictionaries:
        raise InputError("A check measures one dictionary.", cure="Name it as `dictionary`, and send a check for each.")
    check_priority(caller, spec.priority)
    accepted = admission.accept(admission.with_features(spec, engine), settings)
    answer = _known(engine, accepted, idempotency_key, caller.owner)
    if answer is None:
        admission.check_uploads(engine, caller, accepted.spec)
        checked = admission.check_in_time(accepted, processes, settings.preflight_wait_seconds)
        admission.check_receiver(accepted.spec, settings)
        answer = _store(engine, settings, caller, accepted, checked, idempotency_key)
        notify_workers(engine, settings)
    response.headers["Location"] = f"/v1/checks/{answer.id}"
    return answer


@router.get("/{check_id}", responses=answers(EXAMPLES["check"], 404, 422))
@needs(Scope.READ)
def get_check(session: Reading, check_id: JobId) -> CheckAnswer:
    """Return a check: status, progress, and its report once it has completed."""
    return reads.check(session, check_id)


def _known(engine: Store, accepted: admission.Accepted, key: str | None, owner: str | None) -> CheckAnswer | None:
    if key is None:
        return None
    with snapshot(engine) as session:
        row = jobs.submitted(session, accepted.spec, key, JobKind.CHECK, owner)
        return None if row is None else check_answer(session, row)


def _store(
    engine: Store, settings: Settings, caller: Principal, accepted: admission.Accepted, checked: admission.AdmittedJob | None, key: str | None
) -> CheckAnswer:
    spec, facts = (accepted.spec, None) if checked is None else (checked.spec, checked.facts)
    with transaction(engine) as session:
        quotas.hold(session, caller.key_id)
        admission.hold_uploads(session, caller, accepted.spec, settings)
        job = jobs.submit(session, spec, facts, key, accepted.spec, JobKind.CHECK, caller.owner)
        quotas.take(session, caller.key_id, job.id)
        made_at(f"/v1/checks/{job.id}")
        return check_answer(session, job)
