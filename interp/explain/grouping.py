"""Cluster contexts, with as many groups as the vectors show, or one."""

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from interp.domain.evidence import Contexts
from interp.domain.vocabulary import Vocabulary

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

WIDTH = 256
RESTARTS, STEPS = 8, 50

# Weights of tokens by offset from the strongest one. A feature reacts mostly to that token, then to those before it.
NEIGHBOURS = {-3: 0.15, -2: 0.25, -1: 0.5, 0: 1.0, 1: 0.25}

# Cosine of two lexical centres that fire at the same words, such as `self` before a comma and before a dot.
SAME_WORDS = 0.5

# Below this average silhouette "no substantial structure has been found" (Kaufman and Rousseeuw 1990, table 4 of chapter 2).
STRUCTURE = 0.26


def lexical(contexts: Contexts, rows: Sequence[int], vocabulary: Vocabulary) -> Floats:
    """Return unit vectors float64 [n, WIDTH]: hashed word counts around the strongest tokens.

    They replace an embedding model. A word counts separately at each offset from the token.
    """
    vectors = np.zeros((len(rows), WIDTH))
    for place, row in enumerate(rows):
        tokens = contexts.tokens[row, : int(contexts.lengths[row])].tolist()
        peak = int(contexts.activations[row].argmax())
        for offset, weight in NEIGHBOURS.items():
            if 0 <= peak + offset < len(tokens):
                code = zlib.crc32(f"{offset}:{_word(vocabulary.strings[tokens[peak + offset]])}".encode("utf-8", errors="replace"))
                vectors[place, code % WIDTH] += weight * (1 if code & 0x80000000 else -1)
    return unit(vectors)


def _word(token: str) -> str:
    """Return a token without case, surrounding blanks and the value of a number."""
    word = token.strip().lower()
    return "0" if word.isdigit() else word or ("\n" if "\n" in token else " ")


def unit(vectors: Floats) -> Floats:
    """Scale rows to unit length; a row of zeros stays."""
    scaled: Floats = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return scaled


def groups(vectors: Floats, most: int, random: np.random.Generator, alike: float = 1.0) -> Labels:
    """Return the group of each unit vector, int64 [n], the largest group 0.

    Spherical k-means for k = 2..`most`; the k with the best silhouette is taken, and one group where none reaches `STRUCTURE`. A silhouette is
    relative, and finds structure in small differences, too. So groups whose centres have a cosine of `alike` or more are merged.
    """
    best, labels = STRUCTURE, np.zeros(len(vectors), dtype=np.int64)
    for k in range(2, min(most, len(vectors) // 2) + 1):
        found = _merged(vectors, _without_singletons(vectors, k_means(vectors, k, random)), alike)
        if found.max() == 0:
            continue
        figure = silhouette(vectors, found)
        if figure > best + 1e-9:
            best, labels = figure, found
    return _by_size(labels)


def k_means(vectors: Floats, k: int, random: np.random.Generator) -> Labels:
    """Return labels int64 [n] of the best spherical k-means run (Dhillon and Modha 2001)."""
    runs = [_run(vectors, _first_centres(vectors, k, random)) for _ in range(RESTARTS)]
    return max(runs, key=lambda run: run[0])[1]


def silhouette(vectors: Floats, labels: Labels) -> float:
    """Return the average silhouette (Rousseeuw 1987) in cosine distance; a singleton counts 0."""
    distances = 1 - vectors @ vectors.T
    members = np.eye(int(labels.max()) + 1)[labels]
    sizes = members.sum(axis=0)
    sums = distances @ members
    places = np.arange(len(labels))
    own_size = sizes[labels]
    own = sums[places, labels] / np.maximum(own_size - 1, 1)
    others = sums / np.maximum(sizes, 1)
    others[places, labels] = np.inf
    nearest = others.min(axis=1)
    figures = np.where(own_size > 1, (nearest - own) / np.maximum(np.maximum(nearest, own), 1e-12), 0.0)
    return float(figures.mean())


def _first_centres(vectors: Floats, k: int, random: np.random.Generator) -> Floats:
    """Draw k rows as first centres by k-means++ (Arthur and Vassilvitskii 2007)."""
    chosen = [int(random.integers(len(vectors)))]
    while len(chosen) < k:
        far = np.clip(1 - (vectors @ vectors[chosen].T).max(axis=1), 0, None)
        total = far.sum()
        chosen.append(int(random.choice(len(vectors), p=far / total)) if total > 1e-9 else int(random.integers(len(vectors))))
    return vectors[chosen]


def _run(vectors: Floats, centres: Floats) -> tuple[float, Labels]:
    """Return (sum of cosines to the own centre, labels) at convergence."""
    labels = np.full(len(vectors), -1, dtype=np.int64)
    for _ in range(STEPS):
        found = np.argmax(vectors @ centres.T, axis=1).astype(np.int64)
        if (found == labels).all():
            break
        labels = found
        centres = unit(np.eye(len(centres))[labels].T @ vectors)
    return float((vectors * centres[labels]).sum()), labels


def _without_singletons(vectors: Floats, labels: Labels) -> Labels:
    """Move singletons to the nearest other group: one context is no meaning."""
    sizes = np.bincount(labels)
    if (sizes < 2).all():
        return np.zeros_like(labels)
    cosines = vectors @ _centres(vectors, labels).T
    cosines[:, sizes < 2] = -np.inf
    return _by_size(np.where(sizes[labels] < 2, cosines.argmax(axis=1), labels))


def _merged(vectors: Floats, labels: Labels, alike: float) -> Labels:
    """Merge the two nearest groups while their centres are alike."""
    while labels.max() > 0:
        centres = _centres(vectors, labels)
        cosines = np.where(np.tri(len(centres), k=-1, dtype=np.bool_), centres @ centres.T, -np.inf)
        larger, smaller = np.unravel_index(int(cosines.argmax()), cosines.shape)
        if cosines[larger, smaller] < alike - 1e-9:
            break
        labels = _by_size(np.where(labels == larger, smaller, labels))
    return labels


def _centres(vectors: Floats, labels: Labels) -> Floats:
    return unit(np.eye(int(labels.max()) + 1)[labels].T @ vectors)


def _by_size(labels: Labels) -> Labels:
    """Number groups by size, the largest 0; ties by earliest row."""
    numbers, first, counts = np.unique(labels, return_index=True, return_counts=True)
    order = np.lexsort((first, -counts))
    renamed = np.zeros(int(numbers.max(initial=0)) + 1, dtype=np.int64)
    renamed[numbers[order]] = np.arange(len(numbers))
    return renamed[labels]
