"""`glossator keys` and `glossator audit`: work on keys and the audit log in the database."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from api.cli.output.console import out, print_json, say
from api.cli.output.tables import TableColumn, print_table
from interp.config.home import make_home
from interp.config.settings import settings
from interp.domain.access import Scope
from interp.domain.errors import InputError
from interp.observability.import_time import without_collecting

if TYPE_CHECKING:
    from interp.store.db.engine import Session

BY = "command line"
KEYS = (
    TableColumn("key"),
    TableColumn("name", 0, least=8),
    TableColumn("scopes", 1),
    TableColumn("state"),
    TableColumn("last used", 2),
    TableColumn("created", 4),
    TableColumn("by", 5),
)
ENTRIES = (
    TableColumn("time"),
    TableColumn("who", 0, least=8),
    TableColumn("action"),
    TableColumn("target", 2, least=12),
    TableColumn("outcome"),
    TableColumn("from", 3),
)

QUOTAS = (TableColumn("quota"), TableColumn("used"), TableColumn("limit"))

KeyId = Annotated[str, typer.Argument(metavar="ID", help="As `glossator keys list` shows it, with or without gl_.")]
MaxJobs = Annotated[int | None, typer.Option(min=0, help="Jobs at once; no limit when not given.")]
FeaturesPerDay = Annotated[int | None, typer.Option(min=0, help="Features of jobs of 24 hours; no limit when not given.")]
DollarsPerMonth = Annotated[float | None, typer.Option(min=0, help="US dollars of 30 days, spent or reserved; no limit when not given.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
SUMMARY = "Make, list and revoke keys of the REST API, in the database of the settings."
keys = typer.Typer(no_args_is_help=True, help=SUMMARY, add_completion=False, rich_markup_mode=None)


@keys.command()
def create(
    name: Annotated[str, typer.Argument(help="The owner of what the key makes: a person, a team or a program.")] = "admin",
    scope: Annotated[list[Scope] | None, typer.Option(help="What the key may do; several times for several. First key: admin; others: read.")] = None,
    days: Annotated[float | None, typer.Option(min=0.001, max=36_500, help="Days until it ends; never when not given.")] = None,
    max_jobs: MaxJobs = None,
    features_per_day: FeaturesPerDay = None,
    dollars_per_month: DollarsPerMonth = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it, once.

    From the first key on, every request needs one.
    """
    from api.reads import access
    from api.schemas.access import NewKeyRequest
    from interp.store.access import keys as stored

    expires_at = None if days is None else datetime.now(UTC) + timedelta(days=days)
    with _database(Use.FIRST) as session:
        is_first = not stored.any_exists(session)
        quota = {"max_jobs": max_jobs, "features_per_day": features_per_day, "dollars_per_month": dollars_per_month}
        scopes = scope or [Scope.ADMIN if is_first else Scope.READ]
        wanted = _request(NewKeyRequest, name=name, scopes=scopes, expires_at=expires_at, quota=quota)
        made = access.create_key(session, wanted, BY)
        _note(session, "create_key", made.id, 201)
    if as_json:
        print_json(made.model_dump(mode="json"))
        return
    say(f"The key of {made.name}, with the scope {', '.join(made.scopes)}. It is not shown again:")
    out.print(made.key, soft_wrap=True)
    if is_first:
        say("From now on every request needs a key. Send it as `Authorization: Bearer KEY`; commands take it from GLOSSATOR_API_KEY.")


@keys.command("list")
def list_keys(as_json: AsJson = False) -> None:
    """List all keys, oldest first, with expired and revoked ones."""
    from api.reads import access

    with _database() as session:
        found = _all(lambda cursor: access.key_page(session, cursor, 500))
    if as_json:
        print_json(found)
        return
    print_table(out, KEYS, [_key_row(key) for key in found])


@keys.command()
def show(key_id: KeyId, as_json: AsJson = False) -> None:
    """Show a key's scopes, its quota, and what of it is used."""
    from api.reads import access

    with _database() as session:
        found = access.usage_of_key(session, key_id.removeprefix("gl_")).model_dump(mode="json")
    _print_usage(found, as_json)


@keys.command()
def quota(
    key_id: KeyId,
    max_jobs: MaxJobs = None,
    features_per_day: FeaturesPerDay = None,
    dollars_per_month: DollarsPerMonth = None,
    as_json: AsJson = False,
) -> None:
    """Set the whole quota of a key: what is left out has no limit."""
    from api.reads import access
    from api.schemas.access import KeyQuota

    wanted = _request(KeyQuota, max_jobs=max_jobs, features_per_day=features_per_day, dollars_per_month=dollars_per_month)
    with _database(Use.WRITE) as session:
        access.set_quota(session, key_id.removeprefix("gl_"), wanted)
        found = access.usage_of_key(session, key_id.removeprefix("gl_")).model_dump(mode="json")
        _note(session, "set_key_quota", found["id"], 200)
    _print_usage(found, as_json)


