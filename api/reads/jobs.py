"""Read jobs: progress, spend, calls and webhook deliveries."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter

from api.reads import cursors, pages
from api.reads.names import run_name
from api.reads.usage import budget_answer, usage_row, usage_total
from api.schemas.jobs import ControlComparison, ControlJob, DeliveryAnswer, DeliveryPage, JobAnswer, JobPage, JobRun, Progress
from api.schemas.usage import CallAnswer, CallPage, UsageAnswer
from interp.domain.lifecycle import JobStatus, Stage
from interp.domain.spec import ROLES, BudgetSpec
from interp.store.db.engine import Session
from interp.store.db.tables import JobRow
from interp.store.listings import queries
from interp.store.listings.queries import MAX_LIMIT
from interp.store.llm import call_stats, calls
from interp.store.queue import budgets, webhooks
from interp.store.queue.progress import of_jobs
from interp.store.results import runs

TIME_PLACE = TypeAdapter(tuple[AwareDatetime, cursors.Words])
CALL_PLACE = TypeAdapter(tuple[cursors.RowId])


class CallFilters(BaseModel):
    """Filters of a job's calls, which are in the order of their records."""

    model_config = ConfigDict(extra="forbid")

    stage: Stage | None = None
    index: int | None = Field(default=None, ge=0, lt=2**31)
    status: Literal["answered", "refused", "truncated", "failed"] | None = None
    cursor: str | None = Field(default=None, max_length=2000, description="`next_cursor` of the page before, with the same filters.")
    limit: int = Field(default=50, ge=1, le=MAX_LIMIT, description="Rows per page.")

    def listing(self, job_id: str) -> dict[str, Any]:
        """Return the filters that a cursor is bound to."""
        return {"of": "calls", "job": job_id} | self.model_dump(mode="json", exclude={"cursor", "limit"})


def jobs(session: Session, status: JobStatus | None, cursor: str | None, limit: int, owner: str | None = None) -> JobPage:
    """Return one page of jobs, newest first; raises CursorInvalidError."""
    listing = {"of": "jobs", "status": status} | ({} if owner is None else {"owner": owner})
    after = cursors.decode(listing, cursor, TIME_PLACE) if cursor else None
    page = queries.jobs(session, status, after, limit, owner)
    place = None if page.next is None else (page.next[0].isoformat(), page.next[1])
    return pages.build(JobPage, page.rows, lambda rows: _answers(session, rows), lambda row: row.id, listing, place)


def job(session: Session, job_id: str) -> JobAnswer:
    """Return one job; raises NotFoundError."""
    return job_answer(session, queries.job(session, job_id))


def job_answer(session: Session, row: JobRow) -> JobAnswer:
    return _answers(session, [row])[0]


def owner(session: Session, job_id: str) -> str | None:
    """Return the owner of a job, None for nobody; raises NotFoundError."""
    return queries.job(session, job_id).owner


def progress(session: Session, job_id: str) -> Progress:
    """Return a job's progress and language model costs; raises NotFoundError."""
    return _progress(session, [queries.job(session, job_id)])[job_id]


def deliveries(session: Session, job_id: str, cursor: str | None, limit: int) -> DeliveryPage:
    """Return a page of webhook deliveries, oldest first; raises NotFoundError, CursorInvalidError."""
    job = queries.job(session, job_id)
    listing = {"of": "webhooks", "job": job.id}
    after = cursors.decode(listing, cursor, TIME_PLACE) if cursor else None
    found = webhooks.of_job(session, job.id, after, limit + 1)
    place = (found[limit - 1].created_at.isoformat(), found[limit - 1].id) if len(found) > limit else None
    return pages.build(
        DeliveryPage,
        found[:limit],
        lambda rows: [DeliveryAnswer.of(row) for row in rows],
        lambda row: row.id,
        listing,
        place,
    )


