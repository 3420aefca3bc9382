"""Measure absorption: another feature fires in place of a class's own."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from interp.collect.measure.figures import NO_RECONSTRUCTION
from interp.dictionary.module import NORM_SCALES, Dictionary
from interp.domain.check_report import Figure
from interp.health.figures import Share
from interp.health.probes import Null, Scale, best_threshold, fit_logistic, null_of
from interp.stats.intervals import clustered_proportion

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
# A further feature is one of the class's own where it raises F1 by more, and the most of them (Chanin et al. 2024, arXiv 2409.14507, section 5).
GAIN, MOST_OWN = 0.03, 10
# What another feature's decoder and its part of the margin must reach: full absorption of SAEBench (Karvonen et al. 2025, arXiv 2503.09532).
LEAST_COSINE, LEAST_PART = 0.025, 0.4
LISTED = 10
# Tokens encoded at once.
BLOCK = 256
IN_SAMPLE = "Of the half of the documents on which the features were chosen: no error is estimated."
NO_FEATURE = "No feature fires more in the class than elsewhere."
NO_TOKEN = "The linear probe says yes at no tested token of the class."
NO_DRAW = "No draw has tokens at which the linear probe says yes."


@dataclass(frozen=True, slots=True)
class Absorber:
    """A feature that stands in at so many tokens; `cosine` with the probe."""

    feature: int
    tokens: int
    cosine: float


@dataclass(frozen=True, slots=True)
class Absorption:
    """Shares of a class's tokens at which its own features are silent, or absorbed.

    own        features that are the class's: the best single one, then the next by difference of means that fire more in the class, while each
               raises the F1 of a logistic regression on them by .03 or more (at most 10); all on the half that fits
    f1         of the regression on these, at its best threshold: where it is low, the class has no features of its own to be absorbed
    tokens     of the class in tested documents at which the linear probe says yes, of so many `documents`: `silent` and `rate` are shares of them
    silent     share at which no feature of the class's own fires
    rate       share at which, besides, the margin is above 0, the feature with the greatest part f s (d·p) carries 40% of it or more, and its
               decoder's cosine with p is .025 or more. p is the probe's direction in activations, s the scale of the input norm; the margin is
               (x - m)·p, m the mean of the tokens outside the class
    random     the rate with directions of uniform draw in place of p, margins and silent tokens as they are: what chance alone gives
    permuted   the rate with labels permuted over token types, features chosen and probe fitted again: of classes that are none
    absorbers  the 10 features that absorb at the most tokens

    Sources: Chanin et al. 2024 (arXiv 2409.14507); the part of the probe's projection in place of ablations, and its thresholds, are SAEBench's
    (Karvonen et al. 2025, arXiv 2503.09532). Ours: the margin is taken from the other tokens' mean, since a stream's own mean has a part along p.
    """

    own: tuple[int, ...]
    f1: Figure
    tokens: int
    documents: int
    silent: Share
    rate: Share
    random: Null
    permuted: Null
    absorbers: tuple[Absorber, ...]
    why: str | None


@dataclass(frozen=True)
class Recognised:
    """Tokens of a class that a probe knows, and which its own features miss.

    own int64 [k] features; rows int64 [n] of the sample; silent bool [n]; margins float64 [n]; direction float64 [D], of length 1
    """

    own: Ints
    f1: float
    rows: Ints
    silent: Mask
    margins: Floats
    direction: Floats


def recognise(values: NDArray[np.float32], numbers: Ints, scores: Floats, weights: Floats, truth: Mask, fit: Mask) -> Recognised | None:
    """Return a class's own features, and the tested tokens at which the probe says yes.

    `values` float32 [N, k] are the activations of candidates, best first, whose features are `numbers` [k]; `scores` [N] are the probe's, and
    `weights` [D] its direction in activations. Thresholds are those of the greatest F1 on the half that fits. None without a candidate.
    """
    if not values.shape[1]:
        return None
    count, f1 = own_features(values[fit], truth[fit])
    threshold, _ = best_threshold(scores[fit], truth[fit])
    rows = np.flatnonzero(~fit & truth & (scores >= threshold))
    # Of inputs that do not vary no direction is left.
    length = float(np.linalg.norm(weights)) or 1.0
    margins = (scores[rows] - scores[fit & ~truth].mean()) / length
    silent: Mask = np.all(values[rows, :count] <= 0, axis=1)
    return Recognised(numbers[:count], f1, rows, silent, margins, weights / length)


def own_features(values: NDArray[np.float32], truth: Mask) -> tuple[int, float]:
    """Return how many candidates [N, k], best first, are the class's own; their F1."""
    found = 0.0
    for size in range(1, min(values.shape[1], MOST_OWN) + 1):
        scaled = Scale.of(values[:, :size])(values[:, :size])
        _, f1 = best_threshold(scaled @ fit_logistic(scaled, truth), truth)
        if size > 1 and f1 < found + GAIN:
            return size - 1, found
        found = f1
    return min(values.shape[1], MOST_OWN), found


