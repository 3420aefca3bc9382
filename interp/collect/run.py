"""Collection as workers call it: a range of documents of a corpus to a partial result."""

import json
from collections.abc import Callable, Iterator
from types import TracebackType

import numpy as np
import torch
from numpy.typing import NDArray

from interp.collect.collector import Collector
from interp.collect.encode import DTYPES, TileShape, make_encoder
from interp.collect.lanes import Lanes
from interp.collect.levels import FiringLevels
from interp.collect.neighbours import roster_of
from interp.collect.partial.partial import Partial, merge
from interp.collect.rows.feed import RowBatch
from interp.collect.rows.layout import layout_of
from interp.collect.rows.stream import Stream, capacity_of
from interp.corpus.tokenized import TokenizedCorpus
from interp.dictionary.module import Dictionary
from interp.domain.errors import FeatureOutOfRangeError, InputError, WidthMismatchError
from interp.domain.spec import CollectionSpec
from interp.subject.base import Subject

__all__ = ["Collection", "Partial", "Progress", "collect", "merge"]

Progress = Callable[[int], None]


def collect(
    subject: Subject,
    dictionary: Dictionary,
    corpus: TokenizedCorpus,
    documents: tuple[int, int],
    spec: CollectionSpec,
    seed: int,
    features: NDArray[np.int64],
    progress: Progress,
    levels: FiringLevels | None = None,
) -> Partial:
    """Streams documents `documents[0]` to `documents[1] - 1` once through the subject and the dictionary.

    `features` int64 [S], ascending. `levels` has the firing levels of these and of their nearest features; 0 when not given. `progress` is called
    after every batch with the tokens done so far, and may raise to stop the work.
    Raises ActivationsNotFinite, WidthMismatch, FeatureOutOfRange, and InputError for rows longer than the subject's context.
    """
    done = 0
    with Collection(subject, dictionary, corpus, spec, seed, features, levels) as collection:
        for batch in collection.batches(documents):
            collection.take(batch)
            done += batch.content
            progress(done)
        return collection.partial()


class Collection:
    """One collection under way: the stream, and the collector that it feeds. A context manager: it owns threads."""

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
        _check(subject, dictionary, spec, features)
        device = subject.device
        shape = TileShape.of(device, spec.window)
        dictionary = dictionary.to(device)
        roster = roster_of(dictionary, features, spec.near_miss_neighbours)
        limits = None if levels is None else torch.from_numpy(levels.of(roster.encoded)).to(device)
        encoder = make_encoder(dictionary, torch.from_numpy(roster.encoded).to(device), DTYPES[spec.encode_dtype], spec.window, shape, limits)
        self._origin = json.dumps({"corpus": corpus.digest, "seed": seed, "collection": spec.identity()}, sort_keys=True)
        self._features = features
        self._lanes = Lanes(device)
        documents = torch.from_numpy(layout_of(corpus.offsets, subject.bos, spec, dictionary.positions).first_windows).to(device)
        self._collector = Collector(encoder, roster, spec, seed, shape, capacity_of(spec, shape), documents, self._lanes)
        self._stream = Stream(subject, corpus, spec, seed, dictionary.positions, self._collector.feed)

    def batches(self, documents: tuple[int, int]) -> Iterator[RowBatch]:
        """All rows of the documents `documents[0]` to `documents[1] - 1`, in batches of fixed shapes."""
        return self._stream.batches(documents)

    def take(self, batch: RowBatch) -> None:
        """Runs the subject on a batch, and the collector as often as that fills a stage."""
        self._stream.take(batch)

    def partial(self) -> Partial:
        """What was collected from all batches so far."""
        self._stream.flush()
        return self._collector.partial(self._origin, self._features)

    def __enter__(self) -> "Collection":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._lanes.close()


def _check(subject: Subject, dictionary: Dictionary, spec: CollectionSpec, features: NDArray[np.int64]) -> None:
    if dictionary.d_in != subject.d_in:
        raise WidthMismatchError(
            f"{dictionary.name} reads activations of width {dictionary.d_in}; {subject.name} has {subject.d_in} at {subject.hook_point}.",
            cure="Name the hook point that the dictionary was trained at.",
        )
    if len(features) and not 0 <= features[0] <= features[-1] < dictionary.n_features:
        raise FeatureOutOfRangeError(
            f"{dictionary.name} has features 0 to {dictionary.n_features - 1}; {features[0]} to {features[-1]} were asked for."
        )
    if spec.row_tokens > subject.context:
        raise InputError(
            f"Rows of {spec.row_tokens} tokens do not fit {subject.name}.",
            why=f"It reads {subject.context} tokens at once.",
            cure=f"Set collection.row_tokens to {subject.context} or less.",
        )
