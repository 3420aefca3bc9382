"""Find the scores that an adjustment changes, as columns until written."""

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from interp.analysis.score_table import P_METHODS, Floats, Integers, ScoreTable
from interp.score.best import Candidates, rank_of
from interp.store.results.dictionary_scores import PORTION, AdjustedScore, numbers


@dataclass(frozen=True, slots=True)
class Changes:
    """The scores that differ from the database, by id; `reasons` index `all_reasons`."""

    ids: Integers
    p_values: Floats
    q_values: Floats
    shrunken_values: Floats
    p_methods: Integers
    reasons: Integers
    all_reasons: tuple[str | None, ...]

    def rows(self) -> Iterator[AdjustedScore]:
        """Yield the scores one after another, as they are written."""
        for start in range(0, len(self.ids), PORTION):
            some = slice(start, start + PORTION)
            figures = (numbers(column[some]) for column in (self.p_values, self.q_values, self.shrunken_values))
            texts = (self.p_methods[some].tolist(), self.reasons[some].tolist())
            for row, p, q, shrunken, method, reason in zip(self.ids[some].tolist(), *figures, *texts, strict=True):
                yield AdjustedScore(row, p, P_METHODS[method], q, shrunken, self.all_reasons[reason])


def candidates(scorer: str, table: ScoreTable) -> Candidates:
    """Return one scorer's scores as candidates for the best explanation."""
    ranks = np.full(len(table), rank_of(scorer), np.int16)
    figures = (table.values, table.shrunken_values, table.lifts, table.q_values, table.p_values)
    return Candidates(table.features, table.explanations, ranks, *figures)


def changed(before: ScoreTable, after: ScoreTable) -> Changes:
    """Return the scores whose adjusted figures are new."""
    is_new = (before.reasons != after.reasons) | (before.p_methods != after.p_methods)
    for one, other in ((getattr(before, name), getattr(after, name)) for name in ("p_values", "q_values", "shrunken_values")):
        is_new |= (one != other) & ~(np.isnan(one) & np.isnan(other))
    new = np.flatnonzero(is_new)
    rows = new[np.argsort(after.ids[new])]
    names = ("ids", "p_values", "q_values", "shrunken_values", "p_methods", "reasons")
    return Changes(**{name: getattr(after, name)[rows] for name in names}, all_reasons=after.all_reasons)


def in_order(changes: Iterable[Changes]) -> Iterator[AdjustedScore]:
    """Yield the changes of several scorers ascending by id, to avoid deadlocks."""
    return heapq.merge(*(some.rows() for some in changes), key=lambda row: row.id)
