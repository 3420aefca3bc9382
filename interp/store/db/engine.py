"""Create engines, and open transactions (every write) and snapshots (every plain read)."""

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import URL, Connection, create_engine, event
from sqlalchemy import Engine as Engine
from sqlalchemy import make_url as make_url
from sqlalchemy.exc import ArgumentError, InterfaceError, OperationalError
from sqlalchemy.exc import DBAPIError as DBAPIError
from sqlalchemy.exc import SQLAlchemyError as SQLAlchemyError
from sqlalchemy.orm import Session as Session

from interp.config.environment import without_password
from interp.domain.errors import DatabaseUnfitError, DatabaseUnreachableError, DiskFullError, GlossatorError, SettingsInvalidError, printable
from interp.store.db.dialect import is_disk_full

WRITE_URL = "Write GLOSSATOR_DATABASE_URL as postgresql://user:password@host:5432/name or sqlite:////absolute/path.db."
BUSY_SECONDS = 60
CONNECT_SECONDS = 10
# Without these, a silent network would be noticed only after a quarter of an hour.
KEEPALIVE = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 30_000}
# The server ends the session of a process that is stuck in a transaction, and with it the locks that others wait for.
IDLE = {"idle_in_transaction_session_timeout": 15_000}
# Listings forbid plans by a huge cost, for which PostgreSQL would compile a statement of 1 ms for 150 ms.
NOT_COMPILED = {"jit": "off"}
# Busy, locked, file error, cannot open. SQLite's driver raises OperationalError for a wrong statement as well.
SQLITE_TRANSIENT = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN})
# The key of the placeholder for a JSON value that cannot be read.
UNREADABLE = "unreadable"
# Permanent errors, with what to do.
SQLITE_UNFIT = {
    sqlite3.SQLITE_NOTADB: (
        "The database is no SQLite database.",
        "Put its own file back, or set GLOSSATOR_DATABASE_URL (GLOSSATOR_HOME) elsewhere.",
    ),
    sqlite3.SQLITE_CORRUPT: ("The database is damaged.", "Put a copy of it back, or set GLOSSATOR_DATABASE_URL (GLOSSATOR_HOME) elsewhere."),
    sqlite3.SQLITE_READONLY: ("The database cannot be written to.", "Give this user the right to write its file and folder, or set GLOSSATOR_HOME."),
    sqlite3.SQLITE_PERM: ("The database may not be opened.", "Give this user the right to its file and folder, or set GLOSSATOR_HOME."),
}
FREE_SPACE = "Free some space: jobs under way go on by themselves, what was refused is to be sent again."
# PostgreSQL refuses this user.
REFUSED = re.compile(r"does not exist|authentication failed|no password supplied|no pg_hba\.conf entry|not permitted to log in|permission denied")


class CommitHook(Protocol):
    """Calls before and after each commit of the current context, such as a request's.

    `before_commit` may write, and fails the transaction by raising.
    """

    def before_commit(self, session: Session) -> None: ...

    def after_commit(self) -> None: ...


COMMIT_HOOK: ContextVar[CommitHook | None] = ContextVar("commit_hook", default=None)
READING = {"glossator_reading": True, "postgresql_readonly": True}


def make_engine(url: str) -> Engine:
    """Return an engine for many processes; create the folder of a SQLite file.

    Raises SettingsInvalidError for an unreadable URL, and DatabaseUnreachableError where the folder cannot be made.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise SettingsInvalidError(f"{without_password(url)!r} is no URL of a database.", why=str(error).splitlines()[0], cure=WRITE_URL) from error
    if parsed.get_backend_name() == "sqlite":
        return _sqlite_engine(url, parsed.database)
    if parsed.get_backend_name() == "postgresql" and parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    return _created(parsed, pool_pre_ping=True, pool_size=10, max_overflow=20, connect_args=_postgres_arguments())


def _created(url: URL, **options: Any) -> Engine:
    try:
        return create_engine(url, **options)
    except (ArgumentError, ImportError, TypeError, ValueError) as error:
        shown = url.render_as_string(hide_password=True)
        raise SettingsInvalidError(f"{shown!r} cannot be opened.", why=str(error).splitlines()[0], cure=WRITE_URL) from error


def database_error(error: DBAPIError) -> GlossatorError | None:
    """Return the database's error for a user to read; None for a program defect."""
    if is_disk_full(error):
        return DiskFullError("The database cannot grow.", why=_first_line(error), cure=FREE_SPACE)
    code = getattr(error.orig, "sqlite_errorcode", None)
    if code is not None and code & 0xFF in SQLITE_UNFIT:
        what, cure = SQLITE_UNFIT[code & 0xFF]
        return DatabaseUnfitError(what, why=f"SQLite says: {_first_line(error)}.", cure=cure)
    if not is_transient(error):
        return None
    if REFUSED.search(_first_line(error)):
        what = "The database's server refuses the connection."
        cure = "Make the database or the user (createdb, createuser), or correct user, password and name in GLOSSATOR_DATABASE_URL."
    else:
        what = "The database does not answer."
        cure = "Start it, or set GLOSSATOR_DATABASE_URL to where it is; `glossator doctor` looks at both."
    return DatabaseUnreachableError(what, why=_first_line(error), cure=cure)


