"""Compare vectors in two steps: codes of their signs first, then the vectors themselves.

A code is one bit per number, 64 bytes of 512 numbers. The Hamming distance of two codes estimates the angle of their vectors (Charikar 2002,
"Similarity estimation techniques from rounding algorithms"); the nearest by code are then ordered by cosine. `python -m benches.retrieval` measures
what that loses against a scan of all vectors.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Codes = NDArray[np.uint64]
CODE_BYTES = 64
# Codes compared at once: what is computed of them stays in the processor's cache.
BLOCK = 32_768


def code_of(vector: Vectors) -> bytes:
    """Return the code of one vector [512]: bit i is number i > 0."""
    return np.packbits(vector > 0).tobytes()


def codes_from(blobs: Sequence[bytes] | NDArray[np.void]) -> Codes:
    """Return the codes of stored bytes, uint64 [8, N], the same word of all together."""
    joined = blobs.tobytes() if isinstance(blobs, np.ndarray) else b"".join(blobs)
    return np.ascontiguousarray(np.frombuffer(joined, dtype=np.uint64).reshape(len(blobs), CODE_BYTES // 8).T)


def distances(codes: Codes, code: bytes) -> NDArray[np.uint16]:
    """Return the Hamming distance of each code to one, uint16 [N]."""
    own = np.frombuffer(code, dtype=np.uint64)
    found = np.zeros(codes.shape[1], dtype=np.uint16)
    differing = np.empty(BLOCK, dtype=np.uint64)
    for start in range(0, len(found), BLOCK):
        some = found[start : start + BLOCK]
        for words, word in zip(codes[:, start : start + BLOCK], own, strict=True):
            some += np.bitwise_count(np.bitwise_xor(words, word, out=differing[: len(some)]))
    return found


def nearest(codes: Codes, code: bytes, count: int) -> NDArray[np.int64]:
    """Return the places of the `count` nearest codes, nearest first, ties in order."""
    found = distances(codes, code)
    if count < len(found):
        # Distances are small numbers: counting them finds the threshold without sorting a million.
        numbers = np.bincount(found, minlength=CODE_BYTES * 8 + 1)
        limit = int(np.searchsorted(np.cumsum(numbers), count))
        places = np.flatnonzero(found <= limit)
    else:
        places = np.arange(len(found))
    return places[np.argsort(found[places], kind="stable")][:count]


def packed(vector: Vectors) -> bytes:
    """Return a vector as little-endian float16, to be stored."""
    return vector.astype("<f2").tobytes()


def vectors_from(blobs: Sequence[bytes]) -> Vectors:
    """Return stored vectors, float32 [N, D]."""
    return np.frombuffer(b"".join(blobs), dtype="<f2").reshape(len(blobs), -1).astype(np.float32)
