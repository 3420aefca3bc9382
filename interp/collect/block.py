"""Counts and reservoirs of one range of features, which one thread processes alone."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from interp.collect.encode import Activity, FiringLimits
from interp.collect.feature_counts import FeatureCounts
from interp.collect.hashing import exponential
from interp.collect.reservoir import EMPTY, NOT_FULL, Reservoir, make_keys, sortable
from interp.collect.window_batches import Windows
from interp.domain.errors import ActivationsNotFiniteError
from interp.domain.evidence import ACTIVE_KINDS, ContextKind, Split
from interp.domain.spec import SplitCounts


@dataclass(frozen=True)
class Pairs:
    """P active windows of features: features, windows int64 [P]; maxima float32 [P]."""

    features: Tensor
    windows: Tensor
    maxima: Tensor


@dataclass(frozen=True)
class FeatureRange:
    """Constants of the features of a block.

    multipliers int32   [2, F]  see `interp.collect.hashing`
    limits      of F features   values above which they are active, and fire
    neighbours  int64   [F, n]  rows of the maxima of all encoded features
    cosines     float32 [F, n]  not negative
    """

    start: int
    stop: int
    multipliers: Tensor
    limits: FiringLimits
    neighbours: Tensor
    cosines: Tensor

    @property
    def span(self) -> slice:
        return slice(self.start, self.stop)

    def __len__(self) -> int:
        return self.stop - self.start


def _top(pairs: Pairs, windows: Windows, features: FeatureRange) -> Tensor:  # noqa: ARG001 - one signature for all
    return sortable(pairs.maxima)


def _uniform(pairs: Pairs, windows: Windows, features: FeatureRange) -> Tensor:
    return windows.hashes[0].index_select(0, pairs.windows) * features.multipliers[0].index_select(0, pairs.features)


def _weighted(pairs: Pairs, windows: Windows, features: FeatureRange) -> Tensor:
    hashes = windows.hashes[1].index_select(0, pairs.windows) * features.multipliers[1].index_select(0, pairs.features)
    return sortable(pairs.maxima / exponential(hashes))


# Priorities int32 [P] of the pairs in each sample of active windows.
PRIORITIES: dict[ContextKind, Callable[[Pairs, Windows, FeatureRange], Tensor]] = {
    ContextKind.TOP: _top,
    ContextKind.UNIFORM: _uniform,
    ContextKind.WEIGHTED: _weighted,
}
# At most one window per document: the windows of one table or list of names are alike, and would ask the same question.
ONE_PER_DOCUMENT = frozenset({ContextKind.NEAR_MISS})
# The least priority of samples for which not every window is a candidate: in a near miss some neighbour fires.
LEAST = {ContextKind.NEAR_MISS: 1}


@dataclass(frozen=True)
class _Silent:
    """W windows to search: maxima float32 [F, W], activations float16 [F, W, window] or None."""

    windows: Windows
    maxima: Tensor
    activations: Tensor | None

    def payload(self, rows: Tensor, columns: Tensor) -> Tensor | None:
        return None if self.activations is None else self.activations[rows, columns]


class Block:
    """Counts and reservoirs of F features."""

    def __init__(self, features: FeatureRange, counts: dict[Split, SplitCounts], window: int, documents: Tensor, is_dense: bool = False) -> None:
        """Create empty counts; `documents` int64 [documents + 1] are first-window ordinals.

        `is_dense`: silent windows keep activations too, since a feature below its firing level need not be 0.
        """
        device = features.neighbours.device
        self.features = features
        self.counts = FeatureCounts(len(features), device)
        self.reservoirs = {
            (kind, split): Reservoir(
                len(features),
                counts[split].of(kind),
                window if is_dense or kind in ACTIVE_KINDS else None,
                device,
                LEAST.get(kind, NOT_FULL),
                documents if kind in ONE_PER_DOCUMENT else None,
            )
            for kind in ContextKind
            for split in Split
        }

    def add_active(self, split: Split, windows: Windows, activity: Activity, maxima: Tensor) -> tuple[Tensor, Tensor]:
        """Count and sample active windows; `maxima` is float32 [F, W]; raises ActivationsNotFiniteError.

        Returns the N active tokens: features int64 [N], and places int64 [N] in `activity.values`, flat.
        """
        cells = torch.add(activity.windows, activity.features, alpha=maxima.shape[1])
        pairs = Pairs(activity.features, activity.windows, maxima.view(-1).index_select(0, cells))
        if not bool(torch.isfinite(pairs.maxima.sum(dtype=torch.float64))):
            raise ActivationsNotFiniteError(
                "The dictionary gives infinity for finite activations.", why="Its encoder overflows.", cure="Collect with encode_dtype float32."
            )
        active = self._count(split, activity, maxima)
        for kind in ACTIVE_KINDS:
            reservoir = self.reservoirs[kind, split]
            priorities = PRIORITIES[kind](pairs, windows, self.features)
            enter = (priorities >= reservoir.threshold.index_select(0, pairs.features)).nonzero().squeeze(1)
            rows = pairs.features.index_select(0, enter)
            ordinals = windows.ordinals.index_select(0, pairs.windows.index_select(0, enter))
            keys = make_keys(priorities.index_select(0, enter), ordinals)
            reservoir.offer(rows, keys, self.features.limits[rows].stored(activity.values.index_select(0, enter)))
        return active

    def add_silent(self, split: Split, windows: Windows, maxima: Tensor, all_maxima: Tensor, activations: Tensor | None = None) -> None:
        """Sample windows in which a feature does not fire.

        `all_maxima` float32 [all encoded features, W]; `activations` float16 [F, W, window], where silent windows keep them.
        """
        silent = _Silent(windows, maxima, activations)
        hashes = self.features.multipliers[0][:, None] * windows.hashes[0][None, :]
        self._offer_silent(self.reservoirs[ContextKind.INACTIVE, split], silent, hashes)
        if self.features.neighbours.shape[1]:
            self._offer_silent(self.reservoirs[ContextKind.NEAR_MISS, split], silent, self._neighbours_maxima(all_maxima))

    def _offer_silent(self, reservoir: Reservoir, silent: _Silent, priorities: Tensor) -> None:
        """Offer windows in which a feature does not fire, by priorities int32 [F, W]."""
        enter = (priorities >= reservoir.threshold[:, None]).view(-1).nonzero().squeeze(1)
        if len(enter) > len(self.features) * reservoir.keep:
            self._offer_best_silent(reservoir, silent, priorities)
            return
        enter = enter.index_select(0, (silent.maxima.reshape(-1).index_select(0, enter) == 0).nonzero().squeeze(1))
        rows = enter // silent.maxima.shape[1]
        columns = torch.sub(enter, rows, alpha=silent.maxima.shape[1])
        keys = make_keys(priorities.view(-1).index_select(0, enter), silent.windows.ordinals.index_select(0, columns))
        reservoir.offer(rows, keys, silent.payload(rows, columns))

    def _offer_best_silent(self, reservoir: Reservoir, silent: _Silent, priorities: Tensor) -> None:
        """Offer each feature's best windows only, since nearly all could enter while reservoirs fill."""
        out = (silent.maxima > 0) | (priorities < reservoir.threshold[:, None])
        keys = make_keys(priorities, silent.windows.ordinals).masked_fill_(out, EMPTY)
        if reservoir.is_by_document:
            keys = _best_in_documents(keys, reservoir.documents_of(make_keys(priorities[0], silent.windows.ordinals)))
        best, columns = keys.topk(min(reservoir.keep, keys.shape[1]), dim=1, sorted=False)
        rows, places = (best != EMPTY).nonzero(as_tuple=True)
        reservoir.offer(rows, best[rows, places], silent.payload(rows, columns[rows, places]))

    def _neighbours_maxima(self, all_maxima: Tensor) -> Tensor:
        """Return priorities int32 [F, W]: the largest neighbour's maximum times its cosine."""
        best: Tensor | None = None
        for neighbours, cosines in zip(self.features.neighbours.T, self.features.cosines.T, strict=True):
            scaled = all_maxima.index_select(0, neighbours).mul_(cosines[:, None])
            best = scaled if best is None else torch.maximum(best, scaled, out=best)
        assert best is not None
        return sortable(best)

    def _count(self, split: Split, activity: Activity, maxima: Tensor) -> tuple[Tensor, Tensor]:
        firing = self.features.limits.firing.index_select(0, activity.features)[:, None]
        active = (activity.values > firing).view(-1).nonzero().squeeze(1)
        features = activity.features.index_select(0, active // activity.values.shape[1])
        self.counts.add_tokens(features, activity.values.view(-1).index_select(0, active))
        self.counts.add_windows(split, activity.features, maxima)
        return features, active


def _best_in_documents(keys: Tensor, documents: Tensor) -> Tensor:
    """Replace keys int64 [F, W] with EMPTY unless best of their documents int64 [W]."""
    _, places = documents.unique(return_inverse=True)  # type: ignore[no-untyped-call]
    spread = places.expand_as(keys)
    best = keys.new_full((len(keys), int(places.max()) + 1), EMPTY).scatter_reduce_(1, spread, keys, "amax")
    return keys.masked_fill(keys != best.gather(1, spread), EMPTY)
