"""Collection of partial evidence from a range of documents."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from types import TracebackType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from interp.collect.block import Block, FeatureRange
from interp.collect.encode import DTYPES, TileShape, make_encoder
from interp.collect.hashing import feature_multipliers
from interp.collect.levels import FiringLevels
from interp.collect.neighbours import select_features
from interp.collect.observer import Observer, joined
from interp.collect.partial import Partial, Sample
from interp.collect.stream import Stream, capacity_of
from interp.collect.window_batches import WindowBatch
from interp.collect.worker_threads import WorkerThreads, split_range
from interp.corpus.tokenized import TokenizedCorpus
from interp.dictionary.module import Dictionary
from interp.domain.evidence import ContextKind, Split
from interp.domain.spec import CollectionSpec
from interp.subject.base import Subject


@dataclass(frozen=True)
class Wanted:
    """Features of a dictionary to collect.

    features  int64 [S], ascending
    levels    firing levels of these and of their nearest features; 0 when not given
    """

    dictionary: Dictionary
    features: NDArray[np.int64]
    levels: FiringLevels | None = None


def collect(
    subject: Subject,
    dictionary: Dictionary,
    corpus: TokenizedCorpus,
    documents: tuple[int, int],
    spec: CollectionSpec,
    seed: int,
    features: NDArray[np.int64],
    progress: Callable[[int], None],
    levels: FiringLevels | None = None,
) -> Partial:
    """Collect documents of one dictionary, as `collect_all`."""
    return collect_all(subject, [Wanted(dictionary, features, levels)], corpus, documents, spec, seed, progress)[0]


def collect_all(
    subject: Subject,
    wanted: Sequence[Wanted],
    corpus: TokenizedCorpus,
    documents: tuple[int, int],
    spec: CollectionSpec,
    seed: int,
    progress: Callable[[int], None],
    begin: Callable[["SharedPass"], None] = lambda _collecting: None,
) -> list[Partial]:
    """Collect documents `documents[0]` to `documents[1] - 1` for several dictionaries in one pass.

    All dictionaries have the same positions, and the subject reads the hook points of all. `progress` is called after each batch with the number of
    finished tokens, and may raise to stop the work. `begin` may set observers of the collections. Raises ActivationsNotFiniteError.
    """
    done = 0
    with SharedPass(subject, wanted, corpus, spec, seed) as collecting:
        begin(collecting)
        stream = collecting.stream
        for batch in stream.batches(stream.layout.rows(*documents)):
            stream.take(batch)
            done += batch.content
            progress(done)
        return collecting.partials()


class SharedPass:
    """Stream of windows that feeds the collection of each dictionary.

    A context manager that owns the threads.
    """

    def __init__(self, subject: Subject, wanted: Sequence[Wanted], corpus: TokenizedCorpus, spec: CollectionSpec, seed: int) -> None:
        self._threads = WorkerThreads(subject.device)
        self._subject = subject
        self.stream = Stream(subject, corpus, spec, seed, wanted[0].dictionary.positions, self.add)
        origin = json.dumps({"corpus": corpus.digest, "seed": seed, "collection": spec.identity()}, sort_keys=True)
        first_windows = torch.from_numpy(self.stream.layout.first_windows).to(subject.device)
        self.collections = [Collection(one, spec, seed, origin, first_windows, self._threads) for one in wanted]

    def add(self, batch: WindowBatch) -> None:
        """Add a batch to each dictionary's collection."""
        for collection in self.collections:
            own = len(self.collections) == 1
            collection.add(batch if own else replace(batch, x=self._subject.part(batch.x, collection.hook_point)))

    def partials(self) -> list[Partial]:
        """Return each dictionary's partial evidence of all batches so far."""
        with torch.inference_mode():
            self.stream.flush()
        return [collection.partial() for collection in self.collections]

    def __enter__(self) -> "SharedPass":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._threads.close()


