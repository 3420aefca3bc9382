"""Runs: what was collected, and which run of a dictionary is its current one."""

from pydantic import TypeAdapter

from api.http import cursors
from api.http.count_cache import StateCounts
from api.http.cursors import RowId
from api.presenters import rows
from api.presenters import runs as running
from api.reads.dictionaries import counted
from api.schemas import DictionaryAnswer, RunAnswer, RunPage
from interp.domain.errors import NotFoundError
from interp.store.db.engine import Session
from interp.store.listings import queries
from interp.store.results import runs as stored

PLACE = TypeAdapter(tuple[RowId])


def runs(session: Session, dictionary: str | None, cursor: str | None, limit: int) -> RunPage:
    """One page of the runs of a dictionary, or of all, the first one first. Raises NotFound and CursorInvalid."""
    dictionary_id = None if dictionary is None else queries.dictionary(session, dictionary).id
    listing: dict[str, object] = {"of": "runs"} if dictionary_id is None else {"of": "runs", "dictionary": dictionary_id}
    after = cursors.decode(listing, cursor, PLACE)[0] if cursor else 0
    found = stored.page(session, dictionary_id, after, limit + 1)
    page = found[:limit]
    place = (page[-1][0].id,) if len(found) > len(page) else None
    items, unreadable = rows.shown(page, lambda some: running.all_of(session, some), lambda pair: pair[0].id)
    return RunPage(items=items, unreadable=unreadable, next_cursor=cursors.encode(listing, place))


def run(session: Session, run_id: int) -> RunAnswer:
    """Return one run. Raises NotFoundError."""
    found = stored.of_ids(session, {run_id})
    if run_id not in found:
        raise NotFoundError(f"There is no run {run_id}.", cure="List the runs with `glossator runs` (GET /v1/runs).")
    return running.run(session, *found[run_id])


def pin(session: Session, counts: StateCounts, dictionary: str, reference: str) -> DictionaryAnswer:
    """Makes a run the current one of its dictionary, in a transaction of the caller. Raises NotFound and Conflict."""
    row = queries.dictionary(session, dictionary)
    stored.pin(session, row, stored.named(session, row, reference))
    return counted(session, counts, row)


def unpin(session: Session, counts: StateCounts, dictionary: str) -> DictionaryAnswer:
    """Leaves the choice of the current run to the rule again, in a transaction of the caller. Raises NotFound."""
    row = queries.dictionary(session, dictionary)
    stored.unpin(session, row)
    return counted(session, counts, row)
