"""Collection as one would first write it: every activation dense, every window in a list, every sample by sorting. Slow, and plain to see."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from interp.collect.hashing import feature_multipliers, window_hashes
from interp.corpus.tokenized import TokenizedCorpus
from interp.dictionary.module import Dictionary
from interp.domain.evidence import HISTOGRAM_EDGES, ContextKind, Split
from interp.domain.spec import CollectionSpec
from tests.collect.fakes import SPECIAL, FakeSubject


@dataclass(frozen=True)
class Window:
    """activations float32 [F, length]; only tokens that count are not 0."""

    document: int
    start: int
    position: int
    split: int
    tokens: list[int]
    counted: list[bool]
    activations: NDArray[np.float32]
    row: list[int]

    def maximum(self, feature: int) -> float:
        return float(self.activations[feature].max())

    def left(self, most: int) -> list[int]:
        """The row's tokens before the window, its BOS left out, `most` at most."""
        return [token for token in self.row[: self.position] if token is not None][-most:] if most else []


def windows_of(subject: FakeSubject, dictionary: Dictionary, corpus: TokenizedCorpus, spec: CollectionSpec) -> list[Window]:
    """All windows with a token that counts, in the order of the corpus."""
    said = dictionary.positions
    head = [] if subject.bos is None or not said.prepend_bos else [subject.bos]
    taken = set(range(spec.row_tokens)[slice(said.start, said.stop, said.step)])
    if spec.packing:
        return packed_windows(subject, dictionary, corpus, spec, head, taken)
    windows = []
    for index, document in enumerate(corpus.documents):
        content = corpus.tokens[corpus.offsets[index] : corpus.offsets[index + 1]].tolist()
        step = spec.row_tokens - len(head)
        for first in range(0, len(content), step):
            row = head + content[first : first + step]
            dense = dictionary.encode(subject.activations(torch.tensor([row]))[0].float()).T.numpy()
            out = SPECIAL | set(said.excluded_tokens)
            counted = [place >= len(head) and place in taken and token not in out for place, token in enumerate(row)]
            dense = dense * np.array(counted)
            for position in range(0, len(row), spec.window):
                own = slice(position, position + spec.window)
                if any(counted[own]):
                    start = first + max(position - len(head), 0)
                    split = int(corpus.splits[index])
                    bare = [None] * len(head) + row[len(head) :]
                    windows.append(Window(int(document), start, position, split, row[own], counted[own], dense[:, own], bare))
    return windows


def packed_windows(
    subject: FakeSubject, dictionary: Dictionary, corpus: TokenizedCorpus, spec: CollectionSpec, head: list[int], taken: set[int]
) -> list[Window]:
    """All windows of documents that share rows: each split's documents with a BOS after each, cut into rows that begin with a BOS."""
    out = SPECIAL | set(dictionary.positions.excluded_tokens)
    windows = []
    for split in Split:
        stream: list[tuple[int, int, int]] = []  # document, token's number in it (-1: a BOS), token
        for index in range(len(corpus)):
            if corpus.splits[index] == split:
                content = corpus.tokens[corpus.offsets[index] : corpus.offsets[index + 1]].tolist()
                stream += [(index, number, token) for number, token in enumerate(content)] + [(index, -1, token) for token in head]
        step = spec.row_tokens - len(head)
        for first in range(0, len(stream), step):
            row = [(-1, -1, token) for token in head] + stream[first : first + step]
            tokens = [token for _, _, token in row]
            dense = dictionary.encode(subject.activations(torch.tensor([tokens]))[0].float()).T.numpy()
            counted = [number >= 0 and place in taken and token not in out for place, (_, number, token) in enumerate(row)]
            dense = dense * np.array(counted)
            for index in {document for document, number, _ in row if number >= 0}:
                places = [place for place, (document, number, _) in enumerate(row) if document == index and number >= 0]
                for begin in range(places[0], places[-1] + 1, spec.window):
                    own = slice(begin, min(begin + spec.window, places[-1] + 1))
                    if any(counted[own]):
                        bare = [token if place in places else None for place, token in enumerate(tokens)]
                        document = int(corpus.documents[index])
                        windows.append(Window(document, row[begin][1], begin, int(split), tokens[own], counted[own], dense[:, own], bare))
    return sorted(windows, key=lambda window: (corpus.documents.tolist().index(window.document), window.start))