class Collection:
    """Counts and reservoirs of one dictionary, in one block of features per thread.

    An `observer`, if set, sees every batch. `features` int64 [S] are collected; `neighbours` int64 [S, n] are rows of each one's nearest, beyond
    S - 1 for those that are not collected; `origin` is that of the partial evidence.
    """

    observer: Observer | None = None

    def __init__(self, wanted: Wanted, spec: CollectionSpec, seed: int, origin: str, first_windows: Tensor, threads: WorkerThreads) -> None:
        """Create the blocks; `first_windows` int64 [documents + 1] are ordinals."""
        device, features = first_windows.device, wanted.features
        dictionary = wanted.dictionary.to(device)
        shape = TileShape.of(device, spec.window)
        capacity = capacity_of(spec, shape)
        selection = select_features(dictionary, features, spec.near_miss_neighbours)
        firing_levels = None if wanted.levels is None else torch.from_numpy(wanted.levels.of(selection.encoded)).to(device)
        encoded = torch.from_numpy(selection.encoded).to(device)
        self.hook_point, self.neighbours = dictionary.hook_point, selection.neighbours
        self._encoder = make_encoder(dictionary, encoded, DTYPES[spec.encode_dtype], spec.window, shape, firing_levels)
        self.origin, self.features, self._window, self._threads = origin, features, spec.window, threads
        self._encoded, self._collected = len(selection.encoded), len(selection.neighbours)
        limits = self._encoder.limits
        is_dense = bool(limits.levels.any())
        self._maxima = torch.zeros(self._encoded * capacity, device=device)
        self._activations = torch.zeros(self._collected * capacity * spec.window, dtype=torch.float16, device=device) if is_dense else None
        multipliers = torch.from_numpy(feature_multipliers(seed, features)).to(device)
        neighbours, cosines = torch.from_numpy(selection.neighbours).to(device), torch.from_numpy(selection.cosines).to(device)
        counts = {Split.EXPLAIN: spec.explain, Split.TEST: spec.test}
        self.blocks = [
            Block(
                FeatureRange(start, stop, multipliers[:, start:stop], limits[start:stop], neighbours[start:stop], cosines[start:stop]),
                counts,
                spec.window,
                first_windows,
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
        fired: list[tuple[Tensor, Tensor]] = []
        self._encoder.begin(batch)

        def encode_neighbours(span: tuple[int, int]) -> None:
            self._encoder.activity(*span, maxima[span[0] : span[1]])

        def add_active(block: Block) -> None:
            own = block.features.span
            activity = self._encoder.activity(own.start, own.stop, maxima[own], None if activations is None else activations[own])
            features, active = block.add_active(split, batch.windows, activity, maxima[own])
            if self.observer is not None:
                cells = activity.windows.index_select(0, active // self._window).mul_(self._window).add_(active % self._window)
                fired.append((features.add_(own.start), cells))

        def add_silent(block: Block) -> None:
            own = block.features.span
            values = None if activations is None else activations[own].view(own.stop - own.start, -1, self._window)
            block.add_silent(split, batch.windows, maxima[own, :count], maxima[:, :count], values)

        self._threads.each(encode_neighbours, self._only_neighbours)
        self._threads.each(add_active, self.blocks)
        self._threads.each(add_silent, self.blocks)
        if self.observer is not None:
            # On one thread, which waits for no other: its steps are short.
            self._threads.each(self.observer.add, [joined(batch.windows, fired)])
        self._tokens_seen += int(batch.windows.counted.sum())
        self._windows_seen[split] += count

    @torch.inference_mode()
    def partial(self) -> Partial:
        """Return the partial evidence of all batches so far."""
        counts = [block.counts for block in self.blocks]
        keys: dict[Sample, NDArray[np.int64]] = {}
        activations: dict[Sample, NDArray[np.float16]] = {}
        for sample in product(ContextKind, Split):
            kept = [block.reservoirs[sample].kept() for block in self.blocks]
            keys[sample] = _joined(entries for entries, _ in kept)
            if payload := [values for _, values in kept if values is not None]:
                activations[sample] = _joined(payload)
        return Partial(
            origin=self.origin,
            features=self.features,
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
