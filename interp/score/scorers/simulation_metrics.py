"""Compute the figures of predicted activations, for `simulation`."""

import numpy as np
from numpy.typing import NDArray

from interp.domain.score import Item, NullResult
from interp.domain.vocabulary import Vocabulary
from interp.judge.verdicts import AnswerStatus, Verdicts
from interp.score.base import CORRELATION, LEVEL, Figure, ScorerInput
from interp.score.controls.comparison import NullFigures, compare_with_nulls
from interp.score.items.test_set import Mask, TestSet
from interp.stats.agreement import SUMS, pearson, pearson_of, r_squared, sums
from interp.stats.correlation import MIN_DOCUMENTS, firing_documents, pearson_bounds, pearson_error, ranks_above_lowest
from interp.stats.intervals import leave_one_out

Floats = NDArray[np.float64]
METHOD = "fisher-hall-cluster"


def content_of(test_set: TestSet, vocabulary: Vocabulary) -> Mask:
    """Return the tokens that count, without special ones, bool [N, W]."""
    return test_set.contexts.valid() & ~np.isin(test_set.contexts.tokens, list(vocabulary.special))


def figure_of(test_set: TestSet, verdicts: Verdicts, content: Mask, place: int = 0, among: Mask | None = None) -> Figure:
    """Return Pearson's r of one explanation over its answered windows in `among` [N]."""
    one = verdicts.select(slice(place, place + 1))
    if among is not None:
        one = Verdicts(one.values, np.where(among[None], one.statuses, np.uint8(AnswerStatus.FAILED)))
    totals = totals_of(test_set, one, content)
    r, replicates = float(pearson_of(totals.sum(axis=0))[0]), leave_one_out(totals, pearson_of)[:, 0]
    if np.isnan(r):
        return Figure(None, None, replicates, why_undefined(test_set, one, content))
    bounds = pearson_bounds(totals[:, 0], LEVEL)
    why = None
    if bounds is None:
        firing = firing_documents(totals[:, 0])
        why = "No interval: without one of its documents nothing is left to correlate."
        if firing < MIN_DOCUMENTS:
            why = f"No interval: the feature fires in {firing} documents of those asked about, and one needs {MIN_DOCUMENTS}."
    return Figure(r, bounds, replicates, why, CORRELATION, pearson_error(r, replicates))


def why_undefined(test_set: TestSet, verdicts: Verdicts, content: Mask) -> str:
    """Return why the first explanation's r is undefined."""
    if verdicts.reason is not None:
        return verdicts.reason
    use = content & verdicts.answered[0][:, None]
    if not use.any():
        return "No token was answered."
    if np.ptp(test_set.contexts.activations[use].astype(np.float32)) == 0:
        return "The real activations are the same at every token, so nothing can correlate with them."
    return "The prediction is the same at every token, so it correlates with nothing."


def totals_of(test_set: TestSet, verdicts: Verdicts, content: Mask) -> Floats:
    """Return the sums for Pearson's r per document and explanation, float64 [m, E, 6].

    They are over answered windows. The predictions of a rule are 0 at most tokens, so the moments of the windows are one matrix product each.
    """
    use = (content[None] & verdicts.answered[:, :, None]).astype(np.float64)
    predicted = verdicts.values.astype(np.float64) * use
    real = np.where(content, test_set.contexts.activations, 0).astype(np.float64)
    real_windows = np.stack([content, real, real**2], axis=-1).sum(axis=1)[None] * verdicts.answered[:, :, None]
    window = np.empty((*verdicts.statuses.shape, SUMS))
    window[..., 0], window[..., 2], window[..., 4] = np.moveaxis(real_windows, -1, 0)
    window[..., 1] = predicted.sum(axis=2)
    window[..., 3] = np.einsum("enw,enw->en", predicted, predicted)
    window[..., 5] = np.einsum("enw,nw->en", predicted, real)
    return np.tensordot(test_set.membership(), window, axes=(0, 1))


def null_of(test_set: TestSet, verdicts: Verdicts, content: Mask, own: Figure, item: ScorerInput) -> NullResult | None:
    """Return the own figure's comparison with the nulls, which follow it in `verdicts`."""
    if not item.nulls:
        return None
    return compare_with_nulls(own, null_figures(test_set, verdicts.select(slice(0, 1 + len(item.nulls))), content, own.value), item.nulls)


