"""Routes of named lists of features."""

from typing import Annotated

from fastapi import APIRouter, Body, Path, Query, Response

from api.http.access.audit import made_at
from api.http.access.scopes import needs
from api.http.openapi import answers
from api.reads.curation import lists as reads
from api.reads.cursors import WITHOUT_NUL
from api.routes.dependencies import Caller, CursorText, Limit, Reading, Store
from api.schemas.curation.lists import ListAnswer, ListChangeRequest, ListedNamePage, ListPage, NewListRequest
from api.schemas.examples import EXAMPLES
from interp.domain.access import Scope
from interp.store.db.engine import transaction

router = APIRouter(prefix="/v1/lists", tags=["features"])

ListReference = Annotated[str, Path(alias="list", min_length=1, max_length=64, pattern=WITHOUT_NUL, description="Id or name.", examples=["odd"])]
OfOwner = Annotated[str | None, Query(min_length=1, max_length=255, pattern=WITHOUT_NUL, description="Only lists of this owner.", examples=["alice"])]
NewList = Annotated[NewListRequest, Body(openapi_examples={"list": {"value": EXAMPLES["new_list"]}})]
ListChange = Annotated[ListChangeRequest, Body(openapi_examples={"list": {"value": EXAMPLES["list_change"]}})]


@router.post("", status_code=201, responses=answers(EXAMPLES["list"], 404, 409, 422, status=201))
@needs(Scope.SUBMIT)
def create_feature_list(response: Response, engine: Store, caller: Caller, wanted: NewList) -> ListAnswer:
    """Make a named list of features.

    `list` filters listings, searches and exports by it; a job explains its features with `features: "list:odd"`.
    """
    with transaction(engine) as session:
        made = reads.create(session, caller, wanted)
        response.headers["Location"] = made_at(f"/v1/lists/{made.id}")
    return made


@router.get("", responses=answers(EXAMPLES["list_page"], 422))
@needs(Scope.READ)
def list_feature_lists(session: Reading, owner: OfOwner = None, cursor: CursorText = None, limit: Limit = 50) -> ListPage:
    """List all lists of features, oldest first."""
    return reads.lists(session, owner, cursor, limit)


@router.get("/{list}", responses=answers(EXAMPLES["list"], 404, 422))
@needs(Scope.READ)
def get_feature_list(session: Reading, reference: ListReference) -> ListAnswer:
    """Return a list, by id or name, with the number of its features by dictionary."""
    return reads.one(session, reference)


@router.get("/{list}/features", responses=answers(EXAMPLES["listed_name_page"], 404, 422))
@needs(Scope.READ)
def list_listed_features(session: Reading, reference: ListReference, cursor: CursorText = None, limit: Limit = 50) -> ListedNamePage:
    """List the names of a list's features, by dictionary and number.

    With labels and figures they are in the listing of features of each dictionary, by its filter `list`.
    """
    return reads.features(session, reference, cursor, limit)


@router.patch("/{list}", responses=answers(EXAMPLES["list"], 404, 409, 422))
@needs(Scope.SUBMIT)
def change_feature_list(engine: Store, caller: Caller, reference: ListReference, wanted: ListChange) -> ListAnswer:
    """Rename or describe a list, add features to it, or remove others.

    All of that is done, or nothing. Repeating it changes nothing. Only its owner and admins may.
    """
    with transaction(engine) as session:
        return reads.change(session, caller, reference, wanted)


@router.delete("/{list}", responses=answers(EXAMPLES["list"], 404, 409, 422))
@needs(Scope.SUBMIT)
def delete_feature_list(engine: Store, caller: Caller, reference: ListReference) -> ListAnswer:
    """Delete a list; its features and their labels stay. Only its owner and admins may."""
    with transaction(engine) as session:
        return reads.delete(session, caller, reference)
