"""Counts that read a row of each feature. They are kept a hundred times as long as they took: at most a hundredth of a core goes into them."""

import threading
import time
from dataclasses import dataclass

from interp.store.db.engine import Session
from interp.store.listings import feature_detail

SHARE = 100


@dataclass(frozen=True, slots=True)
class CachedCounts:
    """Features by state, and until when that may be said."""

    states: dict[str, int]
    until: float


class StateCounts:
    """The features of each run, counted by state. Of a run of a million features they may be some ten seconds old."""

    def __init__(self) -> None:
        self._locks: dict[int, threading.Lock] = {}
        self._known: dict[int, CachedCounts] = {}

    def of(self, session: Session, run_id: int) -> dict[str, int]:
        """How many features are active, rare and dead."""
        # Who comes while they are counted waits for that.
        with self._locks.setdefault(run_id, threading.Lock()):
            known = self._known.get(run_id)
            if known is None or known.until < time.monotonic():
                known = self._known[run_id] = _count(session, run_id)
        return known.states


def _count(session: Session, run_id: int) -> CachedCounts:
    began = time.monotonic()
    states = feature_detail.states(session, run_id)
    ended = time.monotonic()
    return CachedCounts(states, ended + SHARE * (ended - began))
