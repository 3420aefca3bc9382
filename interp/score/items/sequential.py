"""How many of the windows are asked about: all at once, or round by round until the interval says enough."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from interp.domain.spec import ScorerSpec
from interp.judge.outcome import AnswerStatus
from interp.judge.yes_no import Verdict
from interp.score.controls.null_comparison import LEVEL
from interp.score.scorers.binary_metrics import BinaryTestSet
from interp.stats.intervals import Bounds
from interp.stats.sequential import balanced_sequence, decide

METHOD = "anytime-beta-binomial"
ALL_ASKED = "all asked"
Rows = NDArray[np.intp]
# Verdicts [E][n] of all explanations on some rows of an exam, for the round of that number.
Ask = Callable[[Rows, int], Awaitable[list[list[Verdict]]]]


@dataclass(frozen=True, slots=True)
class SequentialVerdicts:
    """Rows of the exam in the order of asking, verdicts [E][n] on them; `bounds` and `why` it stopped, where that was not fixed before."""

    rows: Rows
    verdicts: list[list[Verdict]]
    rounds: int
    bounds: Bounds | None = None
    why: str | None = None

    def provenance(self, exam: BinaryTestSet, spec: ScorerSpec) -> dict[str, Any]:
        if self.why is None:
            return {"asked": len(self.rows), "of": len(exam)}
        goal = {"threshold": spec.threshold, "width": spec.width}
        return {"asked": len(self.rows), "of": len(exam), "rounds": self.rounds, "stopped": self.why, **goal}


async def ask_all(exam: BinaryTestSet, ask: Ask) -> SequentialVerdicts:
    rows = np.arange(len(exam), dtype=np.intp)
    return SequentialVerdicts(rows, await ask(rows, 0), 1)


async def ask_in_rounds(exam: BinaryTestSet, spec: ScorerSpec, seed: int, ask: Ask) -> SequentialVerdicts:
    """One prompt a round, half of it firing windows, until the interval of the explanation under test reaches the spec's goal.

    Windows come in random order, but one of each document before the second of any: alike windows say little anew.
    The interval holds at all rounds at once (`interp.stats.sequential`), so that looking after each costs nothing. Every explanation is asked about
    the same windows, and only the first decides: nulls and controls never make it stop. The last round's interval stands.
    """
    rounds = _rounds(exam, spec.per_prompt, seed)
    asked: list[Rows] = []
    verdicts: list[list[Verdict]] = []
    bounds: Bounds | None = None
    why = None
    for number, rows in enumerate(rounds):
        new = await ask(rows, number)
        asked.append(rows)
        verdicts = [before + after for before, after in zip(verdicts, new, strict=True)] if verdicts else new
        bounds = _bounds(exam, np.concatenate(asked), verdicts[0])
        why = decide(bounds, spec.threshold, spec.width)
        if why is not None:
            break
    return SequentialVerdicts(np.concatenate(asked), verdicts, len(asked), bounds, why.value if why else ALL_ASKED)


def _rounds(exam: BinaryTestSet, per_prompt: int, seed: int) -> list[Rows]:
    random = np.random.default_rng(seed)
    half = max(1, per_prompt // 2)
    sides = [_in_turns(random.permutation(np.flatnonzero(side)), exam.clusters) for side in (exam.positive, exam.negative)]
    count = max(-(-len(side) // half) for side in sides)
    rounds = [np.concatenate([side[number * half : (number + 1) * half] for side in sides]) for number in range(count)]
    return rounds or [np.zeros(0, dtype=np.intp)]


def _in_turns(rows: Rows, clusters: Rows) -> Rows:
    """The rows in their order, but the first of each cluster before the second of any: alike windows come late."""
    seen: dict[int, int] = {}
    turns = np.zeros(len(rows), dtype=np.intp)
    for place, cluster in enumerate(clusters[rows].tolist()):
        turns[place] = seen[cluster] = seen.get(cluster, -1) + 1
    return rows[np.argsort(turns, kind="stable")]


def _bounds(exam: BinaryTestSet, rows: Rows, verdicts: Sequence[Verdict]) -> Bounds:
    answered = np.array([verdict.outcome == AnswerStatus.ANSWERED for verdict in verdicts], dtype=np.bool_)
    said = np.array([bool(verdict.says) for verdict in verdicts], dtype=np.bool_)
    firing, silent = exam.positive[rows] & answered, exam.negative[rows] & answered
    clusters = exam.clusters[rows]
    return balanced_sequence(said[firing], ~said[silent], LEVEL, (clusters[firing], clusters[silent]))
