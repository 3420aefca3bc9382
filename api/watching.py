"""A job as it stands: its progress with what it has spent, and its random-weights control beside it."""

from typing import Any

from sqlalchemy.orm import Session

from api import accounts
from api.needs import ROLES
from api.schemas import ControlComparison, ControlJob, JobAnswer, Progress, ResumeRequest
from interp.lifecycle import JobStatus
from interp.spec import BudgetSpec
from interp.store import book, budgets, jobs, usage
from interp.store.tables import Job


def progress(session: Session, job_id: str) -> Progress:
    """How far the job is, and what its language models cost so far. Raises NotFound."""
    found = Progress.model_validate(jobs.progress(session, job_id))
    if not _asks(session, job_id):
        return found
    state = budgets.get(session, job_id)
    # A budget with a cap keeps its own sums; only without one are the calls added up.
    lines = [] if state and state.has_cap else usage.of(session, job_id)
    return found.model_copy(update={"budget": accounts.budget(state, lines)})


def job(session: Session, row: Job) -> JobAnswer:
    """Everything about one job."""
    name = book.dictionary_names(session, [row.dictionary_id])[row.dictionary_id] if row.dictionary_id else None
    return JobAnswer(
        **progress(session, row.id).model_dump(),
        id=row.id,
        priority=row.priority,
        control_of=row.control_of,
        control=_control(session, row),
        dictionary=name,
        evidence=row.evidence_set_id,
        spec=row.spec,
    )


def caps_after(session: Session, job_id: str, change: ResumeRequest | None) -> BudgetSpec | None:
    """The job's caps with those of the body laid over them; None where the body changes none. Raises NotFound."""
    jobs.get(session, job_id)
    if change is None or change.budget is None:
        return None
    state = budgets.get(session, job_id)
    given = change.budget.model_dump(exclude_unset=True)
    return (state.caps if state else BudgetSpec()).model_copy(update=given)


def _asks(session: Session, job_id: str) -> bool:
    """Whether the job names a language model."""
    models = jobs.get(session, job_id).spec.get("models") or {}
    return any(models.get(role) for role in ROLES)


def _control(session: Session, row: Job) -> ControlJob | None:
    control = jobs.control_of(session, row.id)
    if control is None:
        return None
    name = book.dictionary_names(session, [control.dictionary_id])[control.dictionary_id] if control.dictionary_id else None
    return ControlJob(id=control.id, status=JobStatus(control.status), dictionary=name, scores=compared(row.summary, control.summary))


def compared(own: dict[str, Any] | None, control: dict[str, Any] | None) -> dict[str, ControlComparison] | None:
    """Medians of each scorer, side by side; None until both jobs have a summary."""
    if own is None or control is None:
        return None
    empty: dict[str, Any] = {}
    return {
        scorer: ControlComparison(
            median=figures.get("median"),
            random_median=control["scores"].get(scorer, empty).get("median"),
            median_lift=figures.get("median_lift"),
            random_median_lift=control["scores"].get(scorer, empty).get("median_lift"),
        )
        for scorer, figures in own["scores"].items()
    }
