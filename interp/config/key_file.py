"""Read an API key from a file that only its owner has rights to."""

import os
import stat
from pathlib import Path

from interp.domain.api_key import parsed
from interp.domain.errors import SettingsInvalidError

# A key and its line end.
MAX_BYTES = 256
OTHERS = stat.S_IRWXG | stat.S_IRWXO


def read_key(path: Path) -> str:
    """Return the key in a file; raises SettingsInvalidError, without its content."""
    try:
        with path.open("rb") as file:
            mode, content = os.fstat(file.fileno()).st_mode, file.read(MAX_BYTES)
    except OSError as error:
        raise _unusable(path, error.strerror or str(error), "Write the key there, or set GLOSSATOR_API_KEY.") from error
    if mode & OTHERS:
        raise _unusable(path, "Other users have rights to it.", f"Run: chmod 600 {path}")
    key = content.decode("ascii", "replace").strip()
    if parsed(key) is None:
        raise _unusable(path, "What it holds is no key.", "Write a key of `glossator keys create` there, and nothing else.")
    return key


def _unusable(path: Path, why: str, cure: str) -> SettingsInvalidError:
    return SettingsInvalidError(f"GLOSSATOR_API_KEY_FILE={path} cannot be used.", why=why, cure=cure)
