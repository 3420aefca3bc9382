"""Tasks that do what a hostile file could make a reader do, for processes with limits."""

import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Never

from pydantic import TypeAdapter

from interp.domain.errors import FileMissingError
from interp.security.sandbox import Task

HERE = "tests.security.apart"


class UnheardError(FileMissingError):
    """A kind of error that no other process knows."""


def _look(_given: str) -> dict[str, Any]:
    opened = [str(descriptor.readlink()) for descriptor in Path("/proc/self/fd").iterdir() if descriptor.is_symlink()]
    return {"pid": os.getpid(), "variables": Path("/proc/self/environ").read_text(encoding="utf-8").split("\0"), "opened": opened, "path": sys.path}


def _take_memory(given: str) -> int:
    return len(b"x" * int(given))


def _end(given: str) -> Never:
    os.kill(os.getpid(), signal.Signals[given])
    raise AssertionError(f"{given} did not end it")


def _spin(given: str) -> Never:
    """For ever, after it has written down which process it is."""
    if given:
        draft = Path(f"{given}.draft")
        draft.write_text(str(os.getpid()), encoding="ascii")
        draft.rename(given)
    while True:
        pass


def _hang(given: str) -> Never:
    if given:
        Path(given).write_text(str(os.getpid()), encoding="ascii")
    while True:
        time.sleep(60)


def _refuse(given: str) -> Never:
    raise UnheardError(given, why="It is a test.", cure="None.", place=[1, "two"])


def _break(given: str) -> Never:
    raise ZeroDivisionError(given)


def _echo(given: str) -> str:
    return given


def is_gone(pid: int) -> bool:
    """Whether the process has ended; one that nobody has asked after yet has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


TEXT, ANY = TypeAdapter(str), TypeAdapter(Any)
LOOK: Task[str, Any] = Task(f"{HERE}:LOOK", _look, TEXT, ANY)
TAKE_MEMORY: Task[str, Any] = Task(f"{HERE}:TAKE_MEMORY", _take_memory, TEXT, ANY)
END: Task[str, Any] = Task(f"{HERE}:END", _end, TEXT, ANY)
SPIN: Task[str, Any] = Task(f"{HERE}:SPIN", _spin, TEXT, ANY)
HANG: Task[str, Any] = Task(f"{HERE}:HANG", _hang, TEXT, ANY)
REFUSE: Task[str, Any] = Task(f"{HERE}:REFUSE", _refuse, TEXT, ANY)
BREAK: Task[str, Any] = Task(f"{HERE}:BREAK", _break, TEXT, ANY)
ECHO: Task[str, str] = Task(f"{HERE}:ECHO", _echo, TEXT, TEXT)


@dataclass(frozen=True)
class Endless(Task[Any, Any]):
    """Stands for a look at files that never ends, and writes down in `place` which process it is."""

    place: str = ""

    def request(self, given: Any) -> bytes:
        return SPIN.request(self.place)


def endless(place: Path) -> Endless:
    return Endless(SPIN.name, SPIN.function, ANY, ANY, str(place))


@dataclass(frozen=True)
class Greedy(Task[Any, Any]):
    """Stands for a look at files that take a GiB."""

    def request(self, given: Any) -> bytes:
        return TAKE_MEMORY.request(str(1 << 30))


GREEDY = Greedy(TAKE_MEMORY.name, TAKE_MEMORY.function, ANY, ANY)
