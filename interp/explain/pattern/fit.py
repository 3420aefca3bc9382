"""Fit a rule on explain contexts, cross-validate it, and write its sentence."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from interp.domain.evidence import ContextKind, Contexts
from interp.domain.explanation import Explanation
from interp.domain.vocabulary import Vocabulary
from interp.explain.base import ExplainerInput
from interp.explain.pattern.candidate_table import CandidateTable, Rows, build
from interp.explain.pattern.properties import TokenProperties, properties_of
from interp.explain.pattern.rule import EXPLAINER, Clause, Rule
from interp.explain.pattern.search import CLAUSES, PRICE, PRIOR, FoundClause, Search
from interp.explain.pattern.sentence import sentence
from interp.explain.pattern.token_windows import TokenWindows

Floats = NDArray[np.float64]

# The target mixes firing with strength, so that weak firings count for detection and strong ones for simulation.
FIRING_SHARE = 0.5
STRONG_QUANTILE = 0.9
# Pseudo-count of tokens with the clause's mean in the mean of one token. It is low since a token's activations are mostly alike.
TOKEN_PRIOR = 0.5
TOKENS_GRADED = 64
FOLDS = 2
# Least gain of cross-validated worth per further clause, and least worth of a rule in standard errors of a random rule.
LEAST_GAIN = 0.01
LEAST_ERRORS = 2.5
SURE_SHARE = 0.1
# Below this worth the search is repeated, with the price of bits multiplied.
SURE_WORTH = 0.5
FRUGAL = 4.0


class Pattern:
    """An explainer that fits an executable rule, without use of the seed."""

    name = EXPLAINER
    version = 5

    def explain(self, items: Sequence[ExplainerInput], vocabulary: Vocabulary, seed: int) -> list[Explanation]:  # noqa: ARG002
        """Return one explanation per input, in the same order."""
        return [self._explain(item, vocabulary, properties_of(vocabulary)) for item in items]

    def _explain(self, item: ExplainerInput, vocabulary: Vocabulary, properties: TokenProperties) -> Explanation:
        provenance = {"version": self.version, "contexts": len(item.contexts)}
        why = item.obstacle()
        fitted = fit(item.contexts, properties, item.window_density) if why is None else None
        if fitted is None:
            why = why or "No rule predicts the feature better than silence on explain contexts that the rule was not fitted on."
            return Explanation(item.feature, self.name, text=None, failure=why, provenance=provenance)
        rule, worth = fitted
        return Explanation(
            feature=item.feature,
            explainer=self.name,
            text=sentence(rule, vocabulary),
            rule=rule.to_json(),
            provenance=provenance | {"cross_checked_worth": round(worth, 4)},
        )


def distinct(contexts: Contexts) -> Contexts:
    """Return each window once, however many kinds it was kept for."""
    keys = np.stack([contexts.documents, contexts.starts.astype(np.uint64)], axis=1)
    _, first = np.unique(keys, axis=0, return_index=True)
    return contexts.select(np.sort(first))


def target_of(activations: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the target of the search, float32 [N, W] in 0..1."""
    active = activations > 0
    strong = np.quantile(activations[active], STRONG_QUANTILE)
    graded = np.minimum(activations / strong, 1.0)
    return np.where(active, FIRING_SHARE + (1 - FIRING_SHARE) * graded, 0.0).astype(np.float32)


def weights_of(contexts: Contexts, rate: float | None) -> Floats:
    """Return the number of the corpus's windows that each window stands for, float64 [N].

    A window in which the feature fires counts 1. Inactive windows share what is left at a `rate` of firing windows. Near misses are no sample of the
    corpus, and count 1.
    """
    inactive = (contexts.kinds == ContextKind.INACTIVE) & ~contexts.fires()
    weights = np.ones(len(contexts))
    if rate and inactive.any():
        weights[inactive] = max(contexts.fires().sum() * (1 - rate) / rate / inactive.sum(), 1.0)
    return weights


def fit(contexts: Contexts, properties: TokenProperties, rate: float | None = None) -> tuple[Rule, float] | None:
    """Return the best rule and its cross-validated worth (0 to 1), or None.

    None where no rule is better than silence. At least one token must fire. `rate` is the share of windows in which the feature fires, where known.
    """
    contexts = distinct(contexts)
    windows = TokenWindows.of(contexts, properties)
    # Below its firing level a feature counts as silent, as in every count.
    activations = np.where(windows.usable & contexts.fires_at(), contexts.activations.astype(np.float32), 0)
    table = build(windows, activations, target_of(activations), np.unique(contexts.documents, return_inverse=True)[1])
    strength = activations.ravel()[table.cells].astype(np.float64)
    folds = (contexts.documents % np.uint64(FOLDS)).astype(np.intp)[table.window_of]
    # The first token is left out, since the token before it is not visible (unless the row begins there).
    rows = np.flatnonzero((table.cells % windows.shape[1] > 0) | (contexts.positions[table.window_of] == 0))

    price = PRICE
    count, worth, error = _cross_validate(table, price, rows, folds[rows], strength)
    if worth < SURE_WORTH:
        # Long lists may fail on other documents where a simpler rule holds.
        frugal = _cross_validate(table, FRUGAL * PRICE, rows, folds[rows], strength)
        if frugal[1] > worth:
            price, (count, worth, error) = FRUGAL * PRICE, frugal
    if count == 0 or worth < LEAST_ERRORS * error:
        return None
    search = Search(table, rows, price)
    found = without_special_cases([search.without_rare(clause) for clause in _kept(search.clauses(), count)])
    if not found:
        return None
    weight = weights_of(contexts, rate)[table.window_of[rows]]
    return Rule(_clauses(search, found, strength), search.outline(found, weight)), worth