def levels(subject: FakeSubject, dictionary: Dictionary, corpus: TokenizedCorpus, spec: CollectionSpec, tokens: int) -> list[float]:
    """Of each feature: the activation above which `firing_rate` of the tokens of the sample lie, of float16 numbers."""
    step = spec.row_tokens - (subject.bos is not None)
    rows = []
    for index in range(len(corpus)):
        content = corpus.tokens[corpus.offsets[index] : corpus.offsets[index + 1]].tolist()
        rows += [(first, index, content[first : first + step]) for first in range(0, len(content), step) if corpus.splits[index] == Split.EXPLAIN]
    if spec.packing:  # the whole split: it is less than the sample may be
        assert sum(len(content) for _, _, content in rows) < tokens
        tokens = 10**9
    taken, found = 0, []
    for first, index, content in sorted(rows, key=lambda row: row[:2]):
        if taken < tokens:
            taken += len(content)
            found.append((index, first))
    windows = [
        window
        for window in windows_of(subject, dictionary, corpus, spec)
        if (spec.packing and window.split == Split.EXPLAIN)
        or (window.document, window.start // step * step) in {(int(corpus.documents[index]), first) for index, first in found}
    ]
    values = np.concatenate([window.activations[:, np.array(window.counted)] for window in windows], axis=1).astype(np.float16)
    level = []
    for row in values:
        ranked = sorted(row.tolist(), reverse=True)
        at = ranked[int(spec.firing_rate * len(ranked))]
        level.append(at if at < ranked[0] or at == 0 else float(np.nextafter(np.float16(at), np.float16(0))))
    return level


def sample(
    windows: list[Window],
    feature: int,
    kind: ContextKind,
    split: Split,
    count: int,
    seed: int,
    neighbours: list[tuple[int, float]],
    levels: list[float] | None = None,
) -> list[Window]:
    """The windows of one sample, from the highest priority down; ties go to the window that comes first in the corpus."""
    own = [window for window in windows if window.split == split]
    hashes = window_hashes(seed, np.array([window.document for window in own], dtype=np.uint64), np.array([window.start for window in own]))
    multipliers = feature_multipliers(seed, np.array([feature]))[:, 0]
    ranked = []
    for place, window in enumerate(own):
        pair = [_wrap(int(hashes[row, place]) * int(multipliers[row])) for row in range(2)]
        priority = _priority(window, feature, kind, pair, neighbours, levels or [0.0] * len(window.activations))
        if priority is not None:
            ranked.append((-priority, place, window))
    first = [window for _, _, window in sorted(ranked, key=lambda item: item[:2])]
    if kind is ContextKind.NEAR_MISS:
        first = [window for place, window in enumerate(first) if window.document not in {other.document for other in first[:place]}]
    return first[:count]


def _priority(
    window: Window, feature: int, kind: ContextKind, pair: list[int], neighbours: list[tuple[int, float]], levels: list[float]
) -> float | None:
    """None where the window is no candidate."""
    maximum = window.maximum(feature)
    if (kind in (ContextKind.INACTIVE, ContextKind.NEAR_MISS)) != (maximum <= levels[feature]):
        return None
    if kind in (ContextKind.UNIFORM, ContextKind.INACTIVE):
        return pair[0]
    if kind is ContextKind.TOP:
        return maximum
    if kind is ContextKind.WEIGHTED:
        return maximum / -np.log1p(-((pair[1] % 2**31) + 0.5) / 2**31)
    fire = [(other, cosine) for other, cosine in neighbours if window.maximum(other) > levels[other]]
    nearest = max((np.float32(window.maximum(other)) * np.float32(max(cosine, 0)) for other, cosine in fire), default=0)
    return float(nearest) if nearest > 0 else None


def histogram(windows: list[Window], feature: int, level: float = 0.0) -> NDArray[np.int64]:
    values = np.concatenate([window.activations[feature] for window in windows]).astype(np.float64)
    inside = np.clip(values[values > level], HISTOGRAM_EDGES[0], np.nextafter(HISTOGRAM_EDGES[-1], 0))
    return np.histogram(inside, HISTOGRAM_EDGES)[0]


def _wrap(value: int) -> int:
    """To a signed 32-bit integer."""
    return (value + 2**31) % 2**32 - 2**31
