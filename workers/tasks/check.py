"""Run `check` chunks: check a job's files without models, after slow submissions."""

from typing import Any

from interp.planning.preflight import CHECK, Preflight, PreflightRequest, named
from interp.security import allowed_files
from interp.security.sandbox import Processes
from interp.store.db.engine import Session
from interp.store.queue import jobs
from workers.runtime import TaskResult, Work


def check(work: Work) -> TaskResult:
    """Queue the job with its files' facts, or fail it with a submission's errors."""
    facts = _look(work)
    spec = named(work.spec, facts)

    def write(session: Session) -> dict[str, Any]:
        jobs.admit(session, work.lease.job_id, spec, facts)
        return {"documents": facts.documents}

    return TaskResult(write)


def _look(work: Work) -> Preflight:
    """Return the files' facts from a limited process, which ends with the lease."""
    settings = work.runtime.settings
    asked = PreflightRequest(work.spec, allowed_files.current(), settings.preflight_timeout_seconds, settings.preflight_max_bytes)
    with Processes.of(settings).begin(CHECK, asked, settings.preflight_wait_seconds) as pending:
        while not pending.wait(settings.lease_check_interval_seconds):
            work.progress(0)
        return pending.result()