def null_figures(test_set: TestSet, verdicts: Verdicts, content: Mask, own: float | None) -> NullFigures:
    """Return the figures of the nulls beside `own`, the first of `verdicts`."""
    answered, values = verdicts.answered, verdicts.values
    both = np.where(answered[:1] & answered[1:], np.uint8(AnswerStatus.ANSWERED), np.uint8(AnswerStatus.FAILED))
    theirs = totals_of(test_set, Verdicts(values[1:], both), content)
    alone = totals_of(test_set, verdicts.select(slice(0, 1)), content)
    # Where both answered the same windows, as rules always do, the own sums are the common ones.
    is_same = bool((answered[:1] == (answered[:1] & answered[1:])).all())
    own_values = np.broadcast_to(values[:1], values[1:].shape)
    ours = np.broadcast_to(alone, theirs.shape) if is_same else totals_of(test_set, Verdicts(own_values, both), content)
    return NullFigures.of(
        Figure(own, replicates=leave_one_out(alone, pearson_of)[:, 0]),
        pearson_of(ours.sum(axis=0)),
        leave_one_out(ours, pearson_of),
        pearson_of(theirs.sum(axis=0)),
        leave_one_out(theirs, pearson_of),
        _parts(ours) - _parts(theirs),
    )


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


def metrics_of(test_set: TestSet, verdicts: Verdicts, content: Mask, r: float | None) -> dict[str, float | None]:
    """Return r, R2, and Spearman's rank correlation with its interval, of the first explanation.

    The interval is computed as Pearson's is. Ranks count from that of the lowest value, so that silence is 0 and very strong tokens weigh no more.
    """
    use = content & verdicts.answered[0][:, None]
    predicted, real = verdicts.values[0][use], test_set.contexts.activations[use]
    documents = np.broadcast_to(test_set.clusters[:, None], use.shape)[use]
    totals = sums(ranks_above_lowest(predicted), ranks_above_lowest(real), documents, test_set.documents)
    value = float(pearson_of(totals.sum(axis=0)))
    low, high = (None if np.isnan(value) else pearson_bounds(totals, LEVEL)) or (None, None)
    r2 = r_squared(predicted.astype(np.float64), real.astype(np.float64))
    return {"pearson": r, "r2": r2, "spearman": None if np.isnan(value) else value, "spearman_low": low, "spearman_high": high}


def by_decile(test_set: TestSet, verdicts: Verdicts, content: Mask) -> dict[str, float | None]:
    """Return Pearson's r per tenth of the firing windows, weakest (1) to strongest (10)."""
    found: dict[str, float | None] = {}
    for number, tenth in enumerate(test_set.deciles(verdicts.answered[0]), start=1):
        use = content[tenth]
        real, said = test_set.contexts.activations[tenth][use], verdicts.values[0][tenth][use]
        found[f"pearson_decile_{number}"] = pearson(said.astype(np.float64), real.astype(np.float64))
    return found


def items_of(test_set: TestSet, verdicts: Verdicts, content: Mask) -> tuple[Item, ...]:
    """Return one item per window for the first explanation.

    `truth` and `prediction` are the window's largest values. `detail` lists [column, value] of the tokens that are not 0.
    """
    real = np.where(content, test_set.contexts.activations, 0).astype(np.float32)
    said = np.where(content, verdicts.values[0], 0)
    answered = verdicts.answered[0]
    real_pairs, said_pairs = _sparse(real), _sparse(said)
    truths, predictions = real.max(axis=1, initial=0).tolist(), said.max(axis=1, initial=0).tolist()
    return tuple(
        Item(
            context=context,
            kind=test_set.kinds[row],
            truth=truths[row],
            prediction=predictions[row] if answered[row] else None,
            failure=verdicts.failure(row),
            detail={"real": real_pairs[row], "predicted": said_pairs[row]} if answered[row] else None,
        )
        for row, context in enumerate(test_set.contexts.identities())
    )


def _sparse(values: NDArray[np.float32]) -> list[list[list[float]]]:
    """Return [column, value] of the non-zero entries of each row of [N, W]."""
    rows: list[list[list[float]]] = [[] for _ in range(len(values))]
    places, columns = np.nonzero(values)
    for row, column, value in zip(places.tolist(), columns.tolist(), np.round(values[places, columns].astype(np.float64), 4).tolist(), strict=True):
        rows[row].append([column, value])
    return rows
