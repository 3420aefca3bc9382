"""Store what chunks measured of features, for the scorers of later chunks."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from interp.planning.plan import Range
from interp.store.db.bulk import upsert
from interp.store.db.dialect import now
from interp.store.db.tables import MeasurementRow as Row
from interp.store.db.text import pack, storable, unpack
from interp.store.results.evidence import within

KEYS = ("run_id", "name", "settings_digest", "feature")
# Ranges of a query: SQLite takes some hundred conditions.
RANGES_AT_ONCE = 200


def load(session: Session, run_id: int, name: str, settings_digest: str, ranges: Sequence[Range]) -> dict[int, dict[str, Any]]:
    """Return what was measured of the features in the ranges, by feature, ascending."""
    found: dict[int, dict[str, Any]] = {}
    of = (Row.run_id == run_id, Row.name == name, Row.settings_digest == settings_digest)
    for start in range(0, len(ranges), RANGES_AT_ONCE):
        some = within(Row.feature, ranges[start : start + RANGES_AT_ONCE])
        for feature, content in session.execute(select(Row.feature, Row.content).where(*of, some).order_by(Row.feature)):
            found[feature] = json.loads(unpack(content))
    return found


def version(session: Session, run_id: int, name: str, settings_digest: str) -> tuple[int, datetime | None]:
    """Return how many features were measured, and when the last one was."""
    of = (Row.run_id == run_id, Row.name == name, Row.settings_digest == settings_digest)
    found, last = session.execute(select(func.count(), func.max(Row.created_at)).where(*of)).one()
    return found, last


def save(session: Session, run_id: int, name: str, settings_digest: str, measured: Mapping[int, Mapping[str, Any]]) -> None:
    """Write what was measured of features, in place of an earlier measurement."""
    shared = {"run_id": run_id, "name": name, "settings_digest": settings_digest, "created_at": now(session)}
    rows = [shared | {"feature": feature, "content": pack(json.dumps(storable(content)))} for feature, content in sorted(measured.items())]
    upsert(session, Row, rows, KEYS)


def remove(session: Session, run_id: int, names: Sequence[str], settings_digest: str, features: Sequence[int]) -> None:
    """Delete some measurements of features."""
    of = (Row.run_id == run_id, Row.name.in_(names), Row.settings_digest == settings_digest)
    for start in range(0, len(features), RANGES_AT_ONCE):
        some = Row.feature.in_(features[start : start + RANGES_AT_ONCE])
        session.execute(delete(Row).where(*of, some).execution_options(synchronize_session=False))