def _kept(found: list[FoundClause], count: int) -> list[FoundClause]:
    """Return the clauses of the cross-validated `count`, and others that carry much."""
    total = sum(clause.score for clause in found)
    return [clause for place, clause in enumerate(found) if place < count or clause.score >= SURE_SHARE * total]


def without_special_cases(found: list[FoundClause]) -> list[FoundClause]:
    """Return the clauses without those that only add conditions to another one."""
    return [clause for clause in found if not any(set(other.terms) < set(clause.terms) for other in found)]


def _cross_validate(table: CandidateTable, price: float, rows: Rows, folds: NDArray[np.intp], strength: Floats) -> tuple[int, float, float]:
    """Measure rules of 0, 1, 2... clauses on documents left out of the fit.

    Returns the fewest clauses with (nearly) the highest worth, that worth, and a random rule's standard error.
    """
    predicted = np.zeros((CLAUSES + 1, len(rows)))
    for fold in range(FOLDS):
        # A narrow search is enough to measure the worth on other documents, and takes less time.
        search = Search(table, rows[folds != fold], price, beam_width=1)
        here = np.flatnonzero(folds == fold)
        found = search.greedy()
        for count in range(1, CLAUSES + 1):
            predicted[count, here] = predicted[count - 1, here]
            if count <= len(found):
                held = search.holds(found[count - 1].terms, rows[here])
                predicted[count, here] = np.maximum(predicted[count, here], held * _mean(search, found[count - 1], strength))
    worths = [_worth(row, strength[rows], table.window_of[rows]) for row in predicted]
    most = max(worth for worth, _ in worths)
    count = next(number for number, (worth, _) in enumerate(worths) if worth >= most - LEAST_GAIN)
    return count, *worths[count]


def _worth(predicted: Floats, strength: Floats, windows: NDArray[np.intp]) -> tuple[float, float]:
    """Return the mean of window J and token r, with its standard error.

    Youden's J over windows is for detection, Pearson's r over tokens for simulation. Silence is 0. The error is that of as many random yes answers.
    """
    if not predicted.any():
        return 0.0, 0.0
    here = np.bincount(windows) > 0
    fires = np.bincount(windows, weights=strength)[here] > 0
    said = np.bincount(windows, weights=predicted)[here] > 0
    if fires.all():
        return 0.0, 0.0
    youden = said[fires].mean() - said[~fires].mean()
    error = np.sqrt(said.mean() * (1 - said.mean()) * (1 / fires.sum() + 1 / (~fires).sum()))
    return float(youden + np.corrcoef(predicted, strength)[0, 1]) / 2, float(error) / 2


def _mean(search: Search, found: FoundClause, strength: Floats) -> float:
    rows = search.rows[search.holds(found.terms, search.rows)]
    return float(strength[rows].sum() / (len(rows) + PRIOR))


def _clauses(search: Search, found: list[FoundClause], strength: Floats) -> tuple[Clause, ...]:
    """Return the clauses, where several with the share of activation that each adds."""
    if len(found) == 1:
        return (_clause(search, found[0], strength),)
    left, sums = search.rows, list[float]()
    for clause in found:
        held = search.holds(clause.terms, left)
        sums.append(float(strength[left[held]].sum()))
        left = left[~held]
    total = max(sum(sums), 1e-9)
    return tuple(replace(_clause(search, clause, strength), share=round(part / total, 2)) for clause, part in zip(found, sums, strict=True))


def _clause(search: Search, found: FoundClause, strength: Floats) -> Clause:
    """Return the literals with their mean activation, per token for the most frequent tokens."""
    table = search.table
    mean = _mean(search, found, strength)
    rows = search.rows[search.holds(found.terms, search.rows)]
    tokens, places, counts = np.unique(table.windows.ids.ravel()[table.cells[rows]], return_inverse=True, return_counts=True)
    sums = np.bincount(places, weights=strength[rows])
    graded = (sums + TOKEN_PRIOR * mean) / (counts + TOKEN_PRIOR)
    often = np.sort(np.argsort(-counts, kind="stable")[:TOKENS_GRADED])
    return Clause(search.literals(found), round(mean, 4), tuple((int(tokens[i]), round(float(graded[i]), 4)) for i in often))
