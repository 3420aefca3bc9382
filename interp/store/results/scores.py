"""Store scores and their items (`dictionary_scores` has the statistics of all)."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from interp.domain.score import Score
from interp.store.db.bulk import upsert
from interp.store.db.dialect import now
from interp.store.db.tables import ScoreItemsRow
from interp.store.db.tables import ScoreRow as Row
from interp.store.results.league_tables import count_change


@dataclass(frozen=True, slots=True)
class Scored:
    """A score, its explanation, and its items as `interp.score.items.codec` packs them."""

    explanation_id: int
    score: Score
    items: bytes


def explanations_with(session: Session, scorer: str, settings_digest: str, explanation_ids: Iterable[int], only_answered: bool = False) -> set[int]:
    """Return the explanations with this score; `only_answered` omits scores whose items all failed."""
    statement = select(Row.explanation_id).where(Row.scorer == scorer, Row.settings_digest == settings_digest)
    if only_answered:
        statement = statement.where((Row.answered > 0) | (Row.failed == 0))
    return set(session.scalars(statement.where(Row.explanation_id.in_(list(explanation_ids)))))


def save(session: Session, run_id: int, settings_digest: str, scored: Sequence[Scored], job_id: str) -> None:
    """Write scores of one scorer and their items, in ascending order of features."""
    shared = {"run_id": run_id, "settings_digest": settings_digest, "job_id": job_id, "created_at": now(session)}
    rows = [shared | _columns(item) for item in scored]
    if rows:
        count_change(session, run_id)
    written = upsert(session, Row, rows, ("explanation_id", "scorer", "settings_digest"), returning=[Row.explanation_id, Row.id])
    ids = {row.explanation_id: row.id for row in written}
    upsert(session, ScoreItemsRow, [{"score_id": ids[item.explanation_id], "blob": item.items} for item in scored], ["score_id"])


def _columns(item: Scored) -> dict[str, Any]:
    score, interval, null = item.score, item.score.interval, item.score.null
    lift = null.lift_interval if null else None
    row = {name: getattr(score, name) for name in ("feature", "scorer", "metric", "value", "reason", "answered", "failed", "abstained")}
    row |= {name: getattr(null, name, None) for name in ("lift", "lift_reason", "p_value", "p_method", "p_paired", "p_paired_reason")}
    row |= {f"null_{name}": getattr(null, name, None) for name in ("value", "reason")}
    row |= {f"lift_{name}": getattr(lift, name, None) for name in ("low", "high", "method")}
    return row | {
        "explanation_id": item.explanation_id,
        "low": getattr(interval, "low", None),
        "high": getattr(interval, "high", None),
        "interval_method": getattr(interval, "method", None),
        "null_values": list(null.values) if null and null.values else None,
        "controls": [asdict(control) for control in score.controls] or None,
        "details": {
            "metrics": score.metrics,
            "provenance": score.provenance,
            "null_features": list(null.features) if null else [],
            "level": getattr(interval, "level", None),
        },
    }
