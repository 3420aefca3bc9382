"""Ask about the windows of a test set: all at once, or in rounds until the interval is narrow enough or on one side of a threshold."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from interp.domain.spec import ScorerSpec
from interp.judge.verdicts import AnswerStatus, Verdict
from interp.score.base import LEVEL
from interp.score.items.test_set import Rows, TestSet
from interp.stats.intervals import Bounds
from interp.stats.sequential import balanced_sequence, decide

METHOD = "anytime-beta-binomial"
ALL_ASKED = "all asked"
# Ask for the verdicts [E][n] of all explanations on some rows of a test set, in the round of that number.
Ask = Callable[[Rows, int], Awaitable[list[list[Verdict[bool]]]]]


@dataclass(frozen=True, slots=True)
class SequentialVerdicts:
    """The verdicts [E][n] on `rows` of a test set, in the order of asking.

    `bounds` is the interval, and `stopped` why asking ended, where the number of windows was not fixed before.
    """

    rows: Rows
    verdicts: list[list[Verdict[bool]]]
    rounds: int = 1
    bounds: Bounds | None = None
    stopped: str | None = None

    def provenance(self, count: int, spec: ScorerSpec) -> dict[str, Any]:
        asked = {"asked": len(self.rows), "of": count}
        if self.stopped is None:
            return asked
        return asked | {"rounds": self.rounds, "stopped": self.stopped, "threshold": spec.threshold, "width": spec.width}


async def ask_in_rounds(test_set: TestSet, spec: ScorerSpec, seed: int, ask: Ask) -> SequentialVerdicts:
    """Ask one prompt per round, half of it firing windows, until the interval of the explanation under test reaches the goal of the spec.

    Windows come in random order, but one of each document before the second of any: alike windows add little. The interval holds at all rounds at
    once (`interp.stats.sequential`), so that a look after each costs nothing. Every explanation is asked about the same windows, and only the first
    decides: nulls and controls never make it stop.
    """
    asked: list[Rows] = []
    verdicts: list[list[Verdict[bool]]] = []
    bounds: Bounds | None = None
    why = None
    for number, rows in enumerate(_rounds(test_set, spec.per_prompt, seed)):
        new = await ask(rows, number)
        asked.append(rows)
        verdicts = [before + after for before, after in zip(verdicts, new, strict=True)] if verdicts else new
        bounds = _bounds(test_set, np.concatenate(asked), verdicts[0])
        why = decide(bounds, spec.threshold, spec.width)
        if why is not None:
            break
    return SequentialVerdicts(np.concatenate(asked), verdicts, len(asked), bounds, why.value if why else ALL_ASKED)


def _rounds(test_set: TestSet, per_prompt: int, seed: int) -> list[Rows]:
    random = np.random.default_rng(seed)
    half = max(1, per_prompt // 2)
    sides = [_by_turns(random.permutation(np.flatnonzero(side)), test_set.clusters) for side in (test_set.positive, test_set.negative)]
    count = max(-(-len(side) // half) for side in sides)
    rounds = [np.concatenate([side[number * half : (number + 1) * half] for side in sides]) for number in range(count)]
    return rounds or [np.zeros(0, dtype=np.intp)]


def _by_turns(rows: Rows, clusters: Rows) -> Rows:
    """Return the rows in their order, but the first of each cluster before the second of any: alike windows come late."""
    seen: dict[int, int] = {}
    turns = np.zeros(len(rows), dtype=np.intp)
    for place, cluster in enumerate(clusters[rows].tolist()):
        turns[place] = seen[cluster] = seen.get(cluster, -1) + 1
    return rows[np.argsort(turns, kind="stable")]


def _bounds(test_set: TestSet, rows: Rows, verdicts: Sequence[Verdict[bool]]) -> Bounds:
    answered = np.array([verdict.status == AnswerStatus.ANSWERED for verdict in verdicts], dtype=np.bool_)
    said = np.array([bool(verdict.value) for verdict in verdicts], dtype=np.bool_)
    firing, silent = test_set.positive[rows] & answered, test_set.negative[rows] & answered
    clusters = test_set.clusters[rows]
    return balanced_sequence(said[firing], ~said[silent], LEVEL, (clusters[firing], clusters[silent]))
