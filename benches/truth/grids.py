"""Measure the coverage of intervals over grids of features; the large version of the tests of `tests/stats`."""

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
from scipy.stats import norm, rankdata

from benches.truth.score_windows import World, by_document
from interp.stats.agreement import pearson_of
from interp.stats.correlation import pearson_bounds
from interp.stats.intervals import clustered_proportion
from interp.stats.ranking import auroc_bounds

Line = dict[str, Any]
TAILS = ("uniform", "exponential", 0.8, 1.2)
# Labels and their skill: correlations from 0 to .96.
LABELS = (
    ("rule", 0.05),
    ("rule", 0.3),
    ("rule", 0.6),
    ("rule", 0.9),
    ("graded", 0.0),
    ("graded", 0.6),
    ("graded", 0.95),
    ("noisy", 0.6),
    ("noisy", 0.95),
)
WINDOWS = (5, 10, 20, 50)
EACH = (1, 3)
LARGE = ((20, 11, 0.5), (20, 9, 0.6), (40, 21, 0.5), (40, 17, 0.6), (40, 25, 0.4), (40, 6, 0.5), (40, 40, 0.025))


def pearson(runs: int) -> Iterator[Line]:
    """Pearson's r: four tails, nine labels, 5 + 5 to 50 + 50 windows, one or three a document. Then Spearman's of the same at 20 + 20."""
    found: list[tuple[float, float, float, World]] = []
    undefined = 0
    for tail, (label, skill), each in product(TAILS, LABELS, EACH):
        true = World(tail, label, skill, 48, each).true(runs=2000)
        for windows in WINDOWS:
            world = World(tail, label, skill, windows, each)
            bounds = [pearson_bounds(totals) for totals in world.totals(np.random.default_rng(1), runs)]
            known = np.array([pair for pair in bounds if pair is not None])
            if len(known) < runs / 2:
                undefined += 1
                continue
            found.append((*_of(known, true), world))
    yield _line("pearson_coverage", "pearson", found, runs) | {
        "without_an_interval": undefined,
        "too_high": max(too_high for _, too_high, _, _ in found),
    }
    yield _line("pearson_coverage", "spearman", [(*_spearman(world, runs), world) for *_, world in found if world.windows == 20], runs)


def _of(bounds: np.ndarray, true: float) -> tuple[float, float, float]:
    """Share of intervals that hold the true value, share wholly above it, and their mean width."""
    low, high = bounds.T
    return float(np.mean((low <= true) & (true <= high))), float(np.mean(low > true)), float(np.mean(high - low))


def _line(bench: str, figure: str, found: list[tuple[float, float, float, World]], runs: int) -> Line:
    shares = [share for share, *_ in found]
    worst = found[int(np.argmin(shares))][-1]
    return {
        "bench": bench,
        "figure": figure,
        f"{figure}_coverage_min": min(shares),
        f"{figure}_coverage_mean": float(np.mean(shares)),
        "below_93_percent": sum(share < 0.93 for share in shares),
        "mean_width_20_windows": float(np.mean([width for *_, width, world in found if world.windows == 20])),
        "worst": f"{worst.tail}, {worst.label} {worst.skill}, {worst.windows} windows, {worst.each} a document",
        "cases": len(found),
        "runs": runs,
    }


def _ranks(values: np.ndarray) -> np.ndarray:
    ranks = rankdata(values.ravel()).reshape(values.shape)
    return ranks - ranks.min()


def _spearman(world: World, runs: int) -> tuple[float, float, float]:
    true = World(world.tail, world.label, world.skill, 48, world.each).true(runs=500, transform=_ranks)
    predicted, real = world.draw(np.random.default_rng(1), runs)
    totals = [by_document(world, _ranks(predicted[run : run + 1]), _ranks(real[run : run + 1]))[0] for run in range(runs)]
    bounds = [pearson_bounds(each) for each in totals if not np.isnan(pearson_of(each.sum(axis=0)))]
    return _of(np.array([pair for pair in bounds if pair is not None]), true)


def large_document(runs: int) -> Iterator[Line]:
    """A rate, and an area under the ROC curve, of windows of which one document holds 40 to 60%; the last case is of equal documents."""
    random, shares = np.random.default_rng(0), {}
    for (windows, documents, share), spread, rate in product(LARGE, (0.02, 0.1, 0.3, 0.6), (0.5, 0.7, 0.9)):
        head = round(share * windows)
        sizes = [head, *(len(part) for part in np.array_split(np.arange(windows - head), documents - 1))]
        clusters = np.repeat(np.arange(documents), sizes)
        rates = random.beta(rate * (1 / spread - 1), (1 - rate) * (1 / spread - 1), (runs, documents))
        ends = np.array([clustered_proportion(row, clusters) for row in random.random((runs, windows)) < rates[:, clusters]])
        shares[windows, documents, share, spread, rate] = float(np.mean((ends[:, 0] <= rate) & (rate <= ends[:, 1])))
    yield _worst("rate", shares, runs)
    areas = {(side, share, spread): _area(side, share, spread, runs) for side, share, spread in product(("one", "both"), (0.4, 0.6), (0.1, 0.3, 0.6))}
    yield _worst("area", areas, runs)


def _worst(figure: str, shares: dict[Any, float], runs: int) -> Line:
    worst = min(shares, key=lambda case: shares[case])
    return {
        "bench": "large_document",
        "figure": figure,
        "large_document_coverage_min": shares[worst],
        "large_document_coverage_mean": float(np.mean(list(shares.values()))),
        "worst": list(worst),
        "cases": len(shares),
        "runs": runs,
    }


def _area(side: str, share: float, spread: float, runs: int) -> float:
    """40 firing and 40 silent windows with normal grades; a document holds a share of the firing ones, and another one of the silent ones."""
    random, truth, covered = np.random.default_rng(0), np.arange(80) < 40, 0
    lean, head = np.sqrt(spread / (1 - spread)), round(40 * share)
    documents = np.arange(80) + 2
    documents[:head] = 0
    if side == "both":
        documents[40 : 40 + head] = 1
    documents = np.unique(documents, return_inverse=True)[1]
    true = norm.cdf(1 / np.sqrt(2 * (1 + lean**2)))
    for _ in range(runs):
        low, high = auroc_bounds(truth + random.normal(size=80) + (lean * random.normal(size=80))[documents], truth, documents)
        covered += low <= true <= high
    return covered / runs
