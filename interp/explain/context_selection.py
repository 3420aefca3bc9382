"""Select the explain contexts of prompts, deterministic in (contexts, seed, feature).

Rows are indices into `Contexts`, intp [n]. A text is selected once, however many documents and samples contain it. Repeated boilerplate adds nothing,
and a text in two parts of the explain split would leak from one into the other.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

from interp.domain.evidence import ACTIVE_KINDS, ContextKind, Contexts
from interp.explain.base import ExplainerInput

Rows = NDArray[np.intp]
DECILES = 10


def generator(item: ExplainerInput, seed: int) -> np.random.Generator:
    """Return a feature's random generator, independent of chunks and of other features."""
    return np.random.default_rng((seed, item.feature))


def firing(contexts: Contexts) -> Rows:
    """Return firing windows, each text once, strongest first; ties by identity."""
    maxima = contexts.maxima()
    rows = np.flatnonzero(contexts.fires())
    order = np.lexsort((contexts.starts[rows], contexts.documents[rows], -maxima[rows]))
    return _distinct(contexts, rows[order])


def spread(contexts: Contexts, rows: Rows, number: int, random: np.random.Generator) -> Rows:
    """Draw rows evenly over activation tenths, strongest first (quantile sampling of arXiv 2410.13928)."""
    ranked = rows[np.argsort(-contexts.maxima()[rows], kind="stable")]
    if len(ranked) <= number:
        return ranked
    shuffled = [random.permutation(tenth) for tenth in np.array_split(ranked, DECILES)]
    turns = [tenth[turn] for turn in range(len(shuffled[0])) for tenth in shuffled if turn < len(tenth)]
    return ranked[np.isin(ranked, np.array(turns[:number], dtype=np.intp))]


def weighted(contexts: Contexts, rows: Rows, number: int, random: np.random.Generator) -> Rows:
    """Draw rows by activation: first those of the weighted sample, then others.

    Keys `u^(1/a)` draw without replacement in proportion to the activation (Efraimidis and Spirakis 2006).
    """
    strength = np.maximum(contexts.maxima()[rows].astype(np.float64), 1e-6)
    keys = random.random(len(rows)) ** (1 / strength)
    names = contexts.identities()
    drawn = {names[row] for row in np.flatnonzero(contexts.kinds == ContextKind.WEIGHTED).tolist()}
    is_late = np.array([names[row] not in drawn for row in rows.tolist()], dtype=np.bool_)
    return rows[np.lexsort((-keys, is_late))][:number]


def silent(contexts: Contexts, random: np.random.Generator) -> Rows:
    """Return silent windows, each text once, one per document before second ones.

    Of windows with the same rank in their document, those with a token at which the feature peaks elsewhere come first, then near misses, then the
    rest in random order. Documents alternate since rows of one table are alike.
    """
    drawn = random.permutation(_silent(contexts))
    holds = np.isin(contexts.tokens[drawn], _peaks(contexts)) & contexts.valid()[drawn]
    hard = drawn[np.lexsort((contexts.kinds[drawn] == ContextKind.INACTIVE, ~holds.any(axis=1)))]
    return by_turns(hard, contexts.documents)


def by_turns(rows: Rows, groups: NDArray[np.integer]) -> Rows:
    """Return the rows with the first of each group before the second of any."""
    seen: dict[int, int] = {}
    turns = np.zeros(len(rows), dtype=np.intp)
    for place, group in enumerate(groups[rows].tolist()):
        turns[place] = seen[group] = seen.get(group, -1) + 1
    return rows[np.argsort(turns, kind="stable")]


def _peaks(contexts: Contexts) -> NDArray[np.uint32]:
    """Return the tokens with the largest activation of each window."""
    rows = firing(contexts)
    found: NDArray[np.uint32] = np.unique(contexts.tokens[rows, contexts.activations[rows].argmax(axis=1)])
    return found


def _silent(contexts: Contexts) -> Rows:
    rows = np.flatnonzero(~contexts.fires() & ~np.isin(contexts.kinds, ACTIVE_KINDS))
    order = np.lexsort((contexts.starts[rows], contexts.documents[rows], contexts.kinds[rows] == ContextKind.INACTIVE))
    return _distinct(contexts, rows[order])


def parts(contexts: Contexts, shares: tuple[int, ...]) -> list[NDArray[np.bool_]]:
    """Split the contexts into parts without common documents or texts: masks [N].

    Documents go to the parts in the order of a hash, `shares` of each round to each part. Firing documents are split apart from others, so that few
    documents still give every part some of both kinds.
    """
    rounds = [part for part, share in enumerate(shares) for _ in range(share)]
    fires = set(contexts.documents[contexts.fires()].tolist())
    dealt: dict[int, int] = {}
    for group in (fires, set(contexts.documents.tolist()) - fires):
        for place, document in enumerate(sorted(group, key=_hash)):
            dealt[document] = rounds[place % len(rounds)]
    owner = np.array([dealt[document] for document in contexts.documents.tolist()], dtype=np.int64)
    once = np.zeros(len(contexts), dtype=np.bool_)
    once[np.concatenate([firing(contexts), _silent(contexts)])] = True
    return [once & (owner == part) for part in range(len(shares))]


def _hash(document: int) -> bytes:
    """Return a hash whose order is independent of that of the splits."""
    return hashlib.blake2b(document.to_bytes(8, "little"), digest_size=8, person=b"explain-part").digest()


def _distinct(contexts: Contexts, rows: Rows) -> Rows:
    """Return the first row of each text, in order."""
    seen: set[bytes] = set()
    kept: list[int] = []
    for row, length in zip(rows.tolist(), contexts.lengths[rows].tolist(), strict=True):
        text = contexts.tokens[row, :length].tobytes()
        if text not in seen:
            seen.add(text)
            kept.append(row)
    return np.array(kept, dtype=np.intp)
