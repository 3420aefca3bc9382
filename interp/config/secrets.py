"""Secrets of the environment: removed after reading, and passed to children by pipe.

All processes of the same user can read a process's first environment as `/proc/<pid>/environ`, whatever is unset later, so secrets are overwritten in
place.
"""

import json
import os
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

# The descriptor from which a child reads its secrets: a JSON object of variables.
DESCRIPTOR = "GLOSSATOR_SECRETS_FD"
# Variables of other programs, which their libraries read later: moved, not removed.
FOREIGN = re.compile(r"(?i).*(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL).*")


def take_inherited() -> None:
    """Put the parent process's secrets into the environment, for the next reading of settings."""
    descriptor = os.environ.pop(DESCRIPTOR, "")
    if descriptor:
        with open(int(descriptor), "rb") as pipe:  # noqa: PTH123 - a descriptor is not a path
            os.environ.update(json.loads(pipe.read()))


def conceal(own: Iterable[str]) -> None:
    """Remove our secrets from the environment; move other programs' to a private place."""
    names = {name.upper() for name in own}
    for name, value in list(os.environ.items()):
        if name.upper() in names:
            _overwrite(name)
            del os.environ[name]
        elif FOREIGN.fullmatch(name):
            _overwrite(name)
            os.environ[name] = value


def start_child(command: Sequence[str], environment: Mapping[str, str], secrets: Mapping[str, str], **options: Any) -> "subprocess.Popen[bytes]":
    """Start a child with additional variables, secrets by pipe, and `options` of `Popen`."""
    reading, writing = os.pipe()
    # A child that ends at once reads nothing.
    with suppress(BrokenPipeError), os.fdopen(writing, "wb") as pipe:
        try:
            variables = os.environ | environment | {DESCRIPTOR: str(reading)}
            shown = {name: value for name, value in variables.items() if name not in secrets}
            process = subprocess.Popen(command, env=shown, pass_fds=(reading,), **options)
        finally:
            os.close(reading)
        pipe.write(json.dumps(dict(secrets)).encode())
    return process


def _overwrite(name: str) -> None:
    """Overwrite a variable's value with zeroes in the C library, as `/proc/<pid>/environ` shows it."""
    import ctypes

    library = ctypes.CDLL(None)
    library.getenv.restype = ctypes.c_void_p
    library.getenv.argtypes = [ctypes.c_char_p]
    place = library.getenv(os.fsencode(name))
    if place:
        ctypes.memset(place, 0, len(ctypes.string_at(place)))
