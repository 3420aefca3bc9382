"""Create a temporary PostgreSQL database, for tests, benches and the demo in many processes."""

import contextlib
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import NullPool, create_engine, make_url, text
from sqlalchemy.exc import DBAPIError, OperationalError

from interp.domain.errors import ServerUnreachableError

LEAST_VERSION = 15
CONNECT_SECONDS = 5


@contextmanager
def own_database(server_url: str) -> Iterator[str]:
    """Yield the URL of a new, empty database, which is dropped in the end.

    Raises ServerUnreachableError where no server answers, it is too old, or its user may create no database.
    """
    server = make_url(server_url).set(drivername="postgresql+psycopg")
    name = f"glossator_{uuid.uuid4().hex[:12]}"
    admin = create_engine(server, isolation_level="AUTOCOMMIT", poolclass=NullPool, connect_args={"connect_timeout": CONNECT_SECONDS})
    shown = server.render_as_string()
    try:
        with admin.connect() as connection:
            version = int(connection.execute(text("SHOW server_version_num")).scalar_one()) // 10_000
            if version < LEAST_VERSION:
                cure = f"Use PostgreSQL {LEAST_VERSION} or newer."
                raise ServerUnreachableError(f"The server at {shown} is too old.", why=f"It is PostgreSQL {version}.", cure=cure)
            connection.execute(text(f"CREATE DATABASE {name}"))
    except DBAPIError as error:
        cure = "Name a server that answers, with a user who may create databases."
        raise ServerUnreachableError(f"No database can be made at {shown}.", why=str(error.orig), cure=cure) from error
    try:
        yield server.set(database=name).render_as_string(hide_password=False)
    finally:
        # The server may be gone by then.
        with contextlib.suppress(OperationalError), admin.connect() as connection:
            connection.execute(text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
