"""Names of environment variables: which are settings, and which were meant to be."""

import re
from collections.abc import Collection, Mapping
from difflib import SequenceMatcher, get_close_matches
from typing import TextIO

from interp.domain.cleaning import visible
from interp.domain.errors import SettingsInvalidError

PREFIX = "GLOSSATOR_"
# GLOSATOR and GLOSSATR are slips; GLOSSARY is a word.
ALIKE = 0.87
# Read by docker-compose.yml, the tests and the benchmarks; what Kubernetes sets for each Service of the namespace.
OTHERS = re.compile(r"(BIND|DATA|TEST_.*|BENCH_.*|(.*_)?(SERVICE_(HOST|PORT.*)|PORT_\d+_(TCP|UDP|SCTP).*))")
KUBERNETES_PORT = re.compile(r"(tcp|udp|sctp)://.*")
_warned: set[str] = set()


def variable_of(field: str) -> str:
    """The variable of a setting. Settings that other programs share have an alias, which is a variable already."""
    return field if field.isupper() else PREFIX + field.upper()


def check_names(environment: Mapping[str, str], fields: Collection[str], warn_to: TextIO) -> None:
    """Raises SettingsInvalid for a variable that is nearly a setting's. One that is like none is warned of, once a process."""
    known = {variable_of(field) for field in fields}
    parts = {name.removeprefix(PREFIX): name for name in known if name.startswith(PREFIX)}
    for name, value in sorted((name.upper(), value) for name, value in environment.items()):
        if name in known or not _is_meant_for_us(name, value):
            continue
        if near := get_close_matches(name.partition("_")[2], parts, n=2, cutoff=0.7):
            meant = " or ".join(parts[part] for part in near)
            raise SettingsInvalidError(f"{name} is no setting.", why="Nothing reads it.", cure=f"Did you mean {meant}? Rename or unset it.")
        if name.startswith(PREFIX) and name not in _warned:
            _warned.add(name)
            warn_to.write(f"warning: {visible(name)} is no setting of Glossator; nothing reads it. docs/deploy.md lists the settings.\n")


def _is_meant_for_us(name: str, value: str) -> bool:
    """Whether the name begins as a setting's does, or nearly so, and neither Kubernetes nor another of our programs uses it."""
    first, _, rest = name.partition("_")
    if OTHERS.fullmatch(rest) or (name.endswith("_PORT") and KUBERNETES_PORT.fullmatch(value)):
        return False
    return first == PREFIX.rstrip("_") or (bool(rest) and SequenceMatcher(None, first, PREFIX.rstrip("_")).ratio() >= ALIKE)


def without_password(url: str) -> str:
    """The URL with `***` for its password."""
    return re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", url)
