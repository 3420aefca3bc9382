"""Find the labels nearest to a code, in memory or by pgvector's index.

Codes in memory take 80 bytes a label (80 MB for a million). They are read at the first search of a process, completed as labels come, and given
back after `IDLE_SECONDS` without a search. To compare all of them is exact, and up to `MOST_IN_MEMORY` sooner done than a walk of the index
(`python -m benches.searching`).
"""

import threading
import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import String, bindparam, func, select, text
from sqlalchemy.orm import Session

from interp.search import codes
from interp.search.codes import Codes
from interp.store.db.dialect import has_code_index, with_wide_search
from interp.store.db.fixed_rows import fixed_rows
from interp.store.db.tables import LabelVectorRow

IDLE_SECONDS = 600.0
# Labels with a vector beyond which the index is used, where there is one.
MOST_IN_MEMORY = 4_000_000
# A vector's id and label, and its code.
ROW = np.dtype([("id", "<i8"), ("label_id", "<i8"), ("code", f"V{codes.CODE_BYTES}")])
# Vectors read by one statement: 80 MB.
PORTION = 1_000_000
# Ids of rows that are read again with new ones: writers commit in another order than they took their ids.
OVERLAP = 10_000
# The expression that migration 0024 has indexed. A scan that goes on (`with_wide_search`) gives rows in nearly their order only,
# which the planner does not know: `+ 0` makes it sort.
DISTANCE = "(('x' || encode(code, 'hex'))::bit(512)) <~> (('x' || encode(CAST(:code AS bytea), 'hex'))::bit(512))"
BY_INDEX = text(
    f"SELECT label_id FROM (SELECT label_id, embedder, {DISTANCE} AS distance FROM label_vectors ORDER BY {DISTANCE} LIMIT :count) AS nearest "
    "WHERE embedder = :embedder ORDER BY distance + 0, label_id"
).bindparams(bindparam("embedder", type_=String()))


@dataclass(frozen=True, slots=True)
class Nearest:
    """Labels, the nearest by code first; `are_all` says that no other label has a vector."""

    label_ids: list[int]
    are_all: bool


@dataclass
class LabelCodes:
    """The codes of one database's labels, for all threads of a process."""

    _lock: threading.Lock = field(default_factory=threading.Lock)
    _embedder: str = ""
    _last: int = 0
    _vector_ids: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    _label_ids: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    _codes: Codes = field(default_factory=lambda: codes.codes_from([]))
    _used: float = 0.0
    _timer: threading.Timer | None = None

    def nearest(self, session: Session, embedder: str, code: bytes, count: int, most: int = 0) -> Nearest:
        """Return up to `count` labels.

        Codes in memory give up to `most`, which cost no more.
        """
        newest = _newest(session)
        if _is_indexed(session, newest):
            return by_index(session, embedder, code, count)
        label_ids, found = self._kept(session, embedder, newest)
        most = max(count, most)
        return Nearest(label_ids[codes.nearest(found, code, most)].tolist(), found.shape[1] <= most)

    def load(self, session: Session, embedder: str) -> None:
        """Read the codes that a search would read, unless it uses the index."""
        newest = _newest(session)
        if not _is_indexed(session, newest):
            self._kept(session, embedder, newest)

    def clear(self) -> None:
        """Give the memory back."""
        with self._lock:
            self._forget()

    def _forget(self) -> None:
        self._embedder, self._last = "", 0
        self._vector_ids, self._label_ids, self._codes = np.zeros(0, np.int64), np.zeros(0, np.int64), codes.codes_from([])

    def _kept(self, session: Session, embedder: str, newest: int) -> tuple[NDArray[np.int64], Codes]:
        """Return label ids int64 [N] and codes of all labels; new ones are read."""
        with self._lock:
            if embedder != self._embedder or newest < self._last:
                self._forget()
            if newest != self._last:
                self._read_new(session, embedder)
            self._embedder, self._last, self._used = embedder, newest, time.monotonic()
            if self._timer is None:
                self._wait(IDLE_SECONDS)
            return self._label_ids, self._codes

    def _read_new(self, session: Session, embedder: str) -> None:
        columns = select(LabelVectorRow.id, LabelVectorRow.label_id, LabelVectorRow.code).where(LabelVectorRow.embedder == embedder)
        after, parts = self._last - OVERLAP, list[NDArray[np.void]]()
        kept = int(np.searchsorted(self._vector_ids, after, side="right"))
        while not parts or len(parts[-1]) == PORTION:
            parts.append(fixed_rows(session, columns.where(LabelVectorRow.id > after).order_by(LabelVectorRow.id).limit(PORTION), ROW))
            after = int(parts[-1]["id"][-1]) if len(parts[-1]) else after
        rows = np.concatenate(parts)
        self._vector_ids = np.concatenate([self._vector_ids[:kept], rows["id"]])
        self._label_ids = np.concatenate([self._label_ids[:kept], rows["label_id"]])
        self._codes = np.concatenate([self._codes[:, :kept], codes.codes_from(rows["code"])], axis=1)

    def _wait(self, seconds: float) -> None:
        self._timer = threading.Timer(seconds, self._clear_if_idle)
        self._timer.daemon = True
        self._timer.start()

    def _clear_if_idle(self) -> None:
        with self._lock:
            left = self._used + IDLE_SECONDS - time.monotonic()
            self._timer = None
            if left <= 0:
                self._forget()
            else:
                self._wait(left)


def _newest(session: Session) -> int:
    """Return the highest id of a vector, 0 without one."""
    return session.execute(select(func.max(LabelVectorRow.id))).scalar_one() or 0


def _is_indexed(session: Session, newest: int) -> bool:
    return newest > MOST_IN_MEMORY and has_code_index(session)


def by_index(session: Session, embedder: str, code: bytes, count: int) -> Nearest:
    """Return labels by pgvector's index, which may end before `count` of them."""
    with_wide_search(session, count)
    near = list(session.scalars(BY_INDEX, {"embedder": embedder, "code": code, "count": count}))
    own = select(LabelVectorRow.id).where(LabelVectorRow.embedder == embedder).limit(count + 1).subquery()
    return Nearest(near, session.execute(select(func.count()).select_from(own)).scalar_one() == len(near))