@keys.command()
def revoke(key_id: KeyId) -> None:
    """Revoke a key for good; every server refuses it from then on."""
    from api.reads import access

    with _database(Use.WRITE) as session:
        revoked = access.revoke_key(session, key_id.removeprefix("gl_"))
        _note(session, "revoke_key", revoked.id, 200)
    say(f"The key {revoked.prefix} of {revoked.name} is revoked.")


def audit(
    who: Annotated[str | None, typer.Option(help="Only what this owner did.")] = None,
    action: Annotated[str | None, typer.Option(help="Only this operation, such as submit_job.")] = None,
    since: Annotated[datetime | None, typer.Option(help="Only at this time (UTC) and later.")] = None,
    until: Annotated[datetime | None, typer.Option(help="Only before this time (UTC).")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List what was changed, or refused, newest first: who, what, when, from where."""
    from api.reads import access

    times = {"since": since and since.replace(tzinfo=UTC), "until": until and until.replace(tzinfo=UTC)}
    given = {name: value for name, value in ({"who": who, "action": action} | times).items() if value is not None}
    with _database() as session:
        found = _all(lambda cursor: access.audit_page(session, _request(access.AuditQuery, **given, cursor=cursor, limit=min(limit, 500))), limit)
    if as_json:
        print_json(found)
        return
    print_table(out, ENTRIES, [_entry_row(entry) for entry in found])


class Use(Enum):
    """What a command does with the database; `FIRST` also makes its tables."""

    READ = auto()
    WRITE = auto()
    FIRST = auto()


@contextmanager
def _database(use: Use = Use.READ) -> "Iterator[Session]":
    """Open a session on the database of the settings."""
    found = settings()
    with without_collecting():
        from interp.store import migrate
        from interp.store.db import revision
        from interp.store.db.engine import make_engine, snapshot, transaction

    if found.is_alone:
        make_home(found.home)
    if use == Use.FIRST:
        migrate.upgrade(found.database_url)
    engine = make_engine(found.database_url)
    try:
        revision.check(engine)
        with snapshot(engine) if use == Use.READ else transaction(engine) as session:
            yield session
    finally:
        engine.dispose()


def _note(session: "Session", action: str, key_id: str, status: int) -> None:
    from interp.store.access import audit as stored

    stored.write(session, stored.AuditEntry(action, f"/v1/keys/{key_id}", status, who=BY))


def _request(kind: Any, **given: Any) -> Any:
    """Return what the API would be sent; raises InputError for what it would refuse."""
    from pydantic import ValidationError

    from api.schemas.field_errors import field_errors

    try:
        return kind.model_validate(given)
    except ValidationError as error:
        found = field_errors(error.errors(), kind)
        raise InputError("; ".join(f"{item.field}: {item.message}" for item in found), cure="`--help` lists every option.") from error


def _all(page: Any, limit: int | None = None) -> list[dict[str, Any]]:
    """Return the rows of all pages, or the first `limit`, as JSON content."""
    rows: list[dict[str, Any]] = []
    cursor = None
    while limit is None or len(rows) < limit:
        found = page(cursor).model_dump(mode="json")
        rows += found["items"]
        cursor = found["next_cursor"]
        if cursor is None:
            break
    return rows if limit is None else rows[:limit]


def _print_usage(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    quota, usage = found["quota"], found["usage"]
    rows = (
        ("jobs at once", f"{usage['jobs']:,}", quota["max_jobs"]),
        ("features in 24 hours", f"{usage['features']:,}", quota["features_per_day"]),
        ("dollars in 30 days", f"{usage['dollars']:,.2f}", quota["dollars_per_month"]),
    )
    say(f"The key gl_{found['id']} of {found['name']}, with the scope {', '.join(found['scopes'])}.")
    print_table(out, QUOTAS, [[name, used, "no limit" if limit is None else f"{limit:,}"] for name, used, limit in rows])


def _key_row(key: dict[str, Any]) -> list[str | Text]:
    state = Text("revoked", "red") if key["revoked_at"] else Text("expired", "yellow") if _has_passed(key["expires_at"]) else Text("valid", "green")
    times = [(key[name] or "never")[:16].replace("T", " ") for name in ("last_used_at", "created_at")]
    return [key["prefix"], key["name"], " ".join(key["scopes"]), state, *times, key["created_by"]]


def _has_passed(moment: str | None) -> bool:
    return moment is not None and datetime.fromisoformat(moment) <= datetime.now(UTC)


def _entry_row(entry: dict[str, Any]) -> list[str | Text]:
    outcome = Text(f"{entry['status']} {entry['code'] or ''}".strip(), "red" if entry["status"] >= 400 else "green")
    return [entry["at"][:19].replace("T", " "), entry["who"] or "unknown", entry["action"], entry["target"], outcome, entry["address"] or ""]
