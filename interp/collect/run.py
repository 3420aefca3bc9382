"""Collection of partial evidence from a range of documents."""

import json
from collections.abc import Callable
from types import TracebackType

import numpy as np
import torch
from numpy.typing import NDArray

from interp.collect.collector import Collector
from interp.collect.encode import DTYPES, TileShape, make_encoder
from interp.collect.levels import FiringLevels
from interp.collect.neighbours import select_features
from interp.collect.partial import Partial
from interp.collect.stream import Stream, capacity_of
from interp.collect.worker_threads import WorkerThreads
from interp.corpus.tokenized import TokenizedCorpus
from interp.dictionary.module import Dictionary
from interp.domain.spec import CollectionSpec
from interp.subject.base import Subject


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
    """Collect documents `documents[0]` to `documents[1] - 1` in one pass of subject and dictionary.

    `features` int64 [S], ascending. `levels` holds the firing levels of these and of their nearest features; 0 when not given. `progress` is called
    after each batch with the number of finished tokens, and may raise to stop the work.
    Raises ActivationsNotFiniteError.
    """
    done = 0
    with Collection(subject, dictionary, corpus, spec, seed, features, levels) as collection:
        stream = collection.stream
        for batch in stream.batches(stream.layout.rows(*documents)):
            stream.take(batch)
            done += batch.content
            progress(done)
        return collection.partial()


class Collection:
    """A stream of windows and its collector, as a context manager that owns threads."""

    def __init__(
        self,
        subject: Subject,
        dictionary: Dictionary,
        corpus: TokenizedCorpus,
        spec: CollectionSpec,
        seed: int,
        features: NDArray[np.int64],
        levels: FiringLevels | None = None,
    ) -> None:
        device = subject.device
        shape = TileShape.of(device, spec.window)
        dictionary = dictionary.to(device)
        selection = select_features(dictionary, features, spec.near_miss_neighbours)
        firing_levels = None if levels is None else torch.from_numpy(levels.of(selection.encoded)).to(device)
        encoded = torch.from_numpy(selection.encoded).to(device)
        encoder = make_encoder(dictionary, encoded, DTYPES[spec.encode_dtype], spec.window, shape, firing_levels)
        self._origin = json.dumps({"corpus": corpus.digest, "seed": seed, "collection": spec.identity()}, sort_keys=True)
        self._features = features
        self._threads = WorkerThreads(device)
        self.stream = Stream(subject, corpus, spec, seed, dictionary.positions, lambda batch: self.collector.add(batch))
        documents = torch.from_numpy(self.stream.layout.first_windows).to(device)
        self.collector = Collector(encoder, selection, spec, seed, shape, capacity_of(spec, shape), documents, self._threads)

    def partial(self) -> Partial:
        """Return the partial evidence of all batches so far."""
        self.stream.flush()
        return self.collector.partial(self._origin, self._features)

    def __enter__(self) -> "Collection":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._threads.close()
