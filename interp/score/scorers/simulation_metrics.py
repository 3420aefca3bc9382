"""Compute the figures of predicted activations, for `simulation`."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from interp.domain.score import Item
from interp.domain.vocabulary import Vocabulary
from interp.judge.verdicts import Verdicts
from interp.score.base import CORRELATION, LEVEL, Figure
from interp.score.items.test_set import Mask, TestSet
from interp.score.measure import Measure, Measured, Places, items_of
from interp.stats.agreement import SUMS, pearson, pearson_of, r_squared, sums
from interp.stats.correlation import MIN_DOCUMENTS, firing_documents, pearson_bounds, pearson_error, ranks_above_lowest
from interp.stats.intervals import leave_one_out

Floats = NDArray[np.float64]
METHOD = "fisher-hall-cluster"


def content_of(test_set: TestSet, vocabulary: Vocabulary) -> Mask:
    """Return the tokens that count, without special ones, bool [N, W]."""
    return test_set.contexts.valid() & ~np.isin(test_set.contexts.tokens, list(vocabulary.special))


class Correlation(Measure):
    """Pearson's r of predicted and real activations over the tokens in `content` [N, W]."""

    method = METHOD

    def __init__(self, test_set: TestSet, verdicts: Verdicts, content: Mask) -> None:
        self.test_set = test_set
        self.verdicts = verdicts
        self.content = content

    def figure(self, place: int = 0, among: Mask | None = None) -> Figure:
        answered = self.verdicts.answered[place] if among is None else self.verdicts.answered[place] & among
        totals = self._totals(slice(place, place + 1), answered[None])
        r, replicates = float(pearson_of(totals.sum(axis=0))[0]), leave_one_out(totals, pearson_of)[:, 0]
        if np.isnan(r):
            return Figure(None, None, replicates, self._why_undefined(answered))
        bounds = pearson_bounds(totals[:, 0], LEVEL)
        why = None
        if bounds is None:
            firing = firing_documents(totals[:, 0])
            why = "No interval: without one of its documents nothing is left to correlate."
            if firing < MIN_DOCUMENTS:
                why = f"No interval: the feature fires in {firing} documents of those asked about, and one needs {MIN_DOCUMENTS}."
        return Figure(r, bounds, replicates, why, CORRELATION, pearson_error(r, replicates))

    def measured(self, places: Places, use: Mask) -> Measured:
        totals = self._totals(places, use)
        return Measured(pearson_of(totals.sum(axis=0)), leave_one_out(totals, pearson_of), _parts(totals))

    def _why_undefined(self, answered: Mask) -> str:
        use = self.content & answered[:, None]
        if not use.any():
            return "No token was answered."
        if np.ptp(self.test_set.contexts.activations[use].astype(np.float32)) == 0:
            return "The real activations are the same at every token, so nothing can correlate with them."
        return "The prediction is the same at every token, so it correlates with nothing."

    def _totals(self, places: Places, use: Mask) -> Floats:
        """Return the sums for Pearson's r per document and explanation, float64 [m, E, 6].

        They are over the windows in `use` [E, N]. The predictions of a rule are 0 at most tokens, so the moments of the windows are one matrix
        product each.
        """
        predicted = self.verdicts.values[places].astype(np.float64) * (self.content[None] & use[:, :, None]).astype(np.float64)
        real = np.where(self.content, self.test_set.contexts.activations, 0).astype(np.float64)
        real_windows = np.stack([self.content, real, real**2], axis=-1).sum(axis=1)[None] * use[:, :, None]
        window = np.empty((*use.shape, SUMS))
        window[..., 0], window[..., 2], window[..., 4] = np.moveaxis(real_windows, -1, 0)
        window[..., 1] = predicted.sum(axis=2)
        window[..., 3] = np.einsum("enw,enw->en", predicted, predicted)
        window[..., 5] = np.einsum("enw,nw->en", predicted, real)
        return np.tensordot(self.test_set.membership(), window, axes=(0, 1))


