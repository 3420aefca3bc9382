"""Store the places of dictionaries' features in a plane."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from interp.store.db.bulk import upsert
from interp.store.db.dialect import now
from interp.store.db.tables import FeatureMapRow, FeatureRow

Points = NDArray[np.float32]

# Steps of a place in each dimension; one more stands for no place. A screen has fewer pixels.
STEPS = 65_534
NOWHERE = 65_535


@dataclass(frozen=True, slots=True)
class StoredMap:
    """The map of a dictionary.

    `places` are float32 [F, 2] within [0, 1], NaN for features without a direction.
    """

    job_id: str
    seed: int
    places: Points
    quality: dict[str, Any]
    created_at: datetime


def save(session: Session, dictionary_id: int, job_id: str, seed: int, places: Points, quality: dict[str, Any]) -> None:
    """Write a dictionary's map, in place of an earlier one."""
    row = {
        "dictionary_id": dictionary_id,
        "job_id": job_id,
        "seed": seed,
        "places": packed(places),
        "quality": quality,
        "created_at": now(session),
    }
    upsert(session, FeatureMapRow, [row], keys=["dictionary_id"])


def find(session: Session, dictionary_id: int) -> StoredMap | None:
    """Return a dictionary's map, or None."""
    row = session.scalars(select(FeatureMapRow).where(FeatureMapRow.dictionary_id == dictionary_id)).first()
    return None if row is None else StoredMap(row.job_id, row.seed, unpacked(row.places), row.quality, row.created_at)


def mapped(session: Session, dictionary_ids: Collection[int]) -> set[int]:
    """Return those of the dictionaries that have a map."""
    return set(session.scalars(select(FeatureMapRow.dictionary_id).where(FeatureMapRow.dictionary_id.in_(dictionary_ids))))


def figure(session: Session, run_id: int, name: str, features: int) -> Points:
    """Return a figure of a run's listing by feature, float32 [F].

    NaN where there is none.
    """
    column = getattr(FeatureRow, name)
    found = np.full(features, np.nan, dtype=np.float32)
    rows = session.execute(select(FeatureRow.feature, column).where(FeatureRow.run_id == run_id, column.is_not(None)))
    # As an array at once: lists of rows take most of the time of 100,000.
    read = np.fromiter(map(tuple, rows), dtype=[("feature", "<i8"), ("value", "<f8")])
    found[read["feature"]] = read["value"]
    return found


def packed(places: Points) -> bytes:
    """Return places float32 [F, 2] as pairs of two bytes, little-endian."""
    missing = np.isnan(places)
    steps = np.rint(np.where(missing, 0, places).clip(0, 1) * STEPS)
    return np.where(missing, NOWHERE, steps).astype("<u2").tobytes()


def unpacked(content: bytes) -> Points:
    """Return the places of a stored map, float32 [F, 2]."""
    steps = np.frombuffer(content, "<u2").reshape(-1, 2)
    return np.where(steps == NOWHERE, np.float32(np.nan), steps / np.float32(STEPS)).astype(np.float32)
