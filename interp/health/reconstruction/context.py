"""What features say beyond the current token: the part of the reconstruction that it leaves."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from interp.collect.measure.ratio import Ratio
from interp.dictionary.module import Dictionary
from interp.domain.check_report import Figure
from interp.health.figures import Distribution

Floats = NDArray[np.float64]
# The most frequent types of tokens are used: sums of a wide dictionary by type are held in memory.
MOST_TYPES = 256
LISTED = 100
AT_ONCE = 1 << 24  # activations
FEW = "No type of token comes twice in the sample."
FEW_PAIRS = "No pair of tokens comes twice in the sample."
CONSTANT = "The features do not vary at these tokens."


@dataclass(frozen=True, slots=True)
class ContextFeature:
    """A feature with its part of what is left, and the types' R².

    `token` is None for a feature that is constant at these tokens.
    """

    feature: int
    share: float
    token: float | None


@dataclass(frozen=True, slots=True)
class Left:
    """What types of one or two tokens leave of the features' activations.

    A feature's activation f at a token is predicted by its mean over the other tokens of the same type (leave one out, so that rare types explain
    nothing by themselves), over the 256 most frequent types that come twice.

    tokens, types  that are used, and their types
    left           sum over features of |d|² E[(f - prediction)²], over the same with the mean of all tokens as prediction: 0 where the features name
                   the current token and nothing else, 1 where it tells nothing. With its standard error by documents
    token          distribution of each feature's R² of the token, of features that vary
    features       the 100 with the largest part of what is left, most first. They are chosen by it, so an interval of one would be too narrow
    """

    tokens: int
    types: int
    left: Figure
    token: Distribution
    features: tuple[ContextFeature, ...]


@dataclass(frozen=True, slots=True)
class ContextReport(Left):
    """What the current token leaves of the features' activations; `last_two`: what the last two leave.

    Trap: a feature of the last two tokens says more than the current one, and no more than a list of pairs. What the last two leave is of longer
    context. Pairs are many, and the 256 most frequent cover fewer tokens: the shares of both are of different tokens.
    """

    last_two: Left


@torch.inference_mode()
def context(
    dictionary: Dictionary, x: Tensor, tokens: NDArray[np.int64], documents: NDArray[np.int64], before: NDArray[np.int64] | None = None
) -> ContextReport:
    """Return what the current token, and the last two, leave of a dictionary's features.

    Inputs are float32 `[N, D]`, token ids and documents int64 `[N]`; `before` int64 `[N]` are the tokens before, -1 for none (for all, if not given).
    Features are encoded twice for each of both, in blocks of tokens. Memory is O(256 F).
    """
    one = _left(dictionary, x, tokens, documents, FEW)
    previous = np.full_like(tokens, -1) if before is None else before
    known = np.flatnonzero(previous >= 0)
    pairs = np.unique(np.stack([previous[known], tokens[known]]), axis=1, return_inverse=True)[1].reshape(-1).astype(np.int64)
    two = _left(dictionary, x[torch.from_numpy(known).to(x.device)], pairs, documents[known], FEW_PAIRS)
    return ContextReport(one.tokens, one.types, one.left, one.token, one.features, last_two=two)


def _left(dictionary: Dictionary, x: Tensor, tokens: NDArray[np.int64], documents: NDArray[np.int64], undefined: str) -> Left:
    """Return what the types `[N]` of tokens leave."""
    kinds, rows = _kinds(tokens)
    if not len(rows):
        return Left(0, 0, Figure(None, why=undefined), Distribution.of(np.zeros(0)), ())
    inputs, count = x[torch.from_numpy(rows).to(x.device)], int(kinds.max()) + 1
    sums, squares = (torch.zeros(count, dictionary.n_features, dtype=torch.float64, device=x.device) for _ in range(2))
    places = torch.from_numpy(kinds).to(x.device)
    for part, codes in _codes(dictionary, inputs):
        sums.index_add_(0, places[part], codes)
        squares.index_add_(0, places[part], codes.square())
    sizes = torch.bincount(places, minlength=count).double()
    means, mean = sums / sizes[:, None], sums.sum(0) / len(rows)
    norms = dictionary.W_dec.double().square().sum(1)
    loo = (sizes / (sizes - 1)).square()
    left = (loo[:, None] * (squares - sums * means)).clamp(min=0).sum(0)
    total = (len(rows) / (len(rows) - 1)) ** 2 * (squares.sum(0) - len(rows) * mean.square()).clamp(min=0)
    top, bottom = _by_token(dictionary, inputs, places, (means, sizes, mean, norms))
    units, unit = np.unique(documents[rows], return_inverse=True)
    by_document = [np.bincount(unit, weights=values, minlength=len(units)).astype(np.float64) for values in (top, bottom)]
    ratio = Ratio(by_document[0], by_document[1])
    varies = total > 1e-9 * squares.sum(0)
    explained = torch.where(varies, 1 - left / torch.where(varies, total, 1.0), torch.nan).cpu().numpy()
    return Left(
        tokens=len(rows),
        types=count,
        left=ratio.figure(CONSTANT),
        token=Distribution.of(explained[np.isfinite(explained)]),
        features=_largest((left * norms).cpu().numpy(), explained),
    )


def _kinds(tokens: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the number of each used token's type, and the used tokens' places."""
    types, counts = np.unique(tokens, return_counts=True)
    used = types[np.argsort(-counts, kind="stable")[:MOST_TYPES]]
    used = np.sort(used[counts[np.searchsorted(types, used)] > 1])
    rows = np.flatnonzero(np.isin(tokens, used))
    return np.searchsorted(used, tokens[rows]).astype(np.int64), rows


def _codes(dictionary: Dictionary, x: Tensor) -> Iterator[tuple[slice, Tensor]]:
    size = max(1, AT_ONCE // dictionary.n_features)
    for start in range(0, len(x), size):
        part = slice(start, min(start + size, len(x)))
        yield part, dictionary.encode(x[part]).double()


def _by_token(dictionary: Dictionary, x: Tensor, places: Tensor, of: tuple[Tensor, Tensor, Tensor, Tensor]) -> tuple[Floats, Floats]:
    """Return each token's squared errors of both predictions, float64 `[N]`: its type's mean, and all's."""
    means, sizes, mean, norms = of
    loo, count = (sizes / (sizes - 1)).square(), len(x)
    top, bottom = np.zeros(count), np.zeros(count)
    for part, codes in _codes(dictionary, x):
        own = places[part]
        top[part] = (loo[own] * ((codes - means[own]).square() @ norms)).cpu().numpy()
        bottom[part] = ((count / (count - 1)) ** 2 * ((codes - mean).square() @ norms)).cpu().numpy()
    return top, bottom


def _largest(parts: Floats, explained: Floats) -> tuple[ContextFeature, ...]:
    total = float(parts.sum())
    chosen = [place for place in np.argsort(-parts, kind="stable")[:LISTED] if parts[place] > 0]
    return tuple(
        ContextFeature(int(place), float(parts[place] / total), float(explained[place]) if np.isfinite(explained[place]) else None)
        for place in chosen
    )
