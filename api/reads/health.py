"""Read health reports."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from api.reads.names import run_name
from api.schemas.health import HealthAnswer, VerdictLineAnswer
from interp.domain.check_report import Figure
from interp.domain.errors import NotFoundError
from interp.domain.spec import JobSpec
from interp.health.pareto import Point, pareto
from interp.health.verdict import verdict
from interp.store.db.engine import Session
from interp.store.listings import queries
from interp.store.queue import jobs
from interp.store.results import health_reports, runs


def health(session: Session, dictionary: str, run: str | None, against: Sequence[str] = ()) -> HealthAnswer:
    """Return the last health report of a run, compared with other dictionaries' current ones.

    Raises NotFoundError for a run without a report, and InputError for a dictionary that is named twice.
    """
    found = _report(session, dictionary, run)
    if not against:
        return found
    points = [_point(one) for one in (found, *(_report(session, other, None) for other in against))]
    return found.model_copy(update={"comparison": asdict(pareto(points)) | {"points": [asdict(point) for point in points]}})


def _report(session: Session, dictionary: str, run: str | None) -> HealthAnswer:
    of = queries.dictionary(session, dictionary)
    shown = runs.shown(session, of, run)
    found = health_reports.find(session, shown.id)
    if found is None:
        raise NotFoundError(
            f"Run {run_name(shown, of)} has no health report.",
            cure=f"Make one with `glossator health {of.name}`, or submit the job again with `health: true`.",
        )
    lines = verdict(found.report, *_control(session, found.job_id, shown.id, of.name))
    return HealthAnswer(
        dictionary=of.name,
        run=run_name(shown, of),
        job=found.job_id,
        created_at=found.created_at,
        verdict=[VerdictLineAnswer.model_validate(asdict(line)) for line in lines],
        report=found.report,
    )


def _control(session: Session, job_id: str, run_id: int, name: str) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """Return the report of a run's random dictionary, and the comparison of scores."""
    job, of_job = jobs.get(session, job_id), jobs.runs_of(session, job_id)
    place = of_job.index(run_id)
    control = next((control for own, control in JobSpec.model_validate(job.spec).random_pairs() if own == place), None)
    if control is None:
        return None, None
    report = health_reports.find(session, of_job[control])
    compared = (job.summary or {}).get("random_dictionary", {}).get("dictionaries", ())
    scores = next((one["scores"] for one in compared if one["dictionary"] == name), None)
    return None if report is None else report.report, scores


def _point(of: HealthAnswer) -> Point:
    """Return the report's point; dictionaries of one place, architecture and size are a family."""
    report: dict[str, Any] = of.report
    family = f"{report['hook_point']}, {report['architecture']}, {report['n_features']} features"
    reconstruction: dict[str, Any] = report["reconstruction"]
    splicing, error = reconstruction["splicing"] or {}, reconstruction["error"] or {}
    undefined = {"value": None, "standard_error": None, "why": reconstruction["why"] or "It was not measured."}
    l0, fvu, recovered = (Figure(**found) for found in (report["activity"]["l0"], error.get("fvu", undefined), splicing.get("score", undefined)))
    return Point(of.dictionary, family, l0, fvu, recovered)
