"""Counts that read a row of each feature. They are kept a hundred times as long as they took: at most a hundredth of a core goes into them."""

import threading
import time
from dataclasses import dataclass

from sqlalchemy.orm import Session

from interp.store import entry
from interp.store.tables import Dictionary

SHARE = 100


@dataclass(frozen=True, slots=True)
class Counted:
    """Features by state, and until when that may be said."""

    states: dict[str, int]
    until: float


class StateCounts:
    """The features of each dictionary, counted by state. Of a dictionary of a million features they may be some ten seconds old."""

    def __init__(self) -> None:
        self._locks: dict[int, threading.Lock] = {}
        self._known: dict[int, Counted] = {}

    def of(self, session: Session, dictionary: Dictionary) -> dict[str, int]:
        """How many features are active, rare and dead."""
        # Who comes while they are counted waits for that.
        with self._locks.setdefault(dictionary.id, threading.Lock()):
            known = self._known.get(dictionary.id)
            if known is None or known.until < time.monotonic():
                known = self._known[dictionary.id] = _count(session, dictionary)
        return known.states


def _count(session: Session, dictionary: Dictionary) -> Counted:
    began = time.monotonic()
    states = entry.states(session, dictionary)
    ended = time.monotonic()
    return Counted(states, ended + SHARE * (ended - began))
