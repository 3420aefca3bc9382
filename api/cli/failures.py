"""Convert errors that users or operators can fix; others are defects, with a traceback."""

import sys

from interp.domain.cleaning import one_line
from interp.domain.errors import DatabaseUnfitError, DiskFullError, GlossatorError, ServerUnreachableError, installation_codes
from interp.files.atomic import is_full


class RefusedError(GlossatorError, code="refused", title="The server refused"):
    """The server refused the command's request."""


class FileUnusableError(GlossatorError, code="file-unusable", title="A file cannot be used"):
    """A file that a command reads or writes cannot be opened."""


def known(error: Exception) -> GlossatorError | None:
    """Return the error with its cure; None for a defect."""
    if isinstance(error, GlossatorError):
        return error
    if is_full(error):
        return DiskFullError("The disk is full.", why=str(error), cure="Free some space, and give the command again.")
    if isinstance(error, OSError) and error.filename:
        return FileUnusableError(
            f"{error.filename} cannot be used.", why=error.strerror or str(error), cure="Give another path, or the right to use it."
        )
    return _of_client(error) or _of_database(error)


def _of_client(error: Exception) -> GlossatorError | None:
    """Convert an error of the client library, if this process has loaded it."""
    if "glossator" not in sys.modules:
        return None
    from glossator import ApiError, ClientError, UnreachableError

    if isinstance(error, UnreachableError):
        return ServerUnreachableError(error.what, why=one_line(error.why), cure=error.cure)
    if not isinstance(error, ClientError):
        return None
    refusal = RefusedError(error.what, why=error.why, cure=error.cure)
    if isinstance(error, ApiError) and error.code in installation_codes():
        refusal.exit_status = 2
    return refusal


def _of_database(error: Exception) -> GlossatorError | None:
    """Convert an error of SQLAlchemy or Alembic, if this process has loaded them."""
    if "sqlalchemy" not in sys.modules:
        return None
    from alembic.util import CommandError

    from interp.store.db import engine
    from interp.store.db.engine import DBAPIError

    if isinstance(error, CommandError):
        cure = "Install the version of Glossator that it was made with, or a newer one."
        return DatabaseUnfitError("The database was made by another version of Glossator.", why=str(error), cure=cure)
    return engine.database_error(error) if isinstance(error, DBAPIError) else None