def usage_of(session: Session, job_id: str) -> UsageAnswer:
    """Return a job's language model usage and its budget; raises NotFoundError."""
    job = queries.job(session, job_id)
    lines = call_stats.usage(session, job.id)
    p50, p95 = call_stats.latency_percentiles(session, job.id, (0.5, 0.95))
    rows = [usage_row(line, p50, p95) for line in lines]
    return UsageAnswer(job=job.id, total=usage_total(rows), rows=rows, budget=budget_answer(budgets.get(session, job.id), lines))


def call_page(session: Session, job_id: str, filters: CallFilters) -> CallPage:
    """Return a page of language model calls; raises NotFoundError, CursorInvalidError."""
    job, listing = queries.job(session, job_id), filters.listing(job_id)
    after = cursors.decode(listing, filters.cursor, CALL_PLACE)[0] if filters.cursor else None
    found = calls.page(session, job.id, filters.stage, filters.index, filters.status, after, filters.limit + 1)
    place = (found[filters.limit - 1].id,) if len(found) > filters.limit else None
    return pages.build(
        CallPage,
        found[: filters.limit],
        lambda rows: [CallAnswer.of(row, index=row.feature) for row in rows],
        lambda row: row.id,
        listing,
        place,
    )


def caps_after(session: Session, job_id: str, change: BudgetSpec | None) -> BudgetSpec | None:
    """Return the job's caps updated by `change`; None without a change; raises NotFoundError."""
    queries.job(session, job_id)
    if change is None:
        return None
    state = budgets.get(session, job_id)
    return (state.caps if state else BudgetSpec()).model_copy(update=change.model_dump(exclude_unset=True))


def _answers(session: Session, rows: Sequence[JobRow]) -> list[JobAnswer]:
    """Return some jobs, with as many SQL statements as for one."""
    found, controls = _progress(session, rows), queries.controls_of(session, [row.id for row in rows])
    opened = {row.dictionary_id for row in (*rows, *controls.values()) if row.dictionary_id}
    names, found_runs = queries.dictionary_names(session, opened), runs.of_jobs(session, [row.id for row in rows])
    return [
        JobAnswer.of(
            row,
            **dict(found[row.id]),
            control=_control(row, controls.get(row.id), names),
            dictionary=names.get(row.dictionary_id or 0),
            run=next((run_name(*pair) for pair in found_runs.get(row.id, ())), None),
            runs=[JobRun(dictionary=dictionary.name, run=run_name(run, dictionary)) for run, dictionary in found_runs.get(row.id, ())],
            warnings=row.warnings or [],
        )
        for row in rows
    ]


def _progress(session: Session, rows: Sequence[JobRow]) -> dict[str, Progress]:
    # A control job uses the budget of its main job.
    owners = {row.id: row.control_of or row.id for row in rows if _asks(row)}
    states = budgets.of_owners(session, set(owners.values()))
    # A budget with a cap keeps its own sums; without one the calls are added up.
    uncapped = [job_id for job_id, owner in owners.items() if owner not in states or not states[owner].has_cap]
    lines = call_stats.usage_of_jobs(session, uncapped)
    spent = {job_id: budget_answer(states.get(owner), lines.get(job_id, [])) for job_id, owner in owners.items()}
    return {job_id: Progress.of(state, budget=spent.get(job_id)) for job_id, state in of_jobs(session, rows).items()}


def _asks(row: JobRow) -> bool:
    """Return whether the job uses a language model."""
    models = row.spec.get("models") or {}
    return any(models.get(role) for role in ROLES)


def _control(row: JobRow, control: JobRow | None, names: Mapping[int, str]) -> ControlJob | None:
    if control is None:
        return None
    return ControlJob.of(control, dictionary=names.get(control.dictionary_id or 0), scores=compared(row.summary, control.summary))


def compared(own: dict[str, Any] | None, control: dict[str, Any] | None) -> dict[str, ControlComparison] | None:
    """Return each scorer's medians with the control's; None until both jobs have a summary."""
    if own is None or control is None:
        return None
    found = {}
    for scorer, figures in own["scores"].items():
        random = control["scores"].get(scorer, {})
        medians = {name: figures.get(name) for name in ("median", "median_lift")}
        found[scorer] = ControlComparison(**medians, random_median=random.get("median"), random_median_lift=random.get("median_lift"))
    return found
