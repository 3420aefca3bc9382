"""Counts of a pass that add up over shards, and their file."""

import io
import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from interp.domain.errors import BlobCorruptError
from interp.files.artifact_store import Store
from interp.files.atomic import writing

FACTS = "facts"
PIECE = 1 << 26  # bytes that are read at once


@dataclass(frozen=True)
class Counts:
    """Integer arrays by name, some of which are sums over tokens and add up.

    facts  JSON: what was counted, and of what (`origin` of the partial evidence); equal in all shards
    fixed  arrays that are equal in all shards
    sums   arrays that are added
    """

    facts: dict[str, Any]
    fixed: dict[str, NDArray[Any]]
    sums: dict[str, NDArray[Any]]


def merge(parts: Iterable[Counts]) -> Counts:
    """Add counts of disjoint documents, as if counted at once: associative and commutative.

    Raises ValueError for no parts, and for parts of different origins, features or settings.
    """
    remaining = iter(parts)
    first = next(remaining, None)
    if first is None:
        raise ValueError("there is nothing to merge")
    return reduce(_merge_two, remaining, first)


def save(store: Store, name: str, counts: Counts) -> None:
    """Write counts to the store atomically; raises DiskFullError."""

    def write(path: Path) -> None:
        facts = np.frombuffer(json.dumps(counts.facts).encode(), dtype=np.uint8)
        arrays = {f"fixed.{key}": array for key, array in counts.fixed.items()} | {f"sums.{key}": array for key, array in counts.sums.items()}
        with writing(path) as file:
            np.savez_compressed(file, **{FACTS: facts}, **arrays)  # type: ignore[arg-type]

    store.put(name, write)


def load(store: Store, name: str) -> Counts:
    """Read what `save` wrote; raises ArtifactMissingError and BlobCorruptError."""
    content = b"".join(_pieces(store, name))
    parts: dict[str, dict[str, NDArray[Any]]] = {"fixed": {}, "sums": {}}
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            facts = json.loads(arrays[FACTS].tobytes())
            for key in arrays.files:
                if key != FACTS:
                    part, _, own = key.partition(".")
                    parts[part][own] = arrays[key]
    except Exception as cause:  # zipfile, zlib and numpy raise many kinds
        cure = "Submit the job again: what has evidence is not collected again."
        raise BlobCorruptError(f"{name} is no counts of this version.", why=str(cause), cure=cure) from cause
    return Counts(facts, **parts)


def _pieces(store: Store, name: str) -> Iterator[bytes]:
    """Yield a file's content up to its end, which the store does not tell."""
    for start in itertools.count(0, PIECE):
        (piece,) = store.read(name, [(start, start + PIECE)])
        yield piece
        if len(piece) < PIECE:
            return


def _merge_two(one: Counts, other: Counts) -> Counts:
    alike = one.facts == other.facts and one.fixed.keys() == other.fixed.keys() and one.sums.keys() == other.sums.keys()
    if not alike or any(not np.array_equal(array, other.fixed[key]) for key, array in one.fixed.items()):
        raise ValueError("counts of different corpora, settings or features do not merge")
    return Counts(one.facts, one.fixed, {key: array + other.sums[key] for key, array in one.sums.items()})
