"""From explain contexts to a rule: the target, the choice of how much to say by cross-check, and the predicted activations."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from interp.evidence import Contexts
from interp.explain.pattern.rule import Clause, Rule
from interp.explain.pattern.scene import Scene
from interp.explain.pattern.search import Found, Search, Settings
from interp.explain.pattern.table import Rows, Table, build
from interp.explain.pattern.properties import TokenProperties

# The target blends "fires" with "how strongly", so that weak firings count for detection and strong ones for simulation.
FIRING_SHARE = 0.5
STRONG_QUANTILE = 0.9
# Tokens of its own that a token's predicted activation must outweigh: the clause's mean stands in for so many.
TOKEN_PRIOR = 2.0
TOKENS_GRADED = 64


@dataclass(frozen=True, slots=True)
class Fit:
    """A rule, and the share of the target's sum of squares that it explains on the explain contexts, bits paid."""

    rule: Rule
    score: float


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


def fit(contexts: Contexts, properties: TokenProperties, settings: Settings = Settings()) -> Fit | None:
    """The best rule for these contexts; None when none is better than silence. At least one token must fire."""
    contexts = distinct(contexts)
    scene = Scene.of(contexts, properties)
    activations = np.where(scene.usable, contexts.activations.astype(np.float32), 0)
    table = build(scene, activations, target_of(activations))
    search = Search(table, settings, np.arange(len(table.cells)))
    found = search.clauses()
    if not found:
        return None
    strength = activations.ravel()[table.cells]
    clauses = tuple(_clause(search, clause, table, strength) for clause in found)
    return Fit(Rule(clauses), sum(clause.score for clause in found))


def _clause(search: Search, found: Found, table: Table, strength: NDArray[np.float32]) -> Clause:
    """The literals with the mean activation that goes with them, token by token as far as there are enough."""
    rows = np.flatnonzero(search.holds(found.terms, search.rows))
    values = strength[rows].astype(np.float64)
    prior = search.settings.prior
    mean = float(values.sum() / (len(values) + prior))
    tokens, places, counts = np.unique(table.scene.ids.ravel()[table.cells[rows]], return_inverse=True, return_counts=True)
    sums = np.bincount(places, weights=values)
    graded = (sums + TOKEN_PRIOR * mean) / (counts + TOKEN_PRIOR)
    often = np.argsort(-counts, kind="stable")[:TOKENS_GRADED]
    often = np.sort(often[counts[often] > 1])
    return Clause(search.literals(found), round(mean, 4), tuple((int(tokens[i]), round(float(graded[i]), 4)) for i in often))
