"""REST routes of checks."""

from fastapi import APIRouter, Response

from api.http.openapi import answers
from api.jobs import admission
from api.reads import checks as reads
from api.reads.checks import check_answer
from api.routes.dependencies import Configured, FileProcesses, Reading, Store
from api.routes.jobs import IdempotencyKey, JobId, NewJob, notify_workers
from api.schemas.checks import CheckAnswer
from api.schemas.examples import EXAMPLES
from interp.domain.lifecycle import JobKind
from interp.store.db.engine import snapshot, transaction
from interp.store.queue import jobs

router = APIRouter(prefix="/v1/checks", tags=["jobs"])


@router.post("", status_code=202, responses=answers(EXAMPLES["check"], 409, 422, 503, 507, status=202))
def submit_check(
    response: Response, engine: Store, settings: Configured, processes: FileProcesses, spec: NewJob, idempotency_key: IdempotencyKey = None
) -> CheckAnswer:
    """Check a job's dictionary on a sample of its corpus; explains nothing.

    A worker opens the subject and reports L0, FVU, cross-entropy recovered and dead features, and says which hook point, normalisation or BOS fits
    better. Files are read first, as for a job, and no language model is asked.
    """
    accepted = admission.accept(spec, settings)
    answer = _known(engine, accepted, idempotency_key)
    if answer is None:
        checked = admission.check_in_time(accepted, processes, settings.preflight_wait_seconds)
        admission.check_receiver(accepted.spec, settings)
        answer = _store(engine, accepted, checked, idempotency_key)
        notify_workers(engine, settings)
    response.headers["Location"] = f"/v1/checks/{answer.id}"
    return answer


@router.get("/{check_id}", responses=answers(EXAMPLES["check"], 404, 422))
def get_check(session: Reading, check_id: JobId) -> CheckAnswer:
    """Return a check: status, progress, and its report once it has completed."""
    return reads.check(session, check_id)


def _known(engine: Store, accepted: admission.Accepted, key: str | None) -> CheckAnswer | None:
    if key is None:
        return None
    with snapshot(engine) as session:
        row = jobs.submitted(session, accepted.spec, key, JobKind.CHECK)
        return None if row is None else check_answer(session, row)


def _store(engine: Store, accepted: admission.Accepted, checked: admission.AdmittedJob | None, key: str | None) -> CheckAnswer:
    spec, facts = (accepted.spec, None) if checked is None else (checked.spec, checked.facts)
    with transaction(engine) as session:
        return check_answer(session, jobs.submit(session, spec, facts, key, accepted.spec, JobKind.CHECK))
