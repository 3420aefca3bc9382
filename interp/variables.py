"""Names of environment variables: which are settings, and which were meant to be."""

import re
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import TextIO

from interp.errors import SettingsInvalid

PREFIX = "GLOSSATOR_"
# Read by docker-compose.yml, the tests and the benchmarks; what Kubernetes sets for each Service of the namespace.
OTHERS = re.compile(r"(BIND|DATA|TEST_.*|BENCH_.*|(.*_)?(SERVICE_(HOST|PORT.*)|PORT(_\d+_(TCP|UDP|SCTP).*)?))")
_warned: set[str] = set()


def variable_of(field: str) -> str:
    """The variable of a setting. Settings that other programs share have an alias, which is a variable already."""
    return field if field.isupper() else PREFIX + field.upper()


def check_names(environment: Mapping[str, str], fields: Collection[str], warn_to: TextIO) -> None:
    """Raises SettingsInvalid for a variable that is nearly a setting's. One that is like none is warned of, once a process."""
    known = {variable_of(field) for field in fields}
    parts = {name.removeprefix(PREFIX): name for name in known if name.startswith(PREFIX)}
    for name in sorted(name.upper() for name in environment):
        if not name.startswith(PREFIX) or name in known or OTHERS.fullmatch(name.removeprefix(PREFIX)):
            continue
        if near := get_close_matches(name.removeprefix(PREFIX), parts, n=2, cutoff=0.7):
            meant = " or ".join(parts[part] for part in near)
            raise SettingsInvalid(f"{name} is no setting.", why="Nothing reads it.", cure=f"Did you mean {meant}? Rename or unset it.")
        if name not in _warned:
            _warned.add(name)
            warn_to.write(f"warning: {name} is no setting of Glossator; nothing reads it. docs/deploy.md lists the settings.\n")


def without_password(url: str) -> str:
    """The URL with `***` for its password."""
    return re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", url)
