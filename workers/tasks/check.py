"""Run `check` chunks: fetch what a job names elsewhere, and check its files without models."""

from typing import Any

from interp.domain.spec import JobSpec
from interp.planning.fetching import fetch, reads_remote_corpus
from interp.planning.preflight import CHECK, Preflight, PreflightRequest, settled
from interp.security import allowed_files
from interp.security.sandbox import Processes
from interp.store.db.engine import Session
from interp.store.queue import jobs
from workers.runtime import TaskResult, Work

# Share of a check's progress that goes to fetching.
FETCHED = 0.9


def check(work: Work) -> TaskResult:
    """Queue the job with its files' facts, or fail it with a submission's errors."""
    fetched = fetch(work.job, lambda share: work.progress(int(FETCHED * share * work.lease.units)))
    facts = _look(work, fetched, 0 if fetched == work.job else int(FETCHED * work.lease.units))
    spec = settled(fetched, facts)

    def write(session: Session) -> dict[str, Any]:
        jobs.admit(session, work.lease.job_id, spec, facts)
        return {"documents": facts.documents}

    return TaskResult(write)


def _look(work: Work, spec: JobSpec, done: int) -> Preflight:
    """Return the files' facts from a limited process, which ends with the lease.

    That process reaches no network, so this one reads the beginnings of a remote corpus, as `prepare` reads all of it.
    """
    settings = work.runtime.settings
    asked = PreflightRequest(spec, allowed_files.current(), settings.preflight_timeout_seconds, settings.preflight_max_bytes)
    if reads_remote_corpus(spec):
        return CHECK.function(asked)
    with Processes.of(settings).begin(CHECK, asked, settings.preflight_wait_seconds) as pending:
        while not pending.wait(settings.lease_check_interval_seconds):
            work.progress(done)
        return pending.result()
