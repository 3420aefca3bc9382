"""Measure explanations on the same items, and make a score of the result."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from interp.domain.score import ControlResult, Interval, Item, NullResult, Score
from interp.judge.verdicts import AnswerStatus, Verdicts
from interp.score.base import LEVEL, Figure, LlmScorer, Scorer, ScorerInput
from interp.score.controls.comparison import NullFigures, compare_with_control, compare_with_nulls
from interp.score.controls.tested import TestedExplanation
from interp.score.items.test_set import TestSet

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
# The explanations that are measured: a slice, or the place of each.
Places = slice | NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Measured:
    """Figures of E explanations; NaN where undefined.

    values      float64 [E]
    replicates  float64 [m, E]  the same without each of the m documents
    parts       float64 [m, E]  each document's part; they add up to the figure
    """

    values: Floats
    replicates: Floats
    parts: Floats


class Measure:
    """A scorer's figure of E explanations on the same N items."""

    method: str
    verdicts: Verdicts
    # Whether the number of items was fixed before asking, so that a paired test is valid.
    is_fixed = True

    def figure(self, place: int = 0, among: Mask | None = None) -> Figure:
        """Return the figure of one explanation over its answered items in `among` [N]."""
        raise NotImplementedError

    def measured(self, places: Places, use: Mask) -> Measured:
        """Return figures of explanations at `places` [E], each over its items `use` [E, N]."""
        raise NotImplementedError

    def degrees(self) -> float | None:
        """Return the degrees of freedom of the figure's variance, or None: from the replicates."""
        return None

    def null_of(self, own: Figure, item: ScorerInput) -> NullResult | None:
        """Return the comparison of `own` with the nulls, which follow it in the verdicts."""
        count = min(len(item.nulls), len(self.verdicts.statuses) - 1)
        return compare_with_nulls(own, self.null_figures(own, count), item.nulls) if count else None

    def null_figures(self, own: Figure, count: int) -> NullFigures:
        """Return the figures of `count` nulls beside the own one, on common answered items.

        An item without an answer of one explanation says nothing about the other. So a null counts by its difference on common items.
        """
        answered = self.verdicts.answered[: 1 + count]
        both = answered[:1] & answered[1:]
        theirs = self.measured(slice(1, 1 + count), both)
        # Where all answered the same items, as rules do, the own figure is the same beside each null.
        is_same = bool((both == answered[:1]).all())
        ours = self.measured(slice(0, 1), answered[:1]) if is_same else self.measured(np.zeros(count, dtype=np.intp), both)
        values, replicates = theirs.values, theirs.replicates
        if own.value is not None:
            values = _moved(np.float64(own.value), ours.values, values)
            replicates = _moved(own.replicates[:, None], ours.replicates, replicates)
        return NullFigures(values, replicates, ours.parts - theirs.parts if self.is_fixed else None, self.degrees())

    def controls_of(
        self, tested: Sequence[TestedExplanation], details: Callable[[Mask], dict[str, Any]] = lambda both: {"items": int(both.sum())}
    ) -> list[ControlResult]:
        """Return `empty` and `baseline`, where asked, on the items that both explanations answered."""
        found = []
        for place, one in enumerate(tested):
            if one.part in ("empty", "baseline"):
                both = self.verdicts.answered[0] & self.verdicts.answered[place]
                found.append(compare_with_control(one.part, self.figure(0, both), self.figure(place, both), details(both)))
        return found


def _moved(own: Floats | np.float64, own_both: Floats, nulls: Floats) -> Floats:
    # An unmoved figure stays the same to the bit, since ties are counted.
    moved: Floats = np.where(own == own_both, nulls, own - (own_both - nulls))
    return moved


def score_of(
    scorer: Scorer | LlmScorer,
    item: ScorerInput,
    measure: Measure,
    *,
    metrics: dict[str, float | None],
    items: tuple[Item, ...],
    provenance: dict[str, Any],
    controls: Sequence[ControlResult] = (),
    reason: str | None = None,
) -> Score:
    """Return the tested explanation's score; `reason` replaces that of an undefined figure."""
    figure, statuses = measure.figure(), measure.verdicts.statuses[0]
    counts = {status: int((statuses == status).sum()) for status in AnswerStatus}
    return Score(
        feature=item.feature,
        explainer=item.explanation.explainer,
        scorer=scorer.name,
        metric=scorer.metric,
        value=figure.value,
        interval=None if figure.bounds is None else Interval(*figure.bounds, LEVEL, measure.method),
        reason=(reason or figure.reason) if figure.value is None else figure.reason,
        answered=counts[AnswerStatus.ANSWERED],
        failed=counts[AnswerStatus.FAILED],
        abstained=counts[AnswerStatus.ABSTAINED],
        null=measure.null_of(figure, item),
        controls=tuple(controls),
        metrics=metrics,
        items=items,
        provenance=provenance,
    )


def items_of(test_set: TestSet, verdicts: Verdicts, truths: NDArray[Any] | None = None) -> tuple[Item, ...]:
    """Return one item per window for the tested explanation.

    `truths` [N] replace those of the test set.
    """
    answered, values = verdicts.answered[0].tolist(), verdicts.values[0].tolist()
    right = (test_set.truth if truths is None else truths).tolist()
    return tuple(
        Item(
            context=context,
            kind=test_set.kinds[row],
            truth=float(right[row]),
            prediction=float(values[row]) if answered[row] else None,
            failure=verdicts.failure(row),
            detail=verdicts.details[row] if verdicts.details else None,
        )
        for row, context in enumerate(test_set.contexts.identities())
    )
