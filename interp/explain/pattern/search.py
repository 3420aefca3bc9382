"""Search for a rule, clause by clause, each a conjunction found by beam search.

A clause that covers n tokens whose targets sum to S, and predicts their mean, reduces the sum of squares about zero by S^2 / n. So the gain of a set
of values of one attribute depends on sums alone. By Breiman et al. (Classification and Regression Trees, 1984, section 4.2.2) the best of all 2^k
sets is a prefix of the values ordered by their mean. A pseudo-count in the denominator accounts for unseen tokens. Every clause costs the bits of its
description (minimum description length).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from interp.explain.pattern.candidate_table import ATTRIBUTES, PIECES_OF_WORDS, PLACES, SEEN_BITS, CandidateTable, Rows
from interp.explain.pattern.literals import MAIN_SHARE, Flag, Literal, Seen
from interp.explain.pattern.outline import CLASS_COST, LIST_COSTS, Outline, outline_of
from interp.explain.pattern.token_windows import TAILS

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
# Share of the sum of squares that one bit costs.
PRICE = 0.0015
# Pseudo-count of unseen tokens that would not fire.
PRIOR = 3.0
# Conjunctions that are grown at once, of at most DEPTH literals, and clauses of a rule.
BEAM_WIDTH, DEPTH, CLAUSES = 2, 2, 2
# Values of a set, and of a short set in a second search.
MOST_VALUES, FEW_VALUES = 48, 6
# The cheapest literal: one word where there is no other.
LEAST_BITS = 2.0
# A value is named when it carries this share of its set's targets, up to MOST_NAMED; below COMMON_SHARE in all, FEWEST_NAMED are.
NAMED_SHARE = 0.04
MOST_NAMED = 5
FEWEST_NAMED = 3
COMMON_SHARE = 0.5
# Most values that a label names of a partly named set.
MOST_SAID = 3
# When the named values carry this share, the others are left out.
SLIGHT_SHARE = 0.95
# A product of two lists is hard to read, so each value beyond SHORT_LIST costs more bits there.
SHORT_LIST = 2
PRODUCT_BITS = 8.0


@dataclass(frozen=True, slots=True)
class Term:
    """A condition: `number` of an attribute, flag or word, `chosen` attribute bins."""

    source: str
    number: int
    chosen: tuple[int, ...]
    bits: float


@dataclass(frozen=True, slots=True)
class FoundClause:
    """A conjunction, the table rows where it holds, and its gain less its bits' cost."""

    terms: tuple[Term, ...]
    rows: Rows
    score: float

    @property
    def bits(self) -> float:
        return sum(term.bits for term in self.terms)


# A conjunction, a term that makes it longer, and the score of both.
Candidate = tuple[FoundClause, Term, float]


def _has_list(state: FoundClause) -> bool:
    """Return whether a condition is a set of several values."""
    return any(len(term.chosen) > 1 for term in state.terms if term.source == "one_of")


def _value_bits(number: int, counts: NDArray[np.intp]) -> float:
    """Return the bits of an attribute's value; pieces of words cost as much as words."""
    words = next(other for other, asked in enumerate(ATTRIBUTES) if (asked.name, asked.at) == ("word", ATTRIBUTES[number].at))
    least = counts[words] if ATTRIBUTES[number].name in PIECES_OF_WORDS else 0
    return float(np.log2(max(counts[number], least) + 1))


