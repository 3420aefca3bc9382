"""Collection as workers call it: a range of documents of a corpus to a partial result."""

import json
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from interp.collect.collector import Collector
from interp.collect.encode import TileShape, make_encoder
from interp.collect.feed import Feed, RowBatch
from interp.collect.lanes import Lanes
from interp.collect.layout import Layout
from interp.collect.neighbours import roster_of
from interp.collect.partial import Partial, Sample
from interp.collect.staging import Stage
from interp.dictionary.module import Dictionary
from interp.errors import ActivationsNotFinite, FeatureOutOfRange, InputError, WidthMismatch
from interp.evidence import Kind, Split
from interp.spec import CollectionSpec
from interp.subject.base import Subject
from interp.subject.tokens import TokenizedCorpus

Progress = Callable[[int], None]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def collect(
    subject: Subject,
    dictionary: Dictionary,
    corpus: TokenizedCorpus,
    documents: tuple[int, int],
    spec: CollectionSpec,
    seed: int,
    features: NDArray[np.int64],
    progress: Progress,
) -> Partial:
    """Streams documents `documents[0]` to `documents[1] - 1` once through the subject and the dictionary.

    `features` int64 [S], ascending. `progress` is called after every batch with the tokens done so far, and may raise to stop the work.
    Raises ActivationsNotFinite, WidthMismatch, FeatureOutOfRange, and InputError for rows longer than the subject's context.
    """
    _check(subject, dictionary, spec, features)
    layout = layout_of(corpus, subject, spec)
    dictionary = dictionary.to(subject.device)
    shape = TileShape.of(subject.device, spec.window)
    roster = roster_of(dictionary, features, spec.near_miss_neighbours)
    encoder = make_encoder(dictionary, torch.from_numpy(roster.encoded).to(subject.device), DTYPES[spec.encode_dtype], spec.window, shape)
    feed = Feed(corpus, layout, subject.vocabulary.special, seed, spec.batch_tokens, subject.device)
    capacity = -(-max(spec.batch_tokens, spec.row_tokens) // shape.tokens) * shape.tokens // spec.window
    stages = {split: Stage(split, capacity, shape.tokens, spec.window, subject.width, torch.float32, subject.device) for split in Split}
    done = 0
    with Lanes(subject.device) as lanes:
        collector = Collector(encoder, roster, spec, seed, shape, capacity, lanes)
        for batch in feed.batches(documents):
            _push(collector, stages, _activations(subject, batch, layout, corpus), batch)
            done += batch.content
            progress(done)
        for stage in stages.values():
            if stage.count:
                collector.feed(stage.take())
    return _partial(collector, corpus, spec, seed, features)


def layout_of(corpus: TokenizedCorpus, subject: Subject, spec: CollectionSpec) -> Layout:
    """How the subject reads the corpus."""
    return Layout(np.asarray(corpus.offsets, dtype=np.int64), spec.row_tokens, spec.window, subject.bos)


def _check(subject: Subject, dictionary: Dictionary, spec: CollectionSpec, features: NDArray[np.int64]) -> None:
    if dictionary.width != subject.width:
        raise WidthMismatch(
            f"{dictionary.name} reads activations of width {dictionary.width}; {subject.name} has {subject.width} at {subject.hook_point}.",
            cure="Name the hook point that the dictionary was trained at.",
        )
    if len(features) and not 0 <= features[0] <= features[-1] < dictionary.features:
        raise FeatureOutOfRange(f"{dictionary.name} has features 0 to {dictionary.features - 1}; {features[0]} to {features[-1]} were asked for.")
    if spec.row_tokens > subject.context:
        raise InputError(
            f"Rows of {spec.row_tokens} tokens do not fit {subject.name}.",
            why=f"It reads {subject.context} tokens at once.",
            cure=f"Set collection.row_tokens to {subject.context} or less.",
        )


def _activations(subject: Subject, batch: RowBatch, layout: Layout, corpus: TokenizedCorpus) -> Tensor:
    """float32 [B * T / window, window * D], finite wherever a token is real."""
    x = subject.activations(batch.tokens).to(torch.float32)
    # One NaN or infinity anywhere makes the sum NaN or infinite: one pass, and only then a search for the token.
    if not bool(torch.isfinite(x.sum())):
        _refuse_not_finite(subject, x, batch, layout, corpus)
    return x.reshape(-1, layout.window * x.shape[2])


def _refuse_not_finite(subject: Subject, x: Tensor, batch: RowBatch, layout: Layout, corpus: TokenizedCorpus) -> None:
    """Raises ActivationsNotFinite for the first real token with NaN or infinity. Padding may hold anything."""
    finite = torch.isfinite(x).all(2)[: len(batch.rows)].cpu().numpy()
    real = np.arange(x.shape[1])[None, :] < batch.rows.lengths[:, None]
    bad = np.argwhere(real & ~finite)
    if len(bad) == 0:
        x.nan_to_num_(0.0, 0.0, 0.0)
        return
    row, column = (int(index) for index in bad[0])
    document = int(corpus.documents[batch.rows.documents[row]])
    token = int(batch.rows.firsts[row]) + column - layout.head
    raise ActivationsNotFinite(
        f"{subject.name} gives NaN or infinity at {subject.hook_point}, in document {document:016x} at token {token}.",
        why="The subject's numbers overflow, or its weights are damaged.",
        cure="Use dtype bfloat16 or float32 for the subject.",
        hook_point=subject.hook_point,
        document=f"{document:016x}",
        token=token,
    )


def _push(collector: Collector, stages: dict[Split, Stage], x: Tensor, batch: RowBatch) -> None:
    """Puts a batch's windows on the stage of their split; full stages go to the collector."""
    for split, (spots, windows) in batch.windows.items():
        stage, first = stages[split], 0
        while first < len(spots):
            part = slice(first, first + min(stage.room, len(spots) - first))
            stage.put(x[spots[part]], windows.select(part))
            first = part.stop
            if stage.room == 0:
                collector.feed(stage.take())


def _partial(collector: Collector, corpus: TokenizedCorpus, spec: CollectionSpec, seed: int, features: NDArray[np.int64]) -> Partial:
    """The blocks' results, side by side."""
    origin = json.dumps({"corpus": corpus.digest, "seed": seed, "collection": spec.identity()}, sort_keys=True)
    tallies = [block.tally for block in collector.blocks]
    keys: dict[Sample, NDArray[np.int64]] = {}
    activations: dict[Sample, NDArray[np.float16]] = {}
    for split in Split:
        for kind in Kind:
            kept = [block.reservoirs[kind, split].kept() for block in collector.blocks]
            keys[kind, split] = torch.cat([entries for entries, _ in kept]).cpu().numpy()
            payload = [values for _, values in kept if values is not None]
            if payload:
                activations[kind, split] = torch.cat(payload).cpu().numpy()
    return Partial(
        origin=origin,
        features=features,
        tokens_seen=collector.tokens_seen,
        windows_seen=(collector.windows_seen[0], collector.windows_seen[1]),
        windows_active=torch.cat([tally.windows_active for tally in tallies], dim=1).T.contiguous().cpu().numpy(),
        histogram=torch.cat([tally.histogram for tally in tallies]).cpu().numpy(),
        sums=torch.cat([tally.sums for tally in tallies]).cpu().numpy(),
        maxima=torch.cat([tally.maxima for tally in tallies]).cpu().numpy(),
        keys=keys,
        activations=activations,
    )
