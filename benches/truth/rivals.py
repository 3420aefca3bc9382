"""Compare other intervals for Pearson's r with the one in use, over the grid of `benches.truth.grids`."""

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import numpy as np

from benches.truth.grids import EACH, LABELS, TAILS, WINDOWS
from benches.truth.score_windows import World
from interp.stats import correlation
from interp.stats.agreement import pearson_of
from interp.stats.correlation import MIN_DOCUMENTS, firing_documents, pearson_bounds

Line = dict[str, Any]
Bounds = tuple[float, float]
RESAMPLES = 199


def compared(runs: int) -> Iterator[Line]:
    """One line an interval: its coverage over all cases (least, 5th percentile, mean, 95th percentile) and its mean width."""
    found: dict[str, list[tuple[float, float, str]]] = {}
    for tail, (label, skill), each in product(TAILS, LABELS, EACH):
        true = World(tail, label, skill, 48, each).true(runs=1000)
        for windows in WINDOWS:
            world = World(tail, label, skill, windows, each)
            kept = [totals for totals in world.totals(np.random.default_rng(1), runs) if firing_documents(totals) >= MIN_DOCUMENTS]
            kept = [totals for totals in kept if not np.isnan(pearson_of(totals.sum(axis=0) - totals)).any()]
            if len(kept) < runs / 2:
                continue
            for name, interval in INTERVALS.items():
                low, high = np.array([interval(totals) for totals in kept]).T
                case = f"{tail}, {label} {skill}, {windows} windows, {each} a document"
                found.setdefault(name, []).append((float(np.mean((low <= true) & (true <= high))), float(np.mean(high - low)), case))
    for name, cases in found.items():
        shares = np.array([share for share, *_ in cases])
        yield {
            "bench": "pearson_rivals",
            "interval": name,
            "coverage_min": shares.min(),
            "coverage_p5": np.quantile(shares, 0.05),
            "coverage_mean": shares.mean(),
            "coverage_p95": np.quantile(shares, 0.95),
            "within_93_to_97": np.mean((shares >= 0.93) & (shares <= 0.97)),
            "mean_width": np.mean([width for _, width, _ in cases]),
            "worst": cases[int(np.argmin(shares))][2],
            "cases": len(cases),
            "runs": runs,
        }


def _parts(totals: np.ndarray) -> tuple[float, float, float, float, float]:
    """z, the distances of the studentised ends, and those of what one more document does."""
    whole = totals.sum(axis=0)
    z = correlation._z(pearson_of(np.concatenate([whole[None], whole + correlation._documents_more(totals), whole - totals])))
    down, up = correlation._distances(z[4:], 0.95)
    return float(z[0]), down, up, max(0.0, float(z[0] - min(z[1], z[2]))), max(0.0, float(z[3] - z[0]))


def _without_bound(totals: np.ndarray) -> Bounds:
    z, down, up, below, above = _parts(totals)
    return float(np.tanh(z - down - below)), float(np.tanh(z + up + above))


def _studentised(totals: np.ndarray) -> Bounds:
    z, down, up, *_ = _parts(totals)
    return float(np.tanh(z - down)), float(np.tanh(z + up))


def _in_quadrature(totals: np.ndarray) -> Bounds:
    z, down, up, below, above = _parts(totals)
    return float(np.tanh(z - np.hypot(down, below))), float(np.tanh(z + np.hypot(up, above)))


def _by_tail(totals: np.ndarray) -> Bounds:
    """What one more document does counts by the tail of the sample: log of the strongest document's energy over the median's, from 0 to 3."""
    z, down, up, below, above = _parts(totals)
    energy = totals[:, 4][totals[:, 4] > 0]
    weight = min(1.0, float(np.log(energy.max() / np.median(energy))) / 3)
    return float(np.tanh(z - down - weight * below)), float(np.tanh(z + up + weight * above))


def _bootstrap_t(totals: np.ndarray, more: float = 0.0) -> Bounds:
    """Documents drawn anew, each z over its linearised error; with `more` of each of the three documents not seen among those drawn from."""
    count, whole = len(totals), totals.sum(axis=0)
    z = float(correlation._z(pearson_of(whole)))
    left_out = correlation._z(pearson_of(whole - totals))
    error = float(np.sqrt((count - 1) / count * ((left_out - left_out.mean()) ** 2).sum()))
    pool = np.concatenate([totals, correlation._documents_more(totals)])
    chances = np.concatenate([np.ones(count), np.full(3, more)])
    chances /= chances.sum()
    centre = float(correlation._z(pearson_of(chances @ pool)))
    drawn = np.random.default_rng(0).multinomial(count, chances, RESAMPLES)
    values, slopes = _slopes(drawn @ pool)
    products = (drawn @ (pool[:, :, None] * pool[:, None, :]).reshape(len(pool), -1)).reshape(RESAMPLES, 6, 6)
    variances = np.einsum("bi,bij,bj->b", slopes, products, slopes) * count / (count - 1)
    usable = np.isfinite(values) & (variances > 1e-18)
    if usable.sum() < 50:
        return -1.0, 1.0
    least, most = np.quantile((values[usable] - centre) / np.sqrt(variances[usable]), [0.025, 0.975])
    return float(np.tanh(z - most * error)), float(np.tanh(z - least * error))


def _slopes(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """z of sums [B, 6], and its derivative by each of them."""
    n, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
    mx, my = x / n, y / n
    vx, vy = xx / n - mx**2, yy / n - my**2
    with np.errstate(all="ignore"):
        scale = 1 / np.sqrt(vx * vy)
        r = np.clip((xy / n - mx * my) * scale, -correlation.LIMIT, correlation.LIMIT)
        by_n = mx * my * scale - r * (mx**2 / vx + my**2 / vy) / 2
        slopes = np.stack([by_n, r * mx / vx - my * scale, r * my / vy - mx * scale, -r / (2 * vx), -r / (2 * vy), scale], axis=-1)
    return np.arctanh(r), slopes / (n * (1 - r**2))[:, None]


def _dirichlet(totals: np.ndarray) -> Bounds:
    """Percentiles of r of documents with random weights, a third of each of the three documents not seen among them."""
    random, count = np.random.default_rng(0), len(totals)
    weights = np.concatenate([random.standard_gamma(1, (2 * RESAMPLES, count)), random.standard_gamma(1 / 3, (2 * RESAMPLES, 3))], axis=1)
    found = pearson_of(weights @ np.concatenate([totals, correlation._documents_more(totals)]))
    low, high = np.nanquantile(found, [0.025, 0.975])
    return float(low), float(high)


INTERVALS: dict[str, Callable[[np.ndarray], Bounds]] = {
    "in use": lambda totals: pearson_bounds(totals) or (-1.0, 1.0),
    "the lower end without a bound": _without_bound,
    "studentised alone": _studentised,
    "joined in quadrature": _in_quadrature,
    "by the sample's tail": _by_tail,
    "bootstrap-t": _bootstrap_t,
    "bootstrap-t, with documents not seen": lambda totals: _bootstrap_t(totals, 1 / 3),
    "Dirichlet percentiles": _dirichlet,
}
