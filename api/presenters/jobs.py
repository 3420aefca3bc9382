"""A job as it stands: its progress with what it has spent, and its random-weights control beside it."""

from collections.abc import Mapping, Sequence
from typing import Any

from api.presenters import names, spending
from api.schemas import ControlComparison, ControlJob, CorpusAnswer, JobAnswer, Progress, ResumeRequest, WarningAnswer
from interp.domain.lifecycle import JobStatus
from interp.domain.spec import ROLES, BudgetSpec
from interp.store.db.engine import Session
from interp.store.db.tables import JobRow
from interp.store.listings import queries
from interp.store.llm import call_stats
from interp.store.queue import budgets
from interp.store.queue.progress import of_jobs
from interp.store.results import runs


def progress(session: Session, job_id: str) -> Progress:
    """How far the job is, and what its language models cost so far. Raises NotFound."""
    return _progress(session, [queries.job(session, job_id)])[job_id]


def job(session: Session, row: JobRow) -> JobAnswer:
    """Everything about one job."""
    return all_of(session, [row])[0]


def all_of(session: Session, rows: Sequence[JobRow]) -> list[JobAnswer]:
    """Everything about some jobs: as many statements as for one."""
    found, controls = _progress(session, rows), queries.controls_of(session, [row.id for row in rows])
    opened = {row.dictionary_id for row in (*rows, *controls.values()) if row.dictionary_id}
    opened_names, found_runs = queries.dictionary_names(session, opened), runs.of_ids(session, {row.run_id for row in rows if row.run_id})
    return [
        JobAnswer(
            **found[row.id].model_dump(),
            id=row.id,
            priority=row.priority,
            control_of=row.control_of,
            control=_control(row, controls.get(row.id), opened_names),
            dictionary=opened_names.get(row.dictionary_id or 0),
            run=names.run_name(*found_runs[row.run_id]) if row.run_id else None,
            warnings=[WarningAnswer.model_validate(warning) for warning in row.warnings or []],
            corpus=None if row.corpus is None else CorpusAnswer.model_validate(row.corpus),
            spec=row.spec,
        )
        for row in rows
    ]


def _progress(session: Session, rows: Sequence[JobRow]) -> dict[str, Progress]:
    found = {job_id: Progress.model_validate(state) for job_id, state in of_jobs(session, rows).items()}
    # A control draws on the budget of the job that it is the control of.
    owners = {row.id: row.control_of or row.id for row in rows if _asks(row)}
    states = budgets.of_owners(session, set(owners.values()))
    # A budget with a cap keeps its own sums; only without one are the calls added up.
    uncapped = [job_id for job_id, owner in owners.items() if owner not in states or not states[owner].has_cap]
    lines = call_stats.usage_of_jobs(session, uncapped)
    spent = {job_id: spending.budget(states.get(owner), lines.get(job_id, [])) for job_id, owner in owners.items()}
    return {job_id: state.model_copy(update={"budget": spent[job_id]}) if job_id in spent else state for job_id, state in found.items()}


def caps_after(session: Session, job_id: str, change: ResumeRequest | None) -> BudgetSpec | None:
    """The job's caps with those of the body laid over them; None where the body changes none. Raises NotFound."""
    queries.job(session, job_id)
    if change is None or change.budget is None:
        return None
    state = budgets.get(session, job_id)
    given = change.budget.model_dump(exclude_unset=True)
    return (state.caps if state else BudgetSpec()).model_copy(update=given)


def _asks(row: JobRow) -> bool:
    """Whether the job names a language model."""
    models = row.spec.get("models") or {}
    return any(models.get(role) for role in ROLES)


def _control(row: JobRow, control: JobRow | None, names: Mapping[int, str]) -> ControlJob | None:
    if control is None:
        return None
    scores = compared(row.summary, control.summary)
    return ControlJob(id=control.id, status=JobStatus(control.status), dictionary=names.get(control.dictionary_id or 0), scores=scores)


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
