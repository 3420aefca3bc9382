"""Counts and samples of each feature, from batches of windows."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from interp.collect.block import Block, FeatureRange
from interp.collect.encode import Encoder, TileShape
from interp.collect.hashing import feature_multipliers
from interp.collect.partial import Partial, Sample
from interp.collect.window_batches import WindowBatch
from interp.collect.worker_threads import WorkerThreads, split_range
from interp.domain.evidence import ContextKind, Split
from interp.domain.spec import CollectionSpec


@dataclass(frozen=True)
class FeatureSelection:
    """Features to collect, and their neighbours for near misses.

    encoded    int64   [E]     features to encode: first the S collected ones, ascending, then those that are neighbours only
    neighbours int64   [S, n]  rows of `encoded`: the nearest features of each collected one
    cosines    float32 [S, n]  of the decoder directions; not negative
    """

    encoded: NDArray[np.int64]
    neighbours: NDArray[np.int64]
    cosines: NDArray[np.float32]


class Collector:
    """Counts and reservoirs of all collected features, in one block of features per thread."""

    def __init__(
        self,
        encoder: Encoder,
        selection: FeatureSelection,
        spec: CollectionSpec,
        seed: int,
        shape: TileShape,
        capacity: int,
        documents: Tensor,
        threads: WorkerThreads,
    ) -> None:
        """Create a block per thread; `documents` int64 [documents + 1] are first-window ordinals."""
        device = encoder.limits.levels.device
        is_dense = bool(encoder.limits.levels.any())
        self._encoder, self._threads, self._window = encoder, threads, spec.window
        self._encoded, self._collected = len(selection.encoded), len(selection.neighbours)
        self._maxima = torch.zeros(self._encoded * capacity, device=device)
        self._activations = torch.zeros(self._collected * capacity * spec.window, dtype=torch.float16, device=device) if is_dense else None
        multipliers = torch.from_numpy(feature_multipliers(seed, selection.encoded[: self._collected])).to(device)
        neighbours, cosines = torch.from_numpy(selection.neighbours).to(device), torch.from_numpy(selection.cosines).to(device)
        counts = {Split.EXPLAIN: spec.explain, Split.TEST: spec.test}
        self.blocks = [
            Block(
                FeatureRange(start, stop, multipliers[:, start:stop], encoder.limits[start:stop], neighbours[start:stop], cosines[start:stop]),
                counts,
                spec.window,
                documents,
                is_dense,
            )
            for start, stop in split_range(0, self._collected, threads.count, shape.features)
        ]
        self._only_neighbours = split_range(self._collected, self._encoded, threads.count, shape.features)
        self._tokens_seen = 0
        self._windows_seen = [0, 0]

    @torch.inference_mode()
    def add(self, batch: WindowBatch) -> None:
        """Add a batch, silent windows last, since near misses need the maxima of the neighbours."""
        count, split = len(batch.windows), Split(batch.split)
        padded = batch.tokens // self._window
        maxima = self._maxima[: self._encoded * padded].view(self._encoded, padded)
        activations = None if self._activations is None else self._activations[: self._collected * batch.tokens].view(self._collected, -1)
        self._encoder.begin(batch)

        def encode_neighbours(span: tuple[int, int]) -> None:
            self._encoder.activity(*span, maxima[span[0] : span[1]])

        def add_active(block: Block) -> None:
            own = block.features.span
            activity = self._encoder.activity(own.start, own.stop, maxima[own], None if activations is None else activations[own])
            block.add_active(split, batch.windows, activity, maxima[own])

        def add_silent(block: Block) -> None:
            own = block.features.span
            values = None if activations is None else activations[own].view(own.stop - own.start, -1, self._window)
            block.add_silent(split, batch.windows, maxima[own, :count], maxima[:, :count], values)

        self._threads.each(encode_neighbours, self._only_neighbours)
        self._threads.each(add_active, self.blocks)
        self._threads.each(add_silent, self.blocks)
        self._tokens_seen += int(batch.windows.counted.sum())
        self._windows_seen[split] += count

    @torch.inference_mode()
    def partial(self, origin: str, features: NDArray[np.int64]) -> Partial:
        """Return the results of all blocks for the collected features int64 [S]."""
        counts = [block.counts for block in self.blocks]
        keys: dict[Sample, NDArray[np.int64]] = {}
        activations: dict[Sample, NDArray[np.float16]] = {}
        for sample in product(ContextKind, Split):
            kept = [block.reservoirs[sample].kept() for block in self.blocks]
            keys[sample] = _joined(entries for entries, _ in kept)
            if payload := [values for _, values in kept if values is not None]:
                activations[sample] = _joined(payload)
        return Partial(
            origin=origin,
            features=features,
            tokens_seen=self._tokens_seen,
            windows_seen=(self._windows_seen[0], self._windows_seen[1]),
            windows_active=_joined(own.windows_active.T for own in counts),
            histogram=_joined(own.histogram for own in counts),
            sums=_joined(own.sums for own in counts),
            maxima=_joined(own.maxima for own in counts),
            levels=_joined(block.features.limits.levels for block in self.blocks),
            keys=keys,
            activations=activations,
        )


def _joined(parts: Iterable[Tensor]) -> NDArray[Any]:
    """Concatenate the rows of all parts in the CPU's memory."""
    array: NDArray[Any] = torch.cat(list(parts)).cpu().numpy()
    return array
