"""Convert errors that users or operators can fix; others are defects, with a traceback."""

import sys

from interp.domain.cleaning import one_line
from interp.domain.errors import DatabaseUnfitError, DiskFullError, GlossatorError, ServerUnreachableError, installation_codes
from interp.files.atomic import is_full

OURS = frozenset({"api", "glossator", "interp", "migrations", "workers"})
# Packages of the extra `models`; all others are of `service`.
MODELS = frozenset({"datasets", "safetensors", "tokenizers", "torch", "transformer_lens", "transformers"})
UNAUTHENTICATED = 401
KEY_CURE = "Set GLOSSATOR_API_KEY (or GLOSSATOR_API_KEY_FILE) to a key; where the server's database is, `glossator keys create` makes one."


class RefusedError(GlossatorError, code="refused", title="The server refused"):
    """The server refused the command's request."""


class PackageMissingError(GlossatorError, code="package-missing", title="A package is not installed", exit_status=2):
    """A command needs packages of an extra that is not installed."""


class FileUnusableError(GlossatorError, code="file-unusable", title="A file cannot be used"):
    """A file that a command reads or writes cannot be opened."""


def known(error: Exception) -> GlossatorError | None:
    """Return the error with its cure; None for a defect."""
    if isinstance(error, GlossatorError):
        return error
    if isinstance(error, ModuleNotFoundError) and error.name:
        return _of_installation(error.name.partition(".")[0])
    if is_full(error):
        return DiskFullError("The disk is full.", why=str(error), cure="Free some space, and give the command again.")
    if isinstance(error, OSError) and error.filename:
        return FileUnusableError(
            f"{error.filename} cannot be used.", why=error.strerror or str(error), cure="Give another path, or the right to use it."
        )
    return _of_client(error) or _of_database(error)


def _of_installation(module: str) -> PackageMissingError | None:
    """Name the extra of a missing package; None for a module of ours."""
    if module in OURS:
        return None
    extra = "models" if module in MODELS else "service"
    cure = f"Run: pip install 'glossator[{extra}]'. Commands that read and submit need only a server: set GLOSSATOR_API_URL."
    return PackageMissingError(f"This command needs the extra `{extra}`.", why=f"{module} is not installed.", cure=cure)


def _of_client(error: Exception) -> GlossatorError | None:
    """Convert an error of the client library, if this process has loaded it."""
    if "glossator" not in sys.modules:
        return None
    from glossator import ApiError, ClientError, UnreachableError

    if isinstance(error, UnreachableError):
        return ServerUnreachableError(error.what, why=one_line(error.why), cure=error.cure)
    if not isinstance(error, ClientError):
        return None
    cure = KEY_CURE if isinstance(error, ApiError) and error.status == UNAUTHENTICATED else error.cure
    refusal = RefusedError(error.what, why=error.why, cure=cure)
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
