"""Read and change named lists of features."""

from collections.abc import Sequence

from pydantic import TypeAdapter

from api.reads import cursors, pages
from api.reads.cursors import FeatureIndex, RowId
from api.schemas.curation.lists import ListAnswer, ListChangeRequest, ListedName, ListedNamePage, ListPage, NewListRequest
from interp.domain.access import Principal
from interp.store import feature_lists as stored
from interp.store.db.engine import Session
from interp.store.db.tables import FeatureListRow

PLACE = TypeAdapter(tuple[RowId])
ITEM_PLACE = TypeAdapter(tuple[RowId, FeatureIndex])


def lists(session: Session, owner: str | None, cursor: str | None, limit: int) -> ListPage:
    """Return one page of lists, oldest first; raises CursorInvalidError."""
    listing = {"of": "lists", "owner": owner}
    after = cursors.decode(listing, cursor, PLACE)[0] if cursor else 0
    found = stored.page(session, owner, after, limit + 1)
    place = (found[limit - 1].id,) if len(found) > limit else None
    return pages.build(ListPage, found[:limit], lambda rows: _answers(session, rows), lambda row: row.id, listing, place)


def one(session: Session, reference: str) -> ListAnswer:
    """Return a list by id or name; raises NotFoundError."""
    return _answers(session, [stored.get(session, reference)])[0]


def features(session: Session, reference: str, cursor: str | None, limit: int) -> ListedNamePage:
    """Return one page of a list's features; raises NotFoundError, CursorInvalidError."""
    row = stored.get(session, reference)
    listing = {"of": "list", "list": row.id}
    after = cursors.decode(listing, cursor, ITEM_PLACE) if cursor else None
    found = stored.items(session, row.id, after, limit + 1)
    last = found[limit - 1] if len(found) > limit else None
    return pages.build(
        ListedNamePage,
        found[:limit],
        lambda rows: [
            ListedName(name=item.dictionary.feature_name(item.feature), dictionary=item.dictionary.name, index=item.feature) for item in rows
        ],
        lambda item: item.feature,
        listing,
        None if last is None else (last.dictionary.id, last.feature),
    )


def create(session: Session, caller: Principal, wanted: NewListRequest) -> ListAnswer:
    """Make a list; raises ConflictError, NotFoundError and InputError."""
    row = stored.create(session, caller.owner, wanted.name, wanted.description)
    if wanted.features:
        stored.add(session, row, stored.parsed(session, wanted.features))
    return _answers(session, [row])[0]


def change(session: Session, caller: Principal, reference: str, wanted: ListChangeRequest) -> ListAnswer:
    """Change a list, whole or not at all; raises NotFoundError, ConflictError and InputError."""
    row = stored.held(session, caller, reference)
    if wanted.name is not None:
        stored.rename(session, row, wanted.name)
    if wanted.description is not None:
        row.description = wanted.description
    if wanted.remove:
        stored.remove(session, row, stored.parsed(session, wanted.remove))
    if wanted.add:
        stored.add(session, row, stored.parsed(session, wanted.add))
    session.flush()
    return _answers(session, [row])[0]


def delete(session: Session, caller: Principal, reference: str) -> ListAnswer:
    """Delete a list and return what it was; raises NotFoundError and ConflictError."""
    row = stored.held(session, caller, reference)
    answer = _answers(session, [row])[0]
    stored.discard(session, row)
    return answer


def _answers(session: Session, rows: Sequence[FeatureListRow]) -> list[ListAnswer]:
    by_list = stored.counts(session, [row.id for row in rows])
    return [_answer(row, by_list.get(row.id, {})) for row in rows]


def _answer(row: FeatureListRow, by_dictionary: dict[str, int]) -> ListAnswer:
    return ListAnswer.of(row, dictionaries=by_dictionary)