class Search:
    """The search for one feature over `rows` of a table; ties go to the first."""

    def __init__(self, table: CandidateTable, rows: Rows, price: float, beam_width: int = BEAM_WIDTH) -> None:
        self.table = table
        self.rows = rows
        self.price = price
        self.beam_width = beam_width
        self._squares = float((table.target[rows] ** 2).sum())
        self._starts = np.searchsorted(table.bin_attribute, np.arange(len(ATTRIBUTES) + 1))
        self._value_bits = np.array([_value_bits(number, np.diff(self._starts)) for number in range(len(ATTRIBUTES))])
        self._base_bits = np.array([asked.bits for asked in ATTRIBUTES])
        # Attributes with a value where the feature fires.
        self._asked = np.flatnonzero(np.diff(self._starts))

    def clauses(self) -> list[FoundClause]:
        """Return the clauses, each found on tokens that earlier ones do not cover.

        Empty when none is worth its bits. A greedy first clause with a long list of values may be worse than a class and a short list. So a rule with
        a long list is compared with one whose first clause must be short.
        """
        found = self.greedy()
        if any(len(term.chosen) > FEW_VALUES for clause in found for term in clause.terms):
            brief = self._revise(self.greedy(FEW_VALUES))
            found = max(found, brief, key=lambda clauses: sum(clause.score for clause in clauses))
        return found

    def greedy(self, most_values: int | None = None) -> list[FoundClause]:
        """Return clauses worth their bits, the first with sets of at most `most_values`."""
        found: list[FoundClause] = []
        left = self.rows
        while len(found) < CLAUSES and self.table.target[left].any():
            best = self._clause(left, most_values if not found else None)
            if best is None:
                break
            found.append(best)
            left = left[~self.holds(best.terms, left)]
        return found

    def _revise(self, found: list[FoundClause]) -> list[FoundClause]:
        """Return the clauses, all but the last refitted on tokens that the others leave."""
        for place in range(len(found) - 1):
            others = found[:place] + found[place + 1 :]
            again = self._clause(reduce(lambda left, other: left[~self.holds(other.terms, left)], others, self.rows))
            if again is None:
                return self._revise(others) if len(others) > 1 else others
            found = [*found[:place], again, *found[place + 1 :]]
        return self._rescored(found)

    def _rescored(self, found: list[FoundClause]) -> list[FoundClause]:
        """Return the clauses with scores on the tokens that earlier ones do not cover."""
        left = self.rows
        rescored: list[FoundClause] = []
        for clause in found:
            held = self.holds(clause.terms, left)
            total, count = np.array([self.table.target[left[held]].sum()]), np.array([float(held.sum())])
            score = self._score(total, count, np.array([clause.bits]))
            rescored.append(replace(clause, rows=left[held], score=float(score[0])))
            left = left[~held]
        return rescored

    def literals(self, found: FoundClause) -> tuple[Literal, ...]:
        return tuple(self._literal(term, found.rows) for term in found.terms)

    def without_rare(self, found: FoundClause) -> FoundClause:
        """Return the clause without slight tails of its sets, which change between documents."""

        def without(term: Term) -> Term:
            named, _, share = self._by_weight(term, found.rows)
            return replace(term, chosen=tuple(named)) if share >= SLIGHT_SHARE else term

        terms = tuple(without(term) if term.source == "one_of" else term for term in found.terms)
        return found if terms == found.terms else replace(found, terms=terms, rows=found.rows[self.holds(terms, found.rows)])

    def holds(self, terms: Sequence[Term], rows: Rows) -> Mask:
        """Return where all terms hold, bool [len(rows)]."""
        held = np.ones(len(rows), dtype=np.bool_)
        for term in terms:
            held &= self._holds(term, rows)
        return held

    def _clause(self, left: Rows, most_values: int | None = None) -> FoundClause | None:
        """Return the best conjunction on `left` with short enough sets, or None."""
        self._most_values = most_values or MOST_VALUES
        best: FoundClause | None = None
        states = [FoundClause((), left, 0.0)]
        for _ in range(DEPTH):
            states = self._grow([state for state in states if best is None or self._bound(state) > best.score])
            if not states or (best is not None and states[0].score <= best.score):
                break
            best = states[0]
        if best is None or best.score <= 0:
            return None
        return self._polish(best, left)

    def _bound(self, state: FoundClause) -> float:
        """Return an upper bound on longer conjunctions' scores, with all targets predicted exactly."""
        return float((self.table.target[state.rows] ** 2).sum()) / self._squares - self.price * (state.bits + LEAST_BITS)

    def _grow(self, states: list[FoundClause]) -> list[FoundClause]:
        """Return the best conjunctions that are one literal longer, each covering other tokens."""
        candidates = sorted((candidate for state in states for candidate in self._expand(state)), key=lambda candidate: -candidate[2])
        grown: list[FoundClause] = []
        covered: set[bytes] = set()
        for parent, term, score in candidates:
            rows = parent.rows[self._holds(term, parent.rows)]
            if (key := rows.tobytes()) in covered:
                continue
            covered.add(key)
            grown.append(FoundClause((*parent.terms, term), rows, score))
            if len(grown) == self.beam_width:
                break
        return grown

    def _polish(self, best: FoundClause, left: Rows) -> FoundClause:
        """Return the clause with each set of values chosen again, given the other literals."""
        for place, term in enumerate(best.terms):
            if term.source != "one_of" or len(best.terms) == 1:
                continue
            others = best.terms[:place] + best.terms[place + 1 :]
            rows = left[self.holds(others, left)]
            _, again, score = next(self._by_value(FoundClause(others, rows, 0.0), term.number))
            if score > best.score:
                terms = (*best.terms[:place], again, *best.terms[place + 1 :])
                best = FoundClause(terms, rows[self._holds(again, rows)], score)
        return best

    def _expand(self, state: FoundClause) -> Iterator[Candidate]:
        yield from self._by_value(state)
        yield from self._by_flag(state)
        yield from self._by_word(state)

    def _score(self, total: Floats, count: Floats, bits: Floats) -> Floats:
        score: Floats = total**2 / (count + PRIOR) / self._squares - self.price * bits
        return score

    def _by_value(self, state: FoundClause, only: int | None = None) -> Iterator[Candidate]:
        """Yield the best sets of values, one per attribute, or of the attribute `only`."""
        table = self.table
        bins = table.bins[:, state.rows].ravel()
        size = table.bin_count + 1
        count = np.bincount(bins, minlength=size)[:-1].astype(np.float64)
        total = np.bincount(bins, weights=np.tile(table.target[state.rows], len(ATTRIBUTES)), minlength=size)[:-1]
        mean = total / (count + PRIOR)
        order = np.argsort(table.bin_attribute - mean / (mean.max() + 1.0), kind="stable")
        start = self._starts[table.bin_attribute]
        sums = np.concatenate([[0.0], np.cumsum(total[order])])
        counts = np.concatenate([[0.0], np.cumsum(count[order])])
        sizes = np.arange(len(order)) - start + 1
        own_bits = self._base_bits[table.bin_attribute] + self._value_bits[table.bin_attribute] * sizes
        if _has_list(state):
            own_bits += PRODUCT_BITS * np.maximum(sizes - SHORT_LIST, 0)
        score = self._score(sums[1:] - sums[start], counts[1:] - counts[start], state.bits + own_bits)
        score[sizes > self._most_values] = -np.inf
        if only is None:
            best = np.maximum.reduceat(score, self._starts[self._asked])
            numbers = self._asked[np.argsort(-best, kind="stable")[: self.beam_width + 1]]
        else:
            numbers = np.array([only])
        for number in numbers:
            low, high = self._starts[number], self._starts[number + 1]
            end = low + int(np.argmax(score[low:high]))
            yield state, Term("one_of", int(number), tuple(order[low : end + 1].tolist()), float(own_bits[end])), float(score[end])

    def _by_flag(self, state: FoundClause) -> Iterator[Candidate]:
        """Yield the best flags, and the best negated flags."""
        table = self.table
        target = table.target[state.rows]
        sums = table.flags[:, state.rows] @ np.stack([target, np.ones_like(target)], axis=1).astype(np.float32)
        total, count = sums[:, 0].astype(np.float64), sums[:, 1].astype(np.float64)
        for source, totals, counts, bits in (
            ("flag", total, count, table.flag_bits),
            ("no_flag", target.sum() - total, len(target) - count, table.flag_bits + table.negation_bits),
        ):
            score = self._score(totals, counts, state.bits + bits)
            for number in np.argsort(-score, kind="stable")[: self.beam_width]:
                yield state, Term(source, int(number), (), float(bits[number])), float(score[number])

    def _by_word(self, state: FoundClause) -> Iterator[Candidate]:
        """Yield the best words that were seen before."""
        cells = self.table.cells[state.rows]
        size = self.table.windows.ids.size
        sums = np.concatenate([[0.0], np.cumsum(np.bincount(cells, weights=self.table.target[state.rows], minlength=size))])
        counts = np.concatenate([[0.0], np.cumsum(np.bincount(cells, minlength=size))]).astype(np.float64)
        for scope, occurrences in enumerate(self.table.occurrences):
            if len(occurrences.word) == 0:
                continue
            total, count = (
                np.bincount(occurrences.word, weights=running[occurrences.high] - running[occurrences.low]).astype(np.float64)
                for running in (sums, counts)
            )
            own = SEEN_BITS + float(np.log2(len(total) + 1))
            score = self._score(total, count, np.full(len(total), state.bits + own))
            for number in np.argsort(-score, kind="stable")[: self.beam_width]:
                yield state, Term("seen", int(number), (scope,), own), float(score[number])

    def _holds(self, term: Term, rows: Rows) -> Mask:
        table = self.table
        if term.source == "one_of":
            wanted = np.zeros(table.bin_count + 1, dtype=np.bool_)
            wanted[list(term.chosen)] = True
            held: Mask = wanted[table.bins[term.number, rows]]
            return held
        if term.source == "seen":
            occurrences = table.occurrences[term.chosen[0]]
            code = int(occurrences.codes[term.number])
            seen: Mask = table.windows.seen(code, occurrences.scope).ravel()[table.cells[rows]]
            return seen
        flag: Mask = table.flags[term.number, rows] > 0
        return flag if term.source == "flag" else ~flag

    def _literal(self, term: Term, rows: Rows) -> Literal:
        table = self.table
        if term.source == "one_of":
            return table.one_of(term.number, *self._said(*self._by_weight(term, rows), self._weights(term, rows)))
        if term.source == "seen":
            occurrences = table.occurrences[term.chosen[0]]
            words = table.windows.properties.values["word"]
            return Seen(words[int(occurrences.codes[term.number])], occurrences.scope)
        literal = table.flag_literals[term.number]
        return replace(literal, negated=True) if term.source == "no_flag" and isinstance(literal, Flag) else literal

    def _by_weight(self, term: Term, rows: Rows) -> tuple[list[int], list[int], float]:
        """Return a set's named values, heaviest first, its others, and the named share.

        Named values carry a good part of the targets, in several documents. Places in a line or row are all named. The share is that of the targets.
        """
        table = self.table
        bins = table.bins[term.number, rows]
        weight = self._weights(term, rows)
        ordered = sorted(term.chosen, key=lambda value: -weight[value])
        if ATTRIBUTES[term.number].name in PLACES:
            return ordered, [], 1.0
        fires = table.target[rows] > 0
        pairs = np.unique(np.stack([bins[fires], table.documents[rows[fires]]]), axis=1)
        documents = np.bincount(pairs[0], minlength=table.bin_count + 1)
        total = float(weight[list(term.chosen)].sum())
        named = [value for value in ordered if documents[value] > 1 and weight[value] >= NAMED_SHARE * total][:MOST_NAMED]
        if weight[named].sum() < COMMON_SHARE * total:
            named = ordered[: max(FEWEST_NAMED, len(named))]
        return named, [value for value in ordered if value not in named], float(weight[named].sum()) / max(total, 1e-9)

    def _weights(self, term: Term, rows: Rows) -> Floats:
        """Return the sums of the targets by value of an attribute, float64 [B + 1]."""
        table = self.table
        return np.bincount(table.bins[term.number, rows], weights=table.target[rows], minlength=table.bin_count + 1).astype(np.float64)

    def _said(self, named: list[int], rest: list[int], share: float, weights: Floats) -> tuple[list[int], list[int], float]:
        """Return a partly named set's values, with only the few main ones named."""
        if not rest:
            return named, rest, share
        carried = np.cumsum(weights[named]) / max(float(weights[[*named, *rest]].sum()), 1e-9)
        count = min(int(np.searchsorted(carried, MAIN_SHARE - 0.005)) + 1, MOST_SAID, len(named))
        return named[:count], [*named[count:], *rest], float(carried[count - 1])

    def outline(self, found: Sequence[FoundClause], weight: Floats) -> Outline | None:
        """Return the outline of a rule on characters; None where its sentence reads as well.

        `weight` [len(rows)] is the number of the corpus's windows that the token's window stands for.
        """
        if not self.table.windows.properties.are_characters:
            return None
        held = reduce(np.logical_or, (self.holds(clause.terms, self.rows) for clause in found))
        return outline_of(self.table, self.rows, weight, held, sum(self._reading_cost(clause) for clause in found))

    def _reading_cost(self, clause: FoundClause) -> float:
        """Return the cost of a clause in a label of characters; infinite if unreadable."""
        lists = [term for term in clause.terms if term.source == "one_of"]
        asked = [ATTRIBUTES[term.number] for term in lists]
        is_product = sum(len(term.chosen) > 1 for term in lists) > 1
        if (
            is_product
            or any(attribute.name in TAILS or attribute.at < -1 for attribute in asked)
            or any(len(term.chosen) > MOST_SAID for term in lists)
        ):
            return float("inf")
        return CLASS_COST * len(clause.terms) + sum(LIST_COSTS[len(term.chosen)] for term in lists)
