"""Define a judge's verdict on one question, and verdicts as arrays."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")


class AnswerStatus(IntEnum):
    """The status of an answer: a failure or abstention is not a "no"."""

    ANSWERED = 0
    FAILED = 1
    ABSTAINED = 2


@dataclass(frozen=True, slots=True)
class Verdict(Generic[T]):
    """The answer of a judge to one question.

    `value` is None where the judge failed or abstained, and `failure` says why. `probability` is the judge's for a yes or the right choice, where it
    gives log-probabilities. `key` addresses the call that answered, or the last failed one.
    """

    status: AnswerStatus
    value: T | None
    probability: float | None = None
    key: str | None = None
    failure: str | None = None

    @classmethod
    def answered(cls, value: T, probability: float | None = None, key: str | None = None) -> "Verdict[T]":
        return cls(AnswerStatus.ANSWERED, value, probability, key)

    @classmethod
    def failed(cls, failure: str, key: str | None = None) -> "Verdict[T]":
        return cls(AnswerStatus.FAILED, None, None, key, failure)


@dataclass(frozen=True, slots=True)
class Verdicts:
    """The answers of E explanations to the same N questions, the tested one first.

    values         [E, N] yes or no (bool) or a grade (float), or float32 [E, N, W] the activation at each token; meaningless where not answered
    statuses       uint8 [E, N]  `AnswerStatus`
    failures       [N]  why a question has no answer for the tested explanation
    details        [N]  the part of the call that its items keep
    probabilities  float64 [E, N]  of a yes, NaN where the judge gave none; None where it never gave one
    reason         why nothing was asked about the tested explanation
    """

    values: NDArray[Any]
    statuses: NDArray[np.uint8]
    failures: Sequence[str | None] = field(default=())
    details: Sequence[dict[str, object] | None] = field(default=())
    probabilities: NDArray[np.float64] | None = None
    reason: str | None = None

    @classmethod
    def of(cls, rows: Sequence[Sequence[Verdict[bool]]], reason: str | None = None) -> "Verdicts":
        """Return the verdicts [E][N] of yes/no questions as arrays."""
        odds = np.array([[np.nan if one.probability is None else one.probability for one in row] for row in rows], dtype=np.float64)
        return cls(
            values=np.array([[bool(one.value) for one in row] for row in rows], dtype=np.bool_),
            statuses=np.array([[one.status for one in row] for row in rows], dtype=np.uint8),
            failures=[one.failure for one in rows[0]],
            details=[_detail(one) for one in rows[0]],
            probabilities=None if np.isnan(odds[0]).all() else odds,
            reason=reason,
        )

    @property
    def answered(self) -> NDArray[np.bool_]:
        """Return which questions have an answer, bool [E, N]."""
        answered: NDArray[np.bool_] = self.statuses == AnswerStatus.ANSWERED
        return answered

    def failure(self, place: int) -> str | None:
        """Return why the question has no answer for the tested explanation, or None."""
        status = AnswerStatus(self.statuses[0, place])
        if status == AnswerStatus.ANSWERED:
            return None
        known = self.failures[place] if self.failures else None
        return known or self.reason or status.name.lower()

    def first_failure(self) -> str | None:
        return next((failure for failure in self.failures if failure), None)


def _detail(verdict: Verdict[bool]) -> dict[str, object] | None:
    if verdict.key is None:
        return None
    return {"call": verdict.key} if verdict.probability is None else {"call": verdict.key, "probability": verdict.probability}
