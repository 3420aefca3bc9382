"""Features whose meaning is known, planted over the standard library's own text, and the evidence that collection would keep of them."""

import re
import sysconfig
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from interp.domain.evidence import HISTOGRAM_EDGES, ContextKind, Contexts, FeatureEvidence, Split, Statistics
from interp.domain.spec import TEST_COUNTS, SplitCounts
from interp.domain.vocabulary import Vocabulary

PIECE = re.compile(r"[\r\n]+[ \t]*| ?[A-Za-z]+|[0-9]{1,3}| ?[^\sA-Za-z0-9]+|[ \t]+|\s")
BOS = 0
ROW, WINDOW = 128, 32
FILES = 150


@dataclass(frozen=True)
class Text:
    """R rows of ROW tokens, each led by BOS; `documents` [R] and `starts` [R] say where a row begins."""

    vocabulary: Vocabulary
    rows: np.ndarray
    documents: np.ndarray
    starts: np.ndarray

    def strings(self) -> np.ndarray:
        """object [R, ROW]: each token's text; the empty string for BOS."""
        texts = np.array(["", *self.vocabulary.strings[1:]], dtype=object)
        return texts[self.rows]


@lru_cache(maxsize=1)
def text() -> Text:
    folder = Path(sysconfig.get_paths()["stdlib"])
    numbers: dict[str, int] = {"<bos>": BOS}
    rows, documents, starts = [], [], []
    for path in sorted(folder.glob("*.py"))[:FILES]:
        pieces = PIECE.findall(path.read_text(encoding="utf-8", errors="replace"))
        ids = [numbers.setdefault(piece, len(numbers)) for piece in pieces]
        for start in range(0, min(len(ids), 20 * ROW) - ROW, ROW - 1):
            rows.append([BOS, *ids[start : start + ROW - 1]])
            documents.append(zlib.crc32(path.name.encode()))
            starts.append(start)
    vocabulary = Vocabulary(tuple(piece.encode() for piece in numbers), frozenset({BOS}))
    return Text(vocabulary, np.array(rows), np.array(documents), np.array(starts))


def evidence(
    fires: np.ndarray, feature: int = 0, seed: int = 0, explain: SplitCounts = SplitCounts(), test: SplitCounts = TEST_COUNTS
) -> FeatureEvidence:
    """Evidence of a feature that fires at `fires` bool [R, ROW], with gamma activations; bit 1 of a document's number is its split."""
    corpus = text()
    random = np.random.default_rng((seed, feature))
    content = corpus.rows != BOS
    activations = np.where(fires & content, random.gamma(4, 0.5, fires.shape) + 0.2, 0).astype(np.float16)
    windows = activations.reshape(-1, WINDOW)
    maxima = windows.max(axis=1)
    splits = np.repeat(corpus.documents // 2 % 2, ROW // WINDOW).astype(np.uint8)
    picked: list[int] = []
    kinds: list[int] = []
    for split, counts in ((Split.EXPLAIN, explain), (Split.TEST, test)):
        active, silent = np.flatnonzero((splits == split) & (maxima > 0)), np.flatnonzero((splits == split) & (maxima == 0))
        priorities = random.random(len(active)) ** (1 / np.maximum(maxima[active].astype(float), 1e-6))
        for kind, chosen in (
            (ContextKind.TOP, active[np.argsort(-maxima[active], kind="stable")][: counts.top]),
            (ContextKind.UNIFORM, random.permutation(active)[: counts.uniform]),
            (ContextKind.WEIGHTED, active[np.argsort(-priorities)][: counts.weighted]),
            (ContextKind.INACTIVE, random.permutation(silent)[: counts.inactive]),
        ):
            picked += chosen.tolist()
            kinds += [kind] * len(chosen)
    rows = np.array(picked, dtype=np.intp)
    places = np.tile(np.arange(0, ROW, WINDOW), len(corpus.rows))
    contexts = Contexts(
        tokens=corpus.rows.reshape(-1, WINDOW)[rows].astype(np.uint32),
        activations=windows[rows],
        lengths=np.full(len(rows), WINDOW, dtype=np.uint16),
        kinds=np.array(kinds, dtype=np.uint8),
        splits=splits[rows],
        documents=np.repeat(corpus.documents, ROW // WINDOW)[rows].astype(np.uint64),
        starts=(np.repeat(corpus.starts, ROW // WINDOW) + np.maximum(places - 1, 0))[rows].astype(np.uint32),
        positions=places[rows].astype(np.uint16),
    )
    active = activations[activations > 0].astype(float)
    statistics = Statistics(
        tokens_seen=int(content.sum()),
        tokens_active=len(active),
        windows_seen=(int((splits == 0).sum()), int((splits == 1).sum())),
        windows_active=(int(((splits == 0) & (maxima > 0)).sum()), int(((splits == 1) & (maxima > 0)).sum())),
        max_activation=float(active.max(initial=0.0)),
        mean_active=float(active.mean()) if len(active) else 0.0,
    )
    histogram = np.histogram(active, HISTOGRAM_EDGES)[0].astype(np.int64)
    return FeatureEvidence(feature, statistics, histogram, contexts, (), (), ())


def where(holds: Callable[[str], bool], offset: int = 0) -> np.ndarray:
    """bool [R, ROW]: the token `offset` places on has a text for which this holds; nothing holds of BOS or beyond the row."""
    corpus = text()
    table = np.array([False, *(holds(string) for string in corpus.vocabulary.strings[1:])])
    found = table[corpus.rows]
    if offset:
        found = np.roll(found, -offset, axis=1)
        # What came round the end of the row.
        found[:, slice(0, -offset) if offset < 0 else slice(ROW - offset, ROW)] = False
    return found
