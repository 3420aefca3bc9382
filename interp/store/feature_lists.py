"""Store named lists of features, which owners and admins change and everyone reads."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import delete, func, select, tuple_
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from interp.domain.access import Principal
from interp.domain.errors import ConflictError, InputError, NotFoundError
from interp.domain.polarity import number
from interp.store.db.bulk import insert
from interp.store.db.dialect import now
from interp.store.db.tables import DictionaryRow, FeatureListItemRow, FeatureListRow

# Features of one list: what a person looks at, not a dictionary's half.
MOST_FEATURES = 100_000
# Lists of one owner.
MOST_LISTS = 1_000
WRITTEN_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class ListedItem:
    """A feature of a list, with its dictionary."""

    dictionary: DictionaryRow
    feature: int


def create(session: Session, owner: str | None, name: str, description: str) -> FeatureListRow:
    """Write an empty list; raises ConflictError for a taken name, or too many lists."""
    mine = FeatureListRow.owner.is_(None) if owner is None else FeatureListRow.owner == owner
    if session.execute(select(func.count()).select_from(FeatureListRow).where(mine)).scalar_one() >= MOST_LISTS:
        raise ConflictError(f"You have {MOST_LISTS:,} lists.", cure="Delete one: `glossator list delete` (DELETE /v1/lists/{list}).")
    moment = now(session)
    row = {"name": name, "description": description, "owner": owner, "size": 0, "created_at": moment, "changed_at": moment}
    statement = insert(session, FeatureListRow).values(**row).on_conflict_do_nothing(index_elements=["name"]).returning(FeatureListRow.id)
    made = session.execute(statement).scalar_one_or_none()
    if made is None:
        raise _taken(name)
    return session.get_one(FeatureListRow, made)


def get(session: Session, reference: str) -> FeatureListRow:
    """Return a list by id or name; raises NotFoundError."""
    is_id = reference.isdecimal() and reference.isascii() and len(reference) < 19
    row = session.scalar(select(FeatureListRow).where(FeatureListRow.id == int(reference) if is_id else FeatureListRow.name == reference))
    if row is None:
        raise NotFoundError(f"There is no list {reference!r}.", cure="See `glossator list show` (GET /v1/lists), or make it.")
    return row


def id_of(session: Session, reference: str | None) -> int | None:
    """Return the id of the list that a filter names, if any; raises NotFoundError."""
    return None if reference is None else get(session, reference).id


def held(session: Session, caller: Principal, reference: str) -> FeatureListRow:
    """Return a list that the caller may change, with its row locked.

    Raises NotFoundError and ConflictError (another owner's).
    """
    row = get(session, reference)
    locked = select(FeatureListRow).where(FeatureListRow.id == row.id).with_for_update().execution_options(populate_existing=True)
    row = session.scalars(locked).first() or get(session, reference)
    if not caller.may_change(row.owner):
        raise ConflictError(f"The list {row.name!r} is another's.", cure="Make one of your own, or use a key with the scope admin.")
    return row


def page(session: Session, owner: str | None, after: int, limit: int) -> list[FeatureListRow]:
    """Return some lists, of one owner or of all, oldest first."""
    statement = select(FeatureListRow).where(FeatureListRow.id > after).order_by(FeatureListRow.id).limit(limit)
    return list(session.scalars(statement if owner is None else statement.where(FeatureListRow.owner == owner)))


def rename(session: Session, row: FeatureListRow, name: str) -> None:
    """Give a held list another name; raises ConflictError for one that is taken."""
    try:
        with session.begin_nested():
            row.name = name
            session.flush()
    except IntegrityError as error:
        raise _taken(name) from error


def add(session: Session, row: FeatureListRow, features: Mapping[int, Sequence[int]]) -> None:
    """Add features (by dictionary id) to a held list; raises InputError beyond `MOST_FEATURES`."""
    moment = now(session)
    for dictionary_id, numbers in sorted(features.items()):
        items = [{"list_id": row.id, "dictionary_id": dictionary_id, "feature": feature, "added_at": moment} for feature in sorted(set(numbers))]
        for start in range(0, len(items), WRITTEN_AT_ONCE):
            session.execute(insert(session, FeatureListItemRow).on_conflict_do_nothing(), items[start : start + WRITTEN_AT_ONCE])
    _count(session, row)
    if row.size > MOST_FEATURES:
        raise InputError(f"The list would have {row.size:,} features.", why=f"A list has {MOST_FEATURES:,} at most.", cure="Use several lists.")


def remove(session: Session, row: FeatureListRow, features: Mapping[int, Sequence[int]]) -> None:
    """Remove features (by dictionary id) from a held list; those it lacks change nothing."""
    for dictionary_id, numbers in sorted(features.items()):
        own = (FeatureListItemRow.list_id == row.id, FeatureListItemRow.dictionary_id == dictionary_id)
        some = sorted(set(numbers))
        for start in range(0, len(some), WRITTEN_AT_ONCE):
            chosen = FeatureListItemRow.feature.in_(some[start : start + WRITTEN_AT_ONCE])
            session.execute(delete(FeatureListItemRow).where(*own, chosen).execution_options(synchronize_session=False))
    _count(session, row)


def discard(session: Session, row: FeatureListRow) -> None:
    """Delete a held list."""
    session.execute(delete(FeatureListRow).where(FeatureListRow.id == row.id).execution_options(synchronize_session=False))


def items(session: Session, list_id: int, after: tuple[int, int] | None, limit: int) -> list[ListedItem]:
    """Return some features of a list, by dictionary and number."""
    order = (FeatureListItemRow.dictionary_id, FeatureListItemRow.feature)
    statement = select(DictionaryRow, FeatureListItemRow.feature).join(DictionaryRow, DictionaryRow.id == FeatureListItemRow.dictionary_id)
    statement = statement.where(FeatureListItemRow.list_id == list_id).order_by(*order).limit(limit)
    if after is not None:
        statement = statement.where(tuple_(*order) > tuple_(*after))
    return [ListedItem(dictionary, feature) for dictionary, feature in session.execute(statement)]


def counts(session: Session, list_ids: Iterable[int]) -> dict[int, dict[str, int]]:
    """Return the numbers of features of some lists, by list and dictionary's name."""
    key = (FeatureListItemRow.list_id, DictionaryRow.name)
    statement = select(*key, func.count()).join(DictionaryRow, DictionaryRow.id == FeatureListItemRow.dictionary_id)
    found: dict[int, dict[str, int]] = {}
    for list_id, name, number_of in session.execute(statement.where(FeatureListItemRow.list_id.in_(list_ids)).group_by(*key).order_by(*key)):
        found.setdefault(list_id, {})[name] = number_of
    return found


def numbers_of(session: Session, list_id: int, dictionary_id: int) -> tuple[int, ...]:
    """Return a list's features of one dictionary, ascending."""
    own = (FeatureListItemRow.list_id == list_id, FeatureListItemRow.dictionary_id == dictionary_id)
    return tuple(session.scalars(select(FeatureListItemRow.feature).where(*own).order_by(FeatureListItemRow.feature)))


def for_job(session: Session, reference: str, dictionary: str | None) -> tuple[int, ...]:
    """Return the features that a job on one dictionary explains, ascending, of a list.

    `dictionary` is the name in the job, if it has one; else the list must be of one dictionary alone. A job explains both sides of a feature, where
    there are two, so that a negative side names its feature. Raises NotFoundError, InputError.
    """
    row = get(session, reference)
    of = [found for found in dictionaries_of(session, row.id) if dictionary is None or found.name == dictionary]
    if len(of) != 1:
        whose = "any dictionary" if dictionary is None else dictionary
        why = "It is of several dictionaries." if of else f"It has no feature of {whose}."
        cure = "Name one of them as `dictionary.name`." if of else "Add features to it: `glossator list add` (PATCH /v1/lists/{list})."
        raise InputError(f"The job cannot take its features from the list {row.name!r}.", why=why, cure=cure)
    each = of[0].n_features // 2 if of[0].polarity == "both" else of[0].n_features
    return tuple(sorted({feature % each for feature in numbers_of(session, row.id, of[0].id)}))


def dictionaries_of(session: Session, list_id: int) -> list[DictionaryRow]:
    """Return the dictionaries that a list has features of."""
    own = select(FeatureListItemRow.dictionary_id).where(FeatureListItemRow.list_id == list_id)
    return list(session.scalars(select(DictionaryRow).where(DictionaryRow.id.in_(own)).order_by(DictionaryRow.id)))


def parsed(session: Session, names: Sequence[str]) -> dict[int, list[int]]:
    """Return features written `pystdlib@1-res:123` by dictionary id; raises NotFoundError and InputError."""
    written = [name.rpartition(":") for name in names]
    wanted = {dictionary for dictionary, _, _ in written}
    known = {row.name: row for row in session.scalars(select(DictionaryRow).where(DictionaryRow.name.in_(wanted)))}
    found: dict[int, list[int]] = {}
    for (dictionary, _, index), name in zip(written, names, strict=True):
        row = known.get(dictionary)
        if row is None:
            raise NotFoundError(f"No dictionary {dictionary!r}.", why=f"It is that of {name!r}.", cure="See `glossator dictionaries`.")
        feature = number(index, row.n_features, row.polarity)
        if feature is None or feature >= row.n_features:
            raise InputError(f"There is no feature {name!r}.", why=f"{row.name} has {row.n_features:,} features.")
        found.setdefault(row.id, []).append(feature)
    return found


def _count(session: Session, row: FeatureListRow) -> None:
    row.size = session.execute(select(func.count()).where(FeatureListItemRow.list_id == row.id)).scalar_one()
    row.changed_at = now(session)


def _taken(name: str) -> ConflictError:
    return ConflictError(f"There is a list {name!r} already.", cure="Choose another name, or change that list.")
