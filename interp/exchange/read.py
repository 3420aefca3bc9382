"""Read a run's features, one portion and transaction at a time.

No connection is held while a portion is written or sent, so a slow reader holds none.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from interp.domain.record import FeatureRecord
from interp.store.db.engine import Engine, snapshot
from interp.store.listings import records
from interp.store.listings.records import RecordQuery

# Features per portion, some 60 kB each with contexts.
PORTION = 128


def portions(engine: Engine, query: RecordQuery, among: Sequence[int] | None = None) -> Iterator[Sequence[FeatureRecord]]:
    """Yield all features of a query; `among` names the only ones, in ascending order."""
    if among is None:
        yield from _pages(engine, query)
        return
    for start in range(0, len(among), PORTION):
        some = replace(query.features, among=tuple(among[start : start + PORTION]))
        yield from _pages(engine, replace(query, features=some))


def _pages(engine: Engine, query: RecordQuery) -> Iterator[Sequence[FeatureRecord]]:
    place = query.features.after
    while True:
        with snapshot(engine) as session:
            page = records.read(session, replace(query, features=replace(query.features, after=place, limit=PORTION)))
        if page.rows:
            yield page.rows
        place = page.next
        if place is None:
            return
