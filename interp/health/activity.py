"""L0, densities, and dead, dense and positional features, by class of token."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from interp.collect.measure.ratio import Ratio
from interp.dictionary.module import Dictionary
from interp.domain.check_report import Figure
from interp.health.counts import Counts
from interp.health.figures import LEVELS, Histogram
from interp.health.firing import GROUPS, FiringBatch, TokenKinds
from interp.subject.base import Subject

# A feature that fires at more of the tokens is dense.
DENSE = 0.1
# Edges of the densities' log10, in quarters of a decade; less than 10^-7 is in the first bin, none at all is apart.
DECADES = np.linspace(-7, 0, 29)
# A feature with this share of its firings in a class is selective for it, if it fires FEWEST times.
SELECTIVE, FEWEST = 0.9, 10
# The chance, over all features, that one which fires anywhere is called positional.
ERROR = 0.05
# The most features of one kind that are listed.
LISTED = 100
NO_TOKENS = "No token counts."
NO_ERROR = "Every collected feature is counted. Of another corpus the share differs: `once` and `unseen_density` say how far."

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class FeatureSet:
    """Features of a kind: number, share of all, and the densest 100."""

    count: int
    share: Figure
    features: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ClassActivity:
    """Activity at the tokens of one class; classes overlap.

    token_share  counted tokens that are of the class
    l0           features that fire at such a token, on average
    density      l0 over the number of features: a feature's mean density within the class
    selective    features with 90% or more of their (at least 10) firings in the class. Trap: in a class of 90% of the tokens most features are
    """

    name: str
    token_share: Figure
    l0: Figure
    density: Figure
    selective: int


@dataclass(frozen=True, slots=True)
class ActivityReport:
    """Activity of the collected features at the counted tokens, which special tokens never are.

    l0              features that fire at a token, on average: Σ firings / Σ tokens, with a standard error that is clustered by document (linearised
                    ratio, Cochran 1977, Sampling Techniques, 6.4, over random groups of documents, Wolter 2007). Trap: an error by tokens is too
                    small, since documents differ. Where not all features are collected, L0 is of those that are. Where firing levels are above 0,
                    it is what the levels make it
    l0_quantiles    at LEVELS, over tokens; exact
    density         histogram of log10(tokens at which a feature fires / tokens), without the features that never fire
    dead            features that never fire: the bin of zero. Trap: a rare feature is dead in a small corpus
    unseen_density  density that a feature may have and still not fire in so many independent tokens, in 5% of corpora: 1 - 0.05^(1/tokens) (the rule
                    of three, Hanley and Lippman-Hand, JAMA 249, 1983). Tokens of a document are not independent: it is a lower bound
    once            features that fire at one token alone. By Good-Turing (Good, Biometrika 40, 1953) about once / tokens of all firings in new text
                    are of features that are dead here, so that a large number says that the corpus is too small to call features dead
    dense           features that fire at more than 10% of tokens
    first_only      features that fire at the first content token of rows alone, and so often that less than 0.05 features of the dictionary would by
                    chance: share of such tokens ^ firings * features < 0.05. They read the position, not the text
    bos_only        features that are dead in the text and fire at the BOS that begins every row; None where rows have no BOS
    classes         by class of token
    """

    features: int
    tokens: int
    l0: Figure
    l0_quantiles: tuple[float, ...] | None
    density: Histogram
    dead: FeatureSet
    unseen_density: float | None
    once: int
    dense: FeatureSet
    first_only: FeatureSet
    bos_only: FeatureSet | None
    classes: tuple[ClassActivity, ...]


class Activity:
    """Accumulator of firings by kind of token, and of L0.

    For S features, K kinds and G groups: firing int64 `[S, K]`; tokens, l0 int64 `[K, G]`; l0_tokens int64 `[S + 1]`, tokens by their L0. All exact,
    whatever the order.
    """

    def __init__(self, features: Ints, kinds: TokenKinds, device: torch.device, origin: str = "", bos_fires: NDArray[np.bool_] | None = None) -> None:
        """Count features int64 `[S]`; `bos_fires` bool `[S]`: whether each fires at a row's BOS."""
        self._features, self._kinds, self._origin, self._bos_fires = features, kinds, origin, bos_fires
        self._firing = torch.zeros((len(features), len(kinds)), dtype=torch.int64, device=device)
        self._tokens = torch.zeros((len(kinds), GROUPS), dtype=torch.int64, device=device)
        self._l0 = torch.zeros_like(self._tokens)
        self._l0_tokens = torch.zeros(len(features) + 1, dtype=torch.int64, device=device)

    def add(self, batch: FiringBatch) -> None:
        """Count a batch: one scattered addition a firing, and one a token."""
        spots = batch.features * len(self._kinds) + batch.kinds.index_select(0, batch.cells)
        _count(self._firing, spots)
        counted = (batch.kinds >= 0).nonzero().squeeze(1)
        l0 = torch.bincount(batch.cells, minlength=len(batch.kinds)).index_select(0, counted)
        places = (batch.kinds * GROUPS + batch.groups).index_select(0, counted)
        _count(self._tokens, places)
        self._l0.view(-1).scatter_add_(0, places, l0)
        self._l0_tokens += torch.bincount(l0, minlength=len(self._l0_tokens))

    def counts(self) -> Counts:
        """Return the counts so far, to be saved, merged and reported."""
        kinds = self._kinds
        sums = {"firing": self._firing, "tokens": self._tokens, "l0": self._l0, "l0_tokens": self._l0_tokens}
        fixed: dict[str, NDArray[Any]] = {"features": self._features, "classes": kinds.classes, "is_first": kinds.is_first}
        if self._bos_fires is not None:
            fixed["bos_fires"] = self._bos_fires
        return Counts(
            {"origin": self._origin, "names": list(kinds.names)}, fixed, {name: tensor.cpu().numpy().copy() for name, tensor in sums.items()}
        )