def _first_line(error: DBAPIError) -> str:
    return (str(error.orig).strip() or type(error.orig).__name__).splitlines()[0]


def is_transient(error: BaseException) -> bool:
    """Return whether a server, network or disk error may pass by itself."""
    if isinstance(error, DBAPIError):
        code = getattr(error.orig, "sqlite_errorcode", None)
        if code is not None:
            return code & 0xFF in SQLITE_TRANSIENT
        return error.connection_invalidated or isinstance(error, OperationalError | InterfaceError)
    return isinstance(error, DiskFullError)


def _postgres_arguments() -> dict[str, Any]:
    of_server = IDLE | NOT_COMPILED | {name if name.startswith("tcp") else f"tcp_{name}": value for name, value in KEEPALIVE.items()}
    options = " ".join(f"-c {name}={value}" for name, value in of_server.items())
    return KEEPALIVE | {"connect_timeout": CONNECT_SECONDS, "client_encoding": "utf8", "options": options}


def _sqlite_engine(url: str, database: str | None) -> Engine:
    if database and database != ":memory:":
        try:
            Path(database).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            cure = "Set GLOSSATOR_HOME or GLOSSATOR_DATABASE_URL to where this user may write."
            raise DatabaseUnreachableError(f"The folder of {database} cannot be made.", why=error.strerror or str(error), cure=cure) from error
    engine = _created(make_url(url), connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False}, json_deserializer=read_json)
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def read_json(text: str | float) -> Any:
    """Parse a stored JSON value, or return why it cannot be read (SQLite validates none)."""
    if not isinstance(text, str):
        return text  # SQLite keeps what looks like a number as one.
    try:
        value = STORED_JSON.decode(text)
    except (ValueError, RecursionError) as error:
        return {UNREADABLE: f"{type(error).__name__}: what is stored is no JSON."}
    return printable(value) if "\\ud" in text.lower() else value


def _nothing(_constant: str) -> None:
    """Read NaN and the infinities, which are not JSON, as None."""


# Made once: it takes longer to make than to read a small value.
STORED_JSON = json.JSONDecoder(parse_constant=_nothing)


def _configure_sqlite(connection: Any, _record: Any) -> None:
    # The driver's own BEGIN comes late and takes no write lock; ours is emitted by `_begin_sqlite`.
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", f"busy_timeout={BUSY_SECONDS * 1000}"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and writes later cannot wait for the write lock (SQLITE_BUSY at once), so writers take it first.
    reading = connection.get_execution_options().get("glossator_reading", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


@contextmanager
def transaction(engine: Engine) -> Iterator[Session]:
    """Open a session that commits at the end, or rolls everything back.

    Keep it short: on SQLite it holds the write lock. Raises DiskFullError.
    """
    try:
        hook = COMMIT_HOOK.get()
        with Session(engine, expire_on_commit=False) as session, session.begin():
            yield session
            if hook is not None:
                hook.before_commit(session)
        if hook is not None:
            hook.after_commit()
    except DBAPIError as error:
        fault = database_error(error)
        if isinstance(fault, DiskFullError):
            raise fault from error
        raise


@contextmanager
def snapshot(engine: Engine) -> Iterator[Session]:
    """Open a read-only session, on SQLite of one database state; no writer waits."""
    with Session(engine.execution_options(**READING), expire_on_commit=False) as session:
        yield session
