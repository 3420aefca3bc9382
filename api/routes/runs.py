"""Routes of runs, and of the current run of a dictionary."""

from typing import Annotated

from fastapi import APIRouter, Body, Path, Query

from api.http.access.scopes import needs
from api.http.openapi import answers
from api.reads import runs as reads
from api.reads.cursors import WITHOUT_NUL
from api.routes.dependencies import CursorText, Limit, Reading, Store
from api.routes.dictionaries import DictionaryReference
from api.schemas.dictionaries import DictionaryAnswer
from api.schemas.examples import EXAMPLES
from api.schemas.runs import CurrentRunRequest, RunAnswer, RunPage
from interp.domain.access import Scope
from interp.store.db.engine import transaction

router = APIRouter(prefix="/v1", tags=["runs"])

OfDictionary = Annotated[
    str | None, Query(max_length=255, pattern=WITHOUT_NUL, description="Id or name of a dictionary.", examples=["pystdlib@1-res"])
]
RunId = Annotated[int, Path(ge=0, lt=2**63, examples=[1])]
Wanted = Annotated[CurrentRunRequest, Body(openapi_examples=EXAMPLES["current_runs"])]


@router.get("/runs", responses=answers(EXAMPLES["run_page"], 404, 422))
@needs(Scope.READ)
def list_runs(session: Reading, dictionary: OfDictionary = None, cursor: CursorText = None, limit: Limit = 50) -> RunPage:
    """List the runs of a dictionary, or of all dictionaries, oldest first."""
    return reads.runs(session, dictionary, cursor, limit)


@router.get("/runs/{run_id}", responses=answers(EXAMPLES["run"], 404, 422))
@needs(Scope.READ)
def get_run(session: Reading, run_id: RunId) -> RunAnswer:
    """Return one run: corpus, coverage, jobs, and all settings that determine its evidence."""
    return reads.run(session, run_id)


@router.put("/dictionaries/{dictionary}/current-run", responses=answers(EXAMPLES["dictionary"], 404, 409, 422))
@needs(Scope.ADMIN)
def pin_current_run(engine: Store, dictionary: DictionaryReference, wanted: Wanted) -> DictionaryAnswer:
    """Pin a completed run as the dictionary's current one, which listings show by default."""
    with transaction(engine) as session:
        return reads.pin(session, dictionary, wanted.run)


@router.delete("/dictionaries/{dictionary}/current-run", responses=answers(EXAMPLES["dictionary"], 404, 422))
@needs(Scope.ADMIN)
def unpin_current_run(engine: Store, dictionary: DictionaryReference) -> DictionaryAnswer:
    """Unpin the dictionary's current run, so that it is chosen automatically again."""
    with transaction(engine) as session:
        return reads.unpin(session, dictionary)
