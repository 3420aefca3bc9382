"""Secrets of the environment: removed once they are read, and passed to child processes over a pipe.

A process's first environment stays readable as `/proc/<pid>/environ`, to every process of the same user, whatever is unset later: what is secret is
overwritten where it stands.
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
# Variables of other programs that their libraries read when they need them: moved, not removed.
FOREIGN = re.compile(r"(?i).*(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL).*")


def take_inherited() -> None:
    """Put the secrets that the parent process passed into the environment, for the next reading of the settings."""
    descriptor = os.environ.pop(DESCRIPTOR, "")
    if descriptor:
        with open(int(descriptor), "rb") as pipe:  # noqa: PTH123 - a descriptor is no path
            os.environ.update(json.loads(pipe.read()))


def conceal(own: Iterable[str]) -> None:
    """Remove our secrets from the environment, and move other programs' to where only this process sees them."""
    names = {name.upper() for name in own}
    for name, value in list(os.environ.items()):
        if name.upper() in names:
            _overwrite(name)
            del os.environ[name]
        elif FOREIGN.fullmatch(name):
            _overwrite(name)
            os.environ[name] = value


def start_child(command: Sequence[str], environment: Mapping[str, str], secrets: Mapping[str, str], **options: Any) -> "subprocess.Popen[bytes]":
    """Start a child process with additional variables; the secrets among them go over a pipe. `options` are those of `Popen`."""
    reading, writing = os.pipe()
    try:
        try:
            variables = os.environ | environment | {DESCRIPTOR: str(reading)}
            shown = {name: value for name, value in variables.items() if name not in secrets}
            process = subprocess.Popen(command, env=shown, pass_fds=(reading,), **options)
        finally:
            os.close(reading)
        # A child that ends at once reads nothing.
        with suppress(BrokenPipeError):
            _send(writing, json.dumps(dict(secrets)).encode())
    finally:
        os.close(writing)
    return process


def _send(descriptor: int, content: bytes) -> None:
    """Write all of it to a pipe."""
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]


def _overwrite(name: str) -> None:
    """Overwrite a variable's value with zeroes where the C library has it: for first variables, what `/proc/<pid>/environ` shows."""
    import ctypes

    library = ctypes.CDLL(None)
    library.getenv.restype = ctypes.c_void_p
    library.getenv.argtypes = [ctypes.c_char_p]
    place = library.getenv(os.fsencode(name))
    if place:
        ctypes.memset(place, 0, len(ctypes.string_at(place)))
