"""Failures of a command that are the user's or a server's to mend, as errors with a cure; all others are defects, and keep their traceback."""

import sys

from interp.domain.errors import DatabaseUnfitError, DiskFullError, GlossatorError
from interp.files.atomic import is_full


class FileUnusableError(GlossatorError):
    """A file that a command reads or writes cannot be opened."""

    code, title = "file-unusable", "A file cannot be used"


def told(error: Exception) -> GlossatorError | None:
    """The error in words; None for a defect."""
    if isinstance(error, GlossatorError):
        return error
    if is_full(error):
        return DiskFullError("The disk is full.", why=str(error), cure="Free some space, and give the command again.")
    if isinstance(error, OSError) and error.filename:
        return FileUnusableError(
            f"{error.filename} cannot be used.", why=error.strerror or str(error), cure="Give another path, or the right to use it."
        )
    return _of_database(error)


def _of_database(error: Exception) -> GlossatorError | None:
    """An error of SQLAlchemy or Alembic, if this process has loaded them at all."""
    if "sqlalchemy" not in sys.modules:
        return None
    from alembic.util import CommandError
    from sqlalchemy.exc import DBAPIError

    from interp.store.db.engine import told as told_of_database

    if isinstance(error, CommandError):
        cure = "Install the version of Glossator that it was made with, or a newer one."
        return DatabaseUnfitError("The database was made by another version of Glossator.", why=str(error), cure=cure)
    return told_of_database(error) if isinstance(error, DBAPIError) else None
