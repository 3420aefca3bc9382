"""Read how stable a dictionary's scores are."""

from dataclasses import asdict

from api.schemas.curation.stability import StabilityAnswer, StabilityStudyAnswer
from interp.analysis.stability import Stability, StabilityTable, condition_of
from interp.domain.errors import NotFoundError
from interp.store.db.engine import Session
from interp.store.listings import queries
from interp.store.results import stability as stored


def stability(session: Session, dictionary: str, difference: float) -> StabilityAnswer:
    """Return the variance components of a dictionary's scores; raises NotFoundError.

    Without two conditions of one explainer by one scorer there is nothing to compare, and the error names the cure.
    """
    of = queries.dictionary(session, dictionary)
    run_ids = stored.runs_of(session, of.id)
    conditions = {}
    for run_id, explainer, family, scorer, digest, identity, metric, details, provenance, spec in stored.made_by(session, run_ids):
        condition = condition_of(identity, explainer, scorer, metric, details, provenance, spec)
        if condition is not None:
            conditions[run_id, explainer, family, scorer, digest] = condition
    table = StabilityTable(conditions)
    for rows in stored.scores(session, run_ids):
        table.add(rows)
    studies = table.studies(difference)
    if not studies:
        raise NotFoundError(
            f"The features of {of.name} were scored under one condition.",
            why="How stable a score is shows where two jobs scored the same features by the same explainer and scorer.",
            cure="Submit the job again with another `seed`, or with another `models.judge`.",
        )
    return StabilityAnswer(dictionary=of.name, studies=[_study(one) for one in studies])


def _study(of: Stability) -> StabilityStudyAnswer:
    parts = asdict(of)
    factors = [{"name": name, "levels": levels} for name, levels in of.levels.items()]
    left_out = [{"name": name, "why": why} for name, why in of.left_out.items()]
    reliability = [{"scorings": times} | figure for times, figure in parts["reliability"].items()]
    del parts["levels"]
    return StabilityStudyAnswer.model_validate(parts | {"factors": factors, "left_out": left_out, "reliability": reliability})
