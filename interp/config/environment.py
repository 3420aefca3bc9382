"""Check of environment variables' names against those of the settings."""

import re
from collections.abc import Collection, Mapping
from difflib import SequenceMatcher, get_close_matches
from typing import TextIO

from pydantic import AliasChoices
from pydantic.fields import FieldInfo

from interp.domain.cleaning import visible
from interp.domain.errors import SettingsInvalidError

PREFIX = "GLOSSATOR_"
# GLOSATOR and GLOSSATR are typing errors; GLOSSARY is a word.
ALIKE = 0.87
# Variables of docker-compose.yml, the tests, the benchmarks, and Kubernetes (per Service of the namespace).
OTHERS = re.compile(r"(BIND|DATA|TEST_.*|BENCH_.*|(.*_)?(SERVICE_(HOST|PORT.*)|PORT_\d+_(TCP|UDP|SCTP).*))")
KUBERNETES_PORT = re.compile(r"(tcp|udp|sctp)://.*")
# Settings that are gone, with what to do instead.
REMOVED = {
    "GLOSSATOR_I_KNOW_THERE_IS_NO_LOGIN": "Unset it. A server that other machines reach needs a key: make one with `glossator keys create`.",
}
_warned: set[str] = set()


def variable_of(field: str) -> str:
    """Return the variable of a setting; an alias shared with other programs is already one."""
    return field if field.isupper() else PREFIX + field.upper()


def variables_of(name: str, field: FieldInfo) -> tuple[str, ...]:
    """Return all variables of a setting, the one that comes first first."""
    alias = field.validation_alias
    return tuple(str(choice) for choice in alias.choices) if isinstance(alias, AliasChoices) else (variable_of(name),)


def check_names(environment: Mapping[str, str], fields: Collection[str], warn_to: TextIO) -> None:
    """Raise SettingsInvalidError for misspelt names; warn once of other unknown names."""
    known = {variable_of(field) for field in fields}
    parts = {name.removeprefix(PREFIX): name for name in known if name.startswith(PREFIX)}
    for name, value in sorted((name.upper(), value) for name, value in environment.items()):
        if name in REMOVED:
            raise SettingsInvalidError(f"{name} is no setting any more.", why="Nothing reads it.", cure=REMOVED[name])
        if name in known or not _is_meant_for_us(name, value):
            continue
        if near := get_close_matches(name.partition("_")[2], parts, n=2, cutoff=0.7):
            meant = " or ".join(parts[part] for part in near)
            raise SettingsInvalidError(f"{name} is no setting.", why="Nothing reads it.", cure=f"Did you mean {meant}? Rename or unset it.")
        if name.startswith(PREFIX) and name not in _warned:
            _warned.add(name)
            warn_to.write(f"warning: {visible(name)} is no setting of Glossator; nothing reads it. docs/deploy.md lists the settings.\n")


def _is_meant_for_us(name: str, value: str) -> bool:
    """Return whether the name resembles a setting's, and is not another program's."""
    first, _, rest = name.partition("_")
    if OTHERS.fullmatch(rest) or (name.endswith("_PORT") and KUBERNETES_PORT.fullmatch(value)):
        return False
    return first == PREFIX.rstrip("_") or (bool(rest) and SequenceMatcher(None, first, PREFIX.rstrip("_")).ratio() >= ALIKE)


def without_password(url: str) -> str:
    """Return the URL with its password replaced by `***`."""
    return re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", url)
