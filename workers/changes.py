"""What a summary writes, as columns until it is written: what is concluded of each score, and each feature's best explanation. Pure."""

import heapq
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from interp.store.conclusions import PORTION, Conclusion, Shown
from workers.columns import Figures, Floats, Integers, Mask


@dataclass(frozen=True, slots=True)
class Changes:
    """Scores of which something else is concluded than the database says, ascending by id. NaN is None; `reasons` are places in `all_reasons`."""

    ids: Integers
    p_values: Floats
    q_values: Floats
    shrunken: Floats
    reasons: Integers
    all_reasons: tuple[str | None, ...]

    def rows(self) -> Iterator[Conclusion]:
        """One after another, as they are written."""
        for start in range(0, len(self.ids), PORTION):
            some = slice(start, start + PORTION)
            figures = (_numbers(column[some]) for column in (self.p_values, self.q_values, self.shrunken))
            for row, p, q, shrunken, reason in zip(self.ids[some].tolist(), *figures, self.reasons[some].tolist(), strict=True):
                yield Conclusion(row, p, q, shrunken, self.all_reasons[reason])


@dataclass(frozen=True, slots=True)
class Best:
    """Each feature's best explanation with its figures, ascending by feature [F]. NaN is None."""

    features: Integers
    explanations: Integers
    values: Floats
    lifts: Floats
    q_values: Floats
    shrunken: Floats

    def rows(self, labels: Callable[[Sequence[int]], Mapping[int, str | None]]) -> Iterator[Shown]:
        """One after another, as they are written; `labels` gives the texts of a portion's explanations."""
        for start in range(0, len(self.features), PORTION):
            some = slice(start, start + PORTION)
            made = self.explanations[some].tolist()
            texts = labels(made)
            figures = (_numbers(column[some]) for column in (self.values, self.lifts, self.q_values, self.shrunken))
            for feature, explanation, *rest in zip(self.features[some].tolist(), made, *figures, strict=True):
                yield Shown(feature, explanation, texts.get(explanation), *rest)


def changed(were: Figures, figures: Figures) -> Changes:
    """What is concluded where that is new."""
    new = np.flatnonzero(
        _differ(were.p_values, figures.p_values)
        | _differ(were.q_values, figures.q_values)
        | _differ(were.shrunken, figures.shrunken)
        | (were.reasons != figures.reasons)
    )
    rows = new[np.argsort(figures.ids[new])]
    p_values, q_values, shrunken = (column[rows] for column in (figures.p_values, figures.q_values, figures.shrunken))
    return Changes(figures.ids[rows], p_values, q_values, shrunken, figures.reasons[rows], figures.all_reasons)


def in_order(changes: Iterable[Changes]) -> Iterator[Conclusion]:
    """Those of several scorers together, ascending by id: all writers go through them in one order, so that none waits for another in a circle."""
    return heapq.merge(*(some.rows() for some in changes), key=lambda row: row.id)


def best_of(figures: Figures, explained: Integers) -> Best:
    """What listings show of each feature: the explanation with the highest value, the older one of equals.

    `explained` [features] is the explanation that a feature without any score shows, 0 for none.
    """
    scored = _highest(figures)
    alone = explained != 0
    alone[figures.features[scored]] = False
    lone = np.flatnonzero(alone)
    features = np.concatenate([figures.features[scored], lone.astype(np.int32)])
    order = np.argsort(features, kind="stable")
    nothing = np.full(len(lone), np.nan)
    columns = (figures.values, figures.lifts, figures.q_values, figures.shrunken)
    values, lifts, q_values, shrunken = (np.concatenate([column[scored], nothing])[order] for column in columns)
    explanations = np.concatenate([figures.explanations[scored], explained[lone]])[order]
    return Best(features[order], explanations, values, lifts, q_values, shrunken)


def _highest(figures: Figures) -> Integers:
    """Each feature's row with the highest value, undefined being the lowest; the first one of equals, which is the oldest."""
    if not len(figures):
        return np.empty(0, np.intp)
    starts = np.flatnonzero(np.diff(figures.features, prepend=-1))
    values = np.where(np.isnan(figures.values), -np.inf, figures.values)
    highest = np.maximum.reduceat(values, starts)
    rows = np.flatnonzero(values == np.repeat(highest, np.diff(starts, append=len(values))))
    found: Integers = rows[np.diff(figures.features[rows], prepend=-1) > 0]
    return found


def _differ(one: Floats, other: Floats) -> Mask:
    differ: Mask = (one != other) & ~(np.isnan(one) & np.isnan(other))
    return differ


def _numbers(column: Floats) -> list[float | None]:
    return [None if math.isnan(value) else value for value in column.tolist()]