def _parts(totals: Floats) -> Floats:
    """Return each document's part of r, float64 [m, R]; NaN where r is.

    It is Σ (x - mean x)(y - mean y) / (n sd x sd y) over its tokens. `totals` are sums [m, R, 6].
    """
    n, x, y, _, _, xy = np.moveaxis(totals, -1, 0)
    whole = totals.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean_x, mean_y = whole[:, 1] / whole[:, 0], whole[:, 2] / whole[:, 0]
        covariance = xy - mean_x * y - mean_y * x + mean_x * mean_y * n
        spread = np.sqrt((whole[:, 3] - whole[:, 1] * mean_x) * (whole[:, 4] - whole[:, 2] * mean_y))
        return np.where(np.isnan(pearson_of(whole)), np.nan, covariance / spread)


def metrics_of(measure: Correlation) -> dict[str, float | None]:
    """Return r, R2, and Spearman's rank correlation with its interval, of the first explanation.

    The interval is computed as Pearson's is. Ranks count from that of the lowest value, so that silence is 0 and very strong tokens weigh no more.
    """
    test_set, answered = measure.test_set, measure.verdicts.answered[:1]
    use = measure.content & answered[0][:, None]
    predicted, real = measure.verdicts.values[0][use], test_set.contexts.activations[use]
    documents = np.broadcast_to(test_set.clusters[:, None], use.shape)[use]
    totals = sums(ranks_above_lowest(predicted), ranks_above_lowest(real), documents, test_set.documents)
    r, rho = float(measure.measured(slice(0, 1), answered).values[0]), float(pearson_of(totals.sum(axis=0)))
    low, high = (None if np.isnan(rho) else pearson_bounds(totals, LEVEL)) or (None, None)
    figures = {"pearson": r, "r2": r_squared(predicted.astype(np.float64), real.astype(np.float64)), "spearman": rho}
    defined = {name: None if value is None or np.isnan(value) else value for name, value in figures.items()}
    return defined | {"spearman_low": low, "spearman_high": high}


def by_decile(measure: Correlation) -> dict[str, float | None]:
    """Return Pearson's r per tenth of the firing windows, weakest (1) to strongest (10)."""
    test_set, verdicts = measure.test_set, measure.verdicts
    found: dict[str, float | None] = {}
    for number, tenth in enumerate(test_set.deciles(verdicts.answered[0]), start=1):
        use = measure.content[tenth]
        real, said = test_set.contexts.activations[tenth][use], verdicts.values[0][tenth][use]
        found[f"pearson_decile_{number}"] = pearson(said.astype(np.float64), real.astype(np.float64))
    return found


def token_items(measure: Correlation) -> tuple[Item, ...]:
    """Return one item per window for the first explanation.

    `truth` and `prediction` are the window's largest values. `detail` lists [column, value] of the tokens that are not 0.
    """
    verdicts = measure.verdicts
    real = np.where(measure.content, measure.test_set.contexts.activations, 0).astype(np.float32)
    said = np.where(measure.content, verdicts.values[0], 0)
    pairs = zip(verdicts.answered[0].tolist(), _sparse(real), _sparse(said), strict=True)
    details: list[dict[str, object] | None] = [
        {"real": real_pairs, "predicted": said_pairs} if answered else None for answered, real_pairs, said_pairs in pairs
    ]
    highest = replace(verdicts, values=said.max(axis=1, initial=0)[None], details=details)
    return items_of(measure.test_set, highest, real.max(axis=1, initial=0))


def _sparse(values: NDArray[np.float32]) -> list[list[list[float]]]:
    """Return [column, value] of the non-zero entries of each row of [N, W]."""
    rows: list[list[list[float]]] = [[] for _ in range(len(values))]
    places, columns = np.nonzero(values)
    for row, column, value in zip(places.tolist(), columns.tolist(), np.round(values[places, columns].astype(np.float64), 4).tolist(), strict=True):
        rows[row].append([column, value])
    return rows
