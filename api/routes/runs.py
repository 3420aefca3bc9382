"""Runs: what was collected, and which run of a dictionary is its current one."""

from typing import Annotated

from fastapi import APIRouter, Body, Path
from pydantic import TypeAdapter
from sqlalchemy.orm import Session

from api import cursors, examples, running, views
from api.counts import StateCounts
from api.cursors import RowId
from api.dependencies import WITHOUT_NUL, Counts, CursorText, Limit, Reading, Store
from api.openapi import answers
from api.routes.dictionaries import DictionaryReference
from api.schemas import CurrentRunRequest, DictionaryAnswer, RunAnswer, RunPage
from interp.store import book, entry, runs
from interp.store.engine import transaction
from interp.store.tables import Dictionary

router = APIRouter(prefix="/v1", tags=["runs"])

PLACE = TypeAdapter(tuple[RowId])
RunReference = Annotated[str, Path(max_length=80, pattern=WITHOUT_NUL, description="Number, or start of the digest.", examples=["2"])]

Wanted = Annotated[CurrentRunRequest, Body(openapi_examples=examples.CURRENT_RUNS)]


@router.get("/runs", responses=answers(examples.RUN_PAGE, 422))
def list_runs(session: Reading, cursor: CursorText = None, limit: Limit = 50) -> RunPage:
    """Every run of every dictionary, the first one first."""
    return _page(session, None, {"of": "runs"}, cursor, limit)


@router.get("/dictionaries/{dictionary}/runs", responses=answers(examples.RUN_PAGE, 404, 422))
def list_dictionary_runs(session: Reading, dictionary: DictionaryReference, cursor: CursorText = None, limit: Limit = 50) -> RunPage:
    """The runs of a dictionary, the first one first."""
    row = book.dictionary(session, dictionary)
    return _page(session, row.id, {"of": "runs", "dictionary": row.id}, cursor, limit)


@router.get("/dictionaries/{dictionary}/runs/{run}", responses=answers(examples.RUN, 404, 422))
def get_run(session: Reading, dictionary: DictionaryReference, run: RunReference) -> RunAnswer:
    """One run: its corpus, coverage and jobs, and all that decides its evidence."""
    row = book.dictionary(session, dictionary)
    return running.run(session, runs.named(session, row, run), row)


@router.put("/dictionaries/{dictionary}/current-run", responses=answers(examples.DICTIONARY, 404, 409, 422))
def pin_current_run(engine: Store, counts: Counts, dictionary: DictionaryReference, wanted: Wanted) -> DictionaryAnswer:
    """Choose the run that listings of the dictionary show when they name none. It must have completed."""
    with transaction(engine) as session:
        row = book.dictionary(session, dictionary)
        runs.pin(session, row, runs.named(session, row, wanted.run))
        return _dictionary(session, counts, row)


@router.delete("/dictionaries/{dictionary}/current-run", responses=answers(examples.DICTIONARY, 404, 422))
def unpin_current_run(engine: Store, counts: Counts, dictionary: DictionaryReference) -> DictionaryAnswer:
    """Leave the choice of the current run to the rule again. Asking twice changes nothing."""
    with transaction(engine) as session:
        row = book.dictionary(session, dictionary)
        runs.unpin(session, row)
        return _dictionary(session, counts, row)


def _page(session: Session, dictionary_id: int | None, listing: dict[str, object], cursor: str | None, limit: int) -> RunPage:
    after = cursors.decode(listing, cursor, PLACE)[0] if cursor else 0
    found = runs.page(session, dictionary_id, after, limit + 1)
    rows = found[:limit]
    place = (rows[-1][0].id,) if len(found) > len(rows) else None
    return RunPage(items=running.all_of(session, rows), next_cursor=cursors.encode(listing, place))


def _dictionary(session: Session, counts: StateCounts, row: Dictionary) -> DictionaryAnswer:
    current = runs.current(session, row.id)
    subject = entry.subject_names(session, {row.subject_id})[row.subject_id]
    return views.dictionary(row, subject, current, {} if current is None else counts.of(session, current.id))
