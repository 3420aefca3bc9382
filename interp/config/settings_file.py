"""Settings of a file, `glossator.toml`: where it is, and what is in it."""

import os
import re
import stat
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from interp.config.environment import variable_of
from interp.domain.errors import SettingsInvalidError

NAME = "glossator.toml"
VARIABLE = "GLOSSATOR_CONFIG"
MAX_BYTES = 1 << 20
# A key of the environment is not sent to an address that a file names: the file may have come with a folder of someone else.
KEYS_OF_ADDRESS = {"llm_base_url": ("llm_api_key",), "api_url": ("api_key", "api_key_file")}


@dataclass(frozen=True, slots=True)
class SettingsFile:
    """The settings of a file, with their lines; without a file both are empty."""

    path: Path | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    lines: Mapping[str, int] = field(default_factory=dict)

    def place(self, name: str) -> str:
        """Return the file and line of a setting."""
        return f"{self.path}:{self.lines[name]}" if name in self.lines else str(self.path)


def read(environment: Mapping[str, str], variables: Mapping[str, Collection[str]]) -> SettingsFile:
    """Return the file in force, without the settings that the environment has.

    `variables` are the names of each setting in the environment. Raises SettingsInvalidError for a file that cannot be used.
    """
    path = find(environment)
    if path is None:
        return SettingsFile()
    text = _text(path)
    try:
        values = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise _unusable(path, f"It is no TOML: {error}") from error
    found = SettingsFile(path, values, _lines(text))
    _check_names(found, variables.keys() - {"config"})
    given = {name for name in values if _is_given(environment, variables[name])}
    for address in KEYS_OF_ADDRESS.keys() & values.keys() - given:
        key = KEYS_OF_ADDRESS[address][0]
        if key not in values and any(_is_given(environment, variables[name]) for name in KEYS_OF_ADDRESS[address]):
            cure = f'Write `{key} = "..."` there, too ("" for none), or set {variable_of(address)} in place of it.'
            raise _unusable(path, f"It names `{address}`, whose key would be the environment's: a file does not say where that is sent.", cure)
    return SettingsFile(path, {name: value for name, value in values.items() if name not in given}, found.lines)


def find(environment: Mapping[str, str]) -> Path | None:
    """Return the file of GLOSSATOR_CONFIG, else the working folder's, else the user's."""
    named = environment.get(VARIABLE)
    if named is not None:
        return Path(named).expanduser().absolute() if named else None
    return next((path for path in (Path.cwd() / NAME, *_of_user()) if path.exists() and _is_trusted(path)), None)


def _of_user() -> list[Path]:
    try:
        return [Path.home() / ".config" / NAME]
    except RuntimeError:  # a user without a home
        return []


def _is_trusted(path: Path) -> bool:
    """Return whether only this user and the system write the file; raises SettingsInvalidError if not."""
    found = path.stat()
    if found.st_uid not in (os.geteuid(), 0) or found.st_mode & stat.S_IWOTH:
        cure = f"Change its owner or rights, or name it: {VARIABLE}={path}. An empty {VARIABLE} reads none."
        raise _unusable(path, "Another user owns it or may write it.", cure)
    return True


def _text(path: Path) -> str:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise _unusable(path, "It is no file.")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise _unusable(path, f"It is larger than {MAX_BYTES} bytes.")
        return content.decode()
    except OSError as error:
        raise _unusable(path, error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise _unusable(path, "It is no UTF-8.") from error


def _check_names(found: SettingsFile, known: Collection[str]) -> None:
    for name in found.values:
        if name not in known:
            near = get_close_matches(name.lower().removeprefix("glossator_"), known, n=2, cutoff=0.6)
            cure = f"Did you mean {' or '.join(f'`{one}`' for one in near)}?" if near else "`glossator config` lists all settings."
            raise SettingsInvalidError(f"{found.place(name)}: {name!r} is no setting.", why="A file holds settings alone.", cure=cure)


def _lines(text: str) -> dict[str, int]:
    """Return the first line of each top-level name, as far as simple lines tell."""
    lines: dict[str, int] = {}
    is_top = True
    for number, line in enumerate(text.splitlines(), start=1):
        table = re.match(r"\s*\[\s*\"?([A-Za-z0-9_-]+)", line)
        key = re.match(r"\s*\"?([A-Za-z0-9_-]+)\"?\s*[=.]", line) if is_top else None
        if found := table or key:
            lines.setdefault(found[1], number)
        is_top = is_top and table is None
    return lines


def _is_given(environment: Mapping[str, str], variables: Collection[str]) -> bool:
    names = {name.upper() for name in environment}
    return any(variable.upper() in names for variable in variables)


def _unusable(path: Path, why: str, cure: str = "") -> SettingsInvalidError:
    return SettingsInvalidError(f"The settings in {path} cannot be used.", why=why, cure=cure or f"Mend it, or set {VARIABLE} to another file.")