def _count(into: Tensor, spots: Tensor) -> None:
    into.view(-1).scatter_add_(0, spots, torch.ones_like(spots))


def activity_report(counts: Counts) -> ActivityReport:
    """Return the figures of an `Activity`'s counts."""
    firing, tokens = counts.sums["firing"], int(counts.sums["tokens"].sum())
    fired, count = firing.sum(axis=1), len(firing)
    density = fired / max(tokens, 1)
    bos_fires = counts.fixed.get("bos_fires")
    return ActivityReport(
        features=count,
        tokens=tokens,
        l0=_l0(counts, np.ones(firing.shape[1], dtype=np.bool_)).figure(NO_TOKENS),
        l0_quantiles=_quantiles(counts.sums["l0_tokens"]) if tokens else None,
        density=Histogram.of(np.log10(density[fired > 0]), DECADES),
        dead=_set(counts, fired == 0, density),
        unseen_density=1 - 0.05 ** (1 / tokens) if tokens else None,
        once=int((fired == 1).sum()),
        dense=_set(counts, density > DENSE, density),
        first_only=_set(counts, _is_first_only(counts), density),
        bos_only=None if bos_fires is None else _set(counts, bos_fires & (fired == 0), density),
        classes=tuple(_class(counts, place, name) for place, name in enumerate(counts.facts["names"])),
    )


def _l0(counts: Counts, kinds: NDArray[np.bool_]) -> Ratio:
    """Return the mean L0 at tokens of some kinds bool `[K]`, by group of documents."""
    return Ratio(counts.sums["l0"][kinds].sum(axis=0).astype(np.float64), counts.sums["tokens"][kinds].sum(axis=0).astype(np.float64))


def _quantiles(l0_tokens: Ints) -> tuple[float, ...]:
    """Return the smallest L0 that a share of the tokens do not exceed, at LEVELS."""
    reached = np.cumsum(l0_tokens)
    # A token at least, so that the lowest level is the least L0.
    ranks = np.maximum(np.ceil(np.array(LEVELS) * reached[-1]), 1)
    return tuple(np.searchsorted(reached, ranks, side="left").astype(float).tolist())


def _set(counts: Counts, chosen: NDArray[np.bool_], density: NDArray[np.float64]) -> FeatureSet:
    known = counts.sums["tokens"].any() and len(chosen) > 0
    share = Figure(float(chosen.mean()), why=NO_ERROR) if known else Figure(None, why=NO_TOKENS)
    places = np.flatnonzero(chosen)
    listed = places[np.argsort(-density[places], kind="stable")[:LISTED]]
    return FeatureSet(len(places), share, tuple(counts.fixed["features"][listed].tolist()))


def _is_first_only(counts: Counts) -> NDArray[np.bool_]:
    firing, tokens, is_first = counts.sums["firing"], counts.sums["tokens"].sum(axis=1), counts.fixed["is_first"]
    fired = firing.sum(axis=1)
    share = tokens[is_first].sum() / max(tokens.sum(), 1)
    found: NDArray[np.bool_] = (fired > 0) & (firing[:, is_first].sum(axis=1) == fired) & (share**fired * len(firing) < ERROR)
    return found


def _class(counts: Counts, place: int, name: str) -> ClassActivity:
    kinds = counts.fixed["classes"][:, place]
    firing, tokens = counts.sums["firing"], counts.sums["tokens"].astype(np.float64)
    fired, none = firing.sum(axis=1), f"No counted token is of the class {name}."
    l0 = _l0(counts, kinds)
    return ClassActivity(
        name,
        Ratio(tokens[kinds].sum(axis=0), tokens.sum(axis=0)).figure(NO_TOKENS),
        l0.figure(none),
        Ratio(l0.top / max(len(firing), 1), l0.bottom).figure(none),
        int(((fired >= FEWEST) & (firing[:, kinds].sum(axis=1) >= SELECTIVE * fired)).sum()),
    )


@torch.inference_mode()
def fires_at_bos(subject: Subject, dictionary: Dictionary, features: Ints, levels: NDArray[np.float32] | None = None) -> NDArray[np.bool_] | None:
    """Return which features fire at a row's BOS, bool `[S]`; None without one.

    By causal attention a row that is BOS alone has the activation there that every row has. Features are int64,
    firing levels float32 `[S]`.
    """
    if subject.bos is None or not dictionary.positions.prepend_bos:
        return None
    x = subject.activations(torch.tensor([[subject.bos]], device=subject.device))[0].to(torch.float32)
    own = x if subject.hook_point == dictionary.hook_point else subject.part(x, dictionary.hook_point)
    found = dictionary.to(subject.device).encode(own)[0].cpu().numpy()[features]
    fires: NDArray[np.bool_] = found > (0 if levels is None else levels)
    return fires