def absorption(
    dictionary: Dictionary, x: Tensor, documents: Ints, classes: Sequence[Sequence[Recognised | None]], directions: Floats
) -> list[Absorption]:
    """Return the absorption of classes, each a labelling and its permutations.

    `directions` float64 [R, D] of length 1 are drawn for the control. Inputs are float32 [N, D], documents int64 [N]. Tokens at which a class's own
    features are silent are encoded once more, in blocks.
    """
    if why := NO_RECONSTRUCTION.get(dictionary.architecture):
        return [undefined(why) for _ in classes]
    trials = [[one for one in found if one is not None] for found in classes]
    drawn = [[replace(found[0], direction=direction) for direction in directions] if found and found[0] else [] for found in classes]
    every = [trial for own, random in zip(trials, drawn, strict=True) for trial in (*own, *random)]
    hits = iter(_absorbed(dictionary, x, every))
    results = []
    for found, own, random in zip(classes, trials, drawn, strict=True):
        by_label, by_direction = [next(hits) for _ in own], [next(hits) for _ in random]
        first = found[0] if found else None
        if first is None or not len(first.rows):
            results.append(undefined(NO_FEATURE if first is None else NO_TOKEN, first))
            continue
        results.append(_figures(dictionary, documents, first, by_label, by_direction))
    return results


def undefined(why: str, of: Recognised | None = None) -> Absorption:
    """Return the absorption of a class of which nothing can be said."""
    none, share = Null(Figure(None, why=why), None), Share(None, None, None, why)
    own, f1 = ((), Figure(None, why=why)) if of is None else (tuple(of.own.tolist()), Figure(of.f1, why=IN_SAMPLE))
    return Absorption(own, f1, 0, 0, share, share, none, none, (), why)


def _figures(dictionary: Dictionary, documents: Ints, of: Recognised, by_label: Sequence[Ints], by_direction: Sequence[Ints]) -> Absorption:
    """Return a class's figures, from each draw's absorbing features int64 [n].

    They are -1 where none absorbs; the first of `by_label` is the class's own.
    """
    absorbing = by_label[0]
    _, units = np.unique(documents[of.rows], return_inverse=True)
    listed = Counter(absorbing[absorbing >= 0].tolist()).most_common(LISTED)
    return Absorption(
        own=tuple(of.own.tolist()),
        f1=Figure(of.f1, why=IN_SAMPLE),
        tokens=len(of.rows),
        documents=int(units.max()) + 1,
        silent=_share(of.silent, units),
        rate=_share(absorbing >= 0, units),
        random=null_of([float((found >= 0).mean()) for found in by_direction], NO_DRAW),
        permuted=null_of([float((found >= 0).mean()) if len(found) else None for found in by_label[1:]], NO_DRAW),
        absorbers=tuple(Absorber(feature, count, _cosine(dictionary.W_dec[feature], of.direction)) for feature, count in listed),
        why=None,
    )


def _cosine(decoder: Tensor, direction: Floats) -> float:
    own = decoder.double().cpu().numpy()
    return float(own @ direction / np.linalg.norm(own))


def _share(hits: Mask, units: Ints) -> Share:
    return Share(float(hits.mean()), *clustered_proportion(hits, units))


def _absorbed(dictionary: Dictionary, x: Tensor, trials: Sequence[Recognised]) -> list[Ints]:
    """Return each trial's absorbing features int64 [n], -1 for none."""
    found = [np.full(len(trial.rows), -1, dtype=np.int64) for trial in trials]
    asked = [np.flatnonzero(trial.silent & (trial.margins > 0)) for trial in trials]
    rows = np.unique(np.concatenate([trial.rows[places] for trial, places in zip(trials, asked, strict=True)])) if trials else np.zeros(0, np.int64)
    decoder = dictionary.W_dec.float()
    along = decoder @ torch.from_numpy(np.stack([trial.direction for trial in trials], axis=1)).to(decoder) if len(rows) else decoder
    lengths = torch.linalg.vector_norm(decoder, dim=1)
    for first in range(0, len(rows), BLOCK):
        part = rows[first : first + BLOCK]
        codes = _Codes.of(dictionary, x[torch.from_numpy(part).to(x.device)])
        for place, (trial, places) in enumerate(zip(trials, asked, strict=True)):
            own = places[np.isin(trial.rows[places], part)]
            if len(own):
                greatest, feature = codes.greatest(along[:, place])
                at = np.searchsorted(part, trial.rows[own])
                aligned = (along[:, place] >= LEAST_COSINE * lengths).cpu().numpy()
                is_absorbed = (greatest[at] >= LEAST_PART * trial.margins[own]) & aligned[feature[at]]
                found[place][own[is_absorbed]] = feature[at][is_absorbed]
    return found


@dataclass(frozen=True)
class _Codes:
    """Features that fire at n tokens.

    tokens, features and values [M] of each firing; values float64 in the units of the activations
    """

    count: int
    tokens: Tensor
    features: Tensor
    values: Tensor

    @classmethod
    def of(cls, dictionary: Dictionary, x: Tensor) -> "_Codes":
        codes = dictionary.encode(x)
        tokens, features = codes.nonzero(as_tuple=True)
        values, scale = codes[tokens, features].double(), NORM_SCALES[dictionary.input_norm]
        return cls(len(x), tokens, features, values if scale is None else values * scale(x)[tokens, 0].double())

    def greatest(self, along: Tensor) -> tuple[Floats, Ints]:
        """Return each token's greatest part along a direction, and its feature, [n].

        They are 0 and the first one where nothing fires.
        """
        parts = self.values * along[self.features].double()
        best = torch.full((self.count,), -torch.inf, dtype=parts.dtype, device=parts.device).scatter_reduce_(0, self.tokens, parts, "amax")
        won = parts == best[self.tokens]
        first = torch.full((self.count,), len(along), device=parts.device).scatter_reduce_(0, self.tokens[won], self.features[won], "amin")
        fires = torch.isfinite(best)
        return torch.where(fires, best, 0.0).cpu().numpy(), torch.where(fires, first, 0).cpu().numpy()
