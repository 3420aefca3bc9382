"""Ask about a test set in rounds, until the interval is decisive."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from interp.domain.spec import ScorerSpec
from interp.explain.context_selection import by_turns
from interp.judge.verdicts import AnswerStatus, Verdict
from interp.score.base import LEVEL
from interp.score.items.test_set import Rows, TestSet
from interp.stats.intervals import Bounds
from interp.stats.sequential import balanced_sequence, decide

METHOD = "anytime-beta-binomial"
ALL_ASKED = "all asked"
# Asks for the verdicts [E][n] of all explanations on rows of a test set, in a numbered round.
Ask = Callable[[Rows, int], Awaitable[list[list[Verdict[bool]]]]]


@dataclass(frozen=True, slots=True)
class SequentialVerdicts:
    """The verdicts [E][n] on `rows` of a test set, in the order of asking.

    Where the number of windows was not fixed before, `bounds` is the interval, and `stopped` is why asking ended.
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
    """Ask one prompt per round, until the own interval meets the spec's goal.

    Half of a prompt is firing windows. Windows are in random order, but one of each document precedes the second of any, since similar windows add
    little. The interval holds at all rounds at once (`interp.stats.sequential`), so that each may be checked. Every explanation is asked about the
    same windows. Only the first decides when to stop, not nulls and controls.
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
    return SequentialVerdicts(np.concatenate(asked), verdicts, len(asked), bounds, why or ALL_ASKED)


def _rounds(test_set: TestSet, per_prompt: int, seed: int) -> list[Rows]:
    random = np.random.default_rng(seed)
    half = max(1, per_prompt // 2)
    sides = [by_turns(random.permutation(np.flatnonzero(side)), test_set.clusters) for side in (test_set.positive, test_set.negative)]
    count = max(-(-len(side) // half) for side in sides)
    rounds = [np.concatenate([side[number * half : (number + 1) * half] for side in sides]) for number in range(count)]
    return rounds or [np.zeros(0, dtype=np.intp)]


def _bounds(test_set: TestSet, rows: Rows, verdicts: Sequence[Verdict[bool]]) -> Bounds:
    answered = np.array([verdict.status == AnswerStatus.ANSWERED for verdict in verdicts], dtype=np.bool_)
    said = np.array([bool(verdict.value) for verdict in verdicts], dtype=np.bool_)
    firing, silent = test_set.positive[rows] & answered, test_set.negative[rows] & answered
    clusters = test_set.clusters[rows]
    return balanced_sequence(said[firing], ~said[silent], LEVEL, (clusters[firing], clusters[silent]))
