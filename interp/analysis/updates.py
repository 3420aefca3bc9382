"""What a summary writes, as columns until it is written: what is concluded of each score, and each feature's best explanation. Pure."""

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from interp.analysis.score_table import P_METHODS, Floats, Integers, Mask, ScoreTable
from interp.score.best import Candidates, rank_of
from interp.store.results.dictionary_scores import PORTION, AdjustedScore, numbers


@dataclass(frozen=True, slots=True)
class Changes:
    """Scores of which something else is concluded than the database says, ascending by id. NaN is None; `reasons` are places in `all_reasons`."""

    ids: Integers
    p_values: Floats
    q_values: Floats
    shrunken: Floats
    p_methods: Integers
    reasons: Integers
    all_reasons: tuple[str | None, ...]

    def rows(self) -> Iterator[AdjustedScore]:
        """One after another, as they are written."""
        for start in range(0, len(self.ids), PORTION):
            some = slice(start, start + PORTION)
            figures = (numbers(column[some]) for column in (self.p_values, self.q_values, self.shrunken))
            texts = (self.p_methods[some].tolist(), self.reasons[some].tolist())
            for row, p, q, shrunken, method, reason in zip(self.ids[some].tolist(), *figures, *texts, strict=True):
                yield AdjustedScore(row, p, P_METHODS[method], q, shrunken, self.all_reasons[reason])


def candidates(scorer: str, figures: ScoreTable) -> Candidates:
    """One scorer's figures as candidates for the best."""
    ranks = np.full(len(figures), rank_of(scorer), np.int16)
    return Candidates(figures.features, figures.explanations, ranks, figures.values, figures.shrunken, figures.lifts, figures.q_values)


def changed(were: ScoreTable, figures: ScoreTable) -> Changes:
    """What is concluded where that is new."""
    new = np.flatnonzero(
        _differ(were.p_values, figures.p_values)
        | _differ(were.q_values, figures.q_values)
        | _differ(were.shrunken, figures.shrunken)
        | (were.reasons != figures.reasons)
        | (were.p_methods != figures.p_methods)
    )
    rows = new[np.argsort(figures.ids[new])]
    p_values, q_values, shrunken = (column[rows] for column in (figures.p_values, figures.q_values, figures.shrunken))
    return Changes(figures.ids[rows], p_values, q_values, shrunken, figures.p_methods[rows], figures.reasons[rows], figures.all_reasons)


def in_order(changes: Iterable[Changes]) -> Iterator[AdjustedScore]:
    """Those of several scorers together, ascending by id: all writers go through them in one order, so that none waits for another in a circle."""
    return heapq.merge(*(some.rows() for some in changes), key=lambda row: row.id)


def _differ(one: Floats, other: Floats) -> Mask:
    differ: Mask = (one != other) & ~(np.isnan(one) & np.isnan(other))
    return differ
