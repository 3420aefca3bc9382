"""From explain contexts to a rule: the target, the cross-check that says how much of a rule holds elsewhere, and the predicted activations."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from interp.domain.evidence import Contexts
from interp.explain.pattern.candidate_table import CandidateTable, Rows, build
from interp.explain.pattern.properties import TokenProperties
from interp.explain.pattern.rule import Clause, Rule
from interp.explain.pattern.search import FoundClause, Search, SearchSettings
from interp.explain.pattern.token_windows import TokenWindows

Floats = NDArray[np.float64]

# The target blends "fires" with "how strongly", so that weak firings count for detection and strong ones for simulation.
FIRING_SHARE = 0.5
STRONG_QUANTILE = 0.9
# A token's own mean stands against so much of a token with the clause's mean: what a token does once it mostly does again.
TOKEN_PRIOR = 0.5
TOKENS_GRADED = 64
FOLDS = 2
# A further clause must raise the cross-checked worth by this much; a rule must be worth so many standard errors of a rule that only guesses.
LEAST_GAIN = 0.01
LEAST_ERRORS = 2.5
SURE_SHARE = 0.1
# Below this worth the search is tried again with bits that cost so many times as much.
SURE_WORTH = 0.5
FRUGAL = 4.0


@dataclass(frozen=True, slots=True)
class CrossCheckedRule:
    """The fewest clauses that are worth (nearly) the most, what they are worth on other documents, and the error of a guess as frequent."""

    clauses: int
    worth: float
    error: float


@dataclass(frozen=True, slots=True)
class Fit:
    """A rule, and its worth (0 to 1) on explain documents that the rules of the cross-check were not fitted on."""

    rule: Rule
    worth: float


def distinct(contexts: Contexts) -> Contexts:
    """Each window once, however many reasons it was kept for."""
    keys = np.stack([contexts.documents, contexts.starts.astype(np.uint64)], axis=1)
    _, first = np.unique(keys, axis=0, return_index=True)
    return contexts.select(np.sort(first))


def target_of(activations: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 [N, W] in 0..1: what the search explains."""
    active = activations > 0
    strong = np.quantile(activations[active], STRONG_QUANTILE)
    graded = np.minimum(activations / strong, 1.0)
    return np.where(active, FIRING_SHARE + (1 - FIRING_SHARE) * graded, 0.0).astype(np.float32)


def fit(contexts: Contexts, properties: TokenProperties, settings: SearchSettings = SearchSettings()) -> Fit | None:
    """The best rule for these contexts; None when none is better than silence. At least one token must fire."""
    contexts = distinct(contexts)
    scene = TokenWindows.of(contexts, properties)
    # Below its firing level a feature counts as silent, here as in every count.
    activations = np.where(scene.usable & contexts.fires_at(), contexts.activations.astype(np.float32), 0)
    table = build(scene, activations, target_of(activations), np.unique(contexts.documents, return_inverse=True)[1])
    strength = activations.ravel()[table.cells].astype(np.float64)
    folds = (contexts.documents % np.uint64(FOLDS)).astype(np.intp)[table.windows]
    # What stands before a window's first token is not to be seen (unless the row begins there): nothing can be learnt from it.
    rows = np.flatnonzero((table.cells % scene.shape[1] > 0) | (contexts.positions[table.windows] == 0))

    checked = _cross_check(table, settings, rows, folds[rows], strength)
    if checked.worth < SURE_WORTH:
        # Long lists that hold nowhere else: a simpler rule may.
        frugal = replace(settings, price=settings.price * FRUGAL)
        settings, checked = max(
            ((settings, checked), (frugal, _cross_check(table, frugal, rows, folds[rows], strength))), key=lambda pair: pair[1].worth
        )
    if checked.clauses == 0 or checked.worth < LEAST_ERRORS * checked.error:
        return None
    search = Search(table, settings, rows)
    found = without_special_cases([search.without_rare(clause) for clause in _kept(search.clauses(), checked.clauses)])
    return Fit(Rule(_clauses(search, found, strength), search.outline(found)), checked.worth) if found else None


def _kept(found: list[FoundClause], count: int) -> list[FoundClause]:
    """As many clauses as the cross-check has found worth their while, and those that carry much of the rule in any case."""
    total = sum(clause.score for clause in found)
    return [clause for place, clause in enumerate(found) if place < count or clause.score >= SURE_SHARE * total]


def without_special_cases(found: list[FoundClause]) -> list[FoundClause]:
    """Less the clauses that only add conditions to another one."""
    return [clause for clause in found if not any(set(other.terms) < set(clause.terms) for other in found)]


def _cross_check(table: CandidateTable, settings: SearchSettings, rows: Rows, folds: NDArray[np.intp], strength: Floats) -> CrossCheckedRule:
    """Worth of rules of 0, 1, 2... clauses, each token predicted by the rule that was fitted without its document."""
    predicted = np.zeros((settings.clauses + 1, len(rows)))
    for fold in range(FOLDS):
        # How much holds elsewhere does not hang on the last refinement of the rule: a narrow search tells as well, in less time.
        search = Search(table, replace(settings, width=1), rows[folds != fold])
        here = np.flatnonzero(folds == fold)
        found = search.greedy()
        for count in range(1, settings.clauses + 1):
            predicted[count, here] = predicted[count - 1, here]
            if count <= len(found):
                held = search.holds(found[count - 1].terms, rows[here])
                predicted[count, here] = np.maximum(predicted[count, here], held * _mean(search, found[count - 1], strength))
    worths = [_worth(row, strength[rows], table.windows[rows]) for row in predicted]
    most = max(worth for worth, _ in worths)
    count = next(number for number, (worth, _) in enumerate(worths) if worth >= most - LEAST_GAIN)
    return CrossCheckedRule(count, *worths[count])


def _worth(predicted: Floats, strength: Floats, windows: NDArray[np.intp]) -> tuple[float, float]:
    """Mean of Youden's J over windows (detection) and Pearson's r over tokens (simulation): what the rule will be scored on; 0 for silence.

    With it the standard error that it would have if the rule said yes as often, but at random.
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
    return float(strength[rows].sum() / (len(rows) + search.settings.prior))


def _clauses(search: Search, found: list[FoundClause], strength: Floats) -> tuple[Clause, ...]:
    """The clauses, each with its share of the activation beside those before it where there are several."""
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
    """The literals with the mean activation that goes with them, token by token as far as there are enough."""
    table = search.table
    mean = _mean(search, found, strength)
    rows = search.rows[search.holds(found.terms, search.rows)]
    tokens, places, counts = np.unique(table.scene.ids.ravel()[table.cells[rows]], return_inverse=True, return_counts=True)
    sums = np.bincount(places, weights=strength[rows])
    graded = (sums + TOKEN_PRIOR * mean) / (counts + TOKEN_PRIOR)
    often = np.sort(np.argsort(-counts, kind="stable")[:TOKENS_GRADED])
    return Clause(search.literals(found), round(mean, 4), tuple((int(tokens[i]), round(float(graded[i]), 4)) for i in often))
