"""The pure heart of collection: batches of windows in, counts and samples of every feature out."""

from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from interp.collect.block import Block, FeatureRange
from interp.collect.encode import Encoder, TileShape
from interp.collect.hashing import feature_multipliers
from interp.collect.lanes import Lanes
from interp.collect.partial.partial import Partial, Sample
from interp.collect.rows.staging import WindowBatch
from interp.domain.evidence import ContextKind, Split
from interp.domain.spec import CollectionSpec


@dataclass(frozen=True)
class FeatureSelection:
    """Which features are collected, and what near misses need to know of them.

    encoded    int64   [E]     features to encode: first the S collected ones, ascending, then those that are only somebody's neighbours
    neighbours int64   [S, n]  rows of `encoded`: the nearest features of each collected one
    cosines    float32 [S, n]  of the decoder directions; not negative
    """

    encoded: NDArray[np.int64]
    neighbours: NDArray[np.int64]
    cosines: NDArray[np.float32]

    @property
    def collected(self) -> int:
        """S."""
        return len(self.neighbours)


class Collector:
    """Counts and reservoirs of all collected features, in one block of features a lane."""

    def __init__(
        self,
        encoder: Encoder,
        roster: FeatureSelection,
        spec: CollectionSpec,
        seed: int,
        shape: TileShape,
        capacity: int,
        documents: Tensor,
        lanes: Lanes,
    ) -> None:
        """`capacity`: windows of the largest batch; `documents` int64 [documents + 1]: the ordinal of each one's first window."""
        device = encoder.limits.levels.device
        dense = bool(encoder.limits.levels.any())
        self._encoder, self._lanes, self._window = encoder, lanes, spec.window
        self._maxima = torch.zeros(len(roster.encoded) * capacity, device=device)
        self._everything = torch.zeros(roster.collected * capacity * spec.window, dtype=torch.float16, device=device) if dense else None
        self._encoded, self._collected = len(roster.encoded), roster.collected
        multipliers = torch.from_numpy(feature_multipliers(seed, roster.encoded[: roster.collected])).to(device)
        neighbours, cosines = torch.from_numpy(roster.neighbours).to(device), torch.from_numpy(roster.cosines).to(device)
        counts = {Split.EXPLAIN: spec.explain, Split.TEST: spec.test}
        self.blocks = [
            Block(
                FeatureRange(start, stop, multipliers[:, start:stop], encoder.limits[start:stop], neighbours[start:stop], cosines[start:stop]),
                counts,
                spec.window,
                documents,
                dense,
            )
            for start, stop in cut(0, roster.collected, lanes.count, shape.features)
        ]
        self._bystanders = cut(roster.collected, self._encoded, lanes.count, shape.features)
        self.tokens_seen = 0
        self.windows_seen = [0, 0]

    @torch.inference_mode()
    def feed(self, batch: WindowBatch) -> None:
        """Takes in a batch. Lanes run twice: a near miss can be told only when the maxima of all features are there."""
        count, split = len(batch.windows), Split(batch.split)
        padded = len(batch.masked) // batch.windows.counted.shape[1]
        maxima = self._maxima[: self._encoded * padded].view(self._encoded, padded)
        everything = None if self._everything is None else self._everything[: self._collected * len(batch.masked)].view(self._collected, -1)
        self._encoder.begin(batch)

        def encode(block: Block) -> None:
            start, stop = block.features.start, block.features.stop
            activity = self._encoder.activity(start, stop, maxima[start:stop], None if everything is None else everything[start:stop])
            block.take_active(split, batch.windows, activity, maxima[start:stop])

        def compare(block: Block) -> None:
            own = slice(block.features.start, block.features.stop)
            values = None if everything is None else everything[own].view(own.stop - own.start, -1, self._window)
            block.take_inactive(split, batch.windows, maxima[own, :count], maxima[:, :count], values)

        self._lanes.each(lambda span: self._watch(span, maxima), self._bystanders)
        self._lanes.each(encode, self.blocks)
        self._lanes.each(compare, self.blocks)
        self.tokens_seen += int(batch.windows.counted.sum())
        self.windows_seen[split] += count

    @torch.inference_mode()
    def partial(self, origin: str, features: NDArray[np.int64]) -> Partial:
        """The blocks' results, side by side. `features` int64 [S] names the collected ones."""
        tallies = [block.tally for block in self.blocks]
        keys: dict[Sample, NDArray[np.int64]] = {}
        activations: dict[Sample, NDArray[np.float16]] = {}
        for sample in product(ContextKind, Split):
            kept = [block.reservoirs[sample].kept() for block in self.blocks]
            keys[sample] = _rows([entries for entries, _ in kept])
            payload = [values for _, values in kept if values is not None]
            if payload:
                activations[sample] = _rows(payload)
        return Partial(
            origin=origin,
            features=features,
            tokens_seen=self.tokens_seen,
            windows_seen=(self.windows_seen[0], self.windows_seen[1]),
            windows_active=_rows([tally.windows_active.T for tally in tallies]),
            histogram=_rows([tally.histogram for tally in tallies]),
            sums=_rows([tally.sums for tally in tallies]),
            maxima=_rows([tally.maxima for tally in tallies]),
            levels=_rows([block.features.limits.levels for block in self.blocks]),
            keys=keys,
            activations=activations,
        )

    def _watch(self, span: tuple[int, int], maxima: Tensor) -> None:
        self._encoder.activity(*span, maxima[span[0] : span[1]])


def _rows(parts: list[Tensor]) -> NDArray[Any]:
    """The parts one below the other, in this machine's memory."""
    array: NDArray[Any] = torch.cat(parts).cpu().numpy()
    return array


def cut(start: int, stop: int, parts: int, grain: int) -> list[tuple[int, int]]:
    """Up to `parts` adjoining ranges of nearly equal length, that begin at multiples of `grain` from `start`, so that tiles keep their shape."""
    grains = -(-(stop - start) // grain)
    edges = [start + grain * (grains * part // parts) for part in range(parts)] + [stop]
    return [(low, high) for low, high in pairwise(edges) if low < high]
