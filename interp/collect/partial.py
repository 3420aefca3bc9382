"""What one shard gives: counts and samples of every feature, that add up with those of other shards."""

import json
import os
import struct
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from interp.disk import disk_full
from interp.evidence import Kind, Split

Sample = tuple[Kind, Split]
DTYPES = {"<i8": "I64", "<f4": "F32", "<f2": "F16"}  # numpy's names to those of safetensors
COUNTS = ("windows_active", "histogram", "sums", "maxima")


@dataclass(frozen=True)
class Partial:
    """Collected from some documents of a corpus. S features, k windows of a sample, all arrays with features first.

    origin          what decided it (corpus, settings, seed): only partials of one origin merge
    features        int64   [S]
    windows_seen    of each split
    windows_active  int64   [S, 2]
    histogram       int64   [S, HISTOGRAM_BINS]
    sums            int64   [S]             activations, see `interp.collect.tally`
    maxima          float32 [S]
    keys            int64   [S, k] a sample, descending, see `interp.collect.reservoir`
    activations     float16 [S, k, window] a sample of active windows
    """

    origin: str
    features: NDArray[np.int64]
    tokens_seen: int
    windows_seen: tuple[int, int]
    windows_active: NDArray[np.int64]
    histogram: NDArray[np.int64]
    sums: NDArray[np.int64]
    maxima: NDArray[np.float32]
    keys: dict[Sample, NDArray[np.int64]]
    activations: dict[Sample, NDArray[np.float16]]

    def __len__(self) -> int:
        return len(self.features)

    def save(self, path: Path) -> None:
        """Writes a safetensors file, whole or not at all. Raises DiskFull."""
        arrays: dict[str, NDArray[Any]] = {"features": self.features, **{name: getattr(self, name) for name in COUNTS}}
        arrays |= {f"keys.{_name(sample)}": keys for sample, keys in self.keys.items()}
        arrays |= {f"activations.{_name(sample)}": values for sample, values in self.activations.items()}
        facts = {"origin": self.origin, "tokens_seen": self.tokens_seen, "windows_seen": self.windows_seen}
        draft = path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with disk_full(path):
                _write(draft, arrays, {"facts": json.dumps(facts)})
                draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: Path, features: slice | None = None) -> "Partial":
        """Reads all features, or a range of their rows alone."""
        rows = slice(None) if features is None else features
        with safe_open(path, framework="numpy") as file:
            facts = json.loads(file.metadata()["facts"])
            arrays = {name: file.get_slice(name)[rows] for name in file.keys()}  # noqa: SIM118 - no mapping
        return cls(
            origin=facts["origin"],
            features=arrays["features"],
            tokens_seen=facts["tokens_seen"],
            windows_seen=(facts["windows_seen"][0], facts["windows_seen"][1]),
            keys={_sample(name): array for name, array in arrays.items() if name.startswith("keys.")},
            activations={_sample(name): array for name, array in arrays.items() if name.startswith("activations.")},
            **{name: arrays[name] for name in COUNTS},
        )


def merge(parts: Sequence[Partial]) -> Partial:
    """What collecting all their documents at once would have given, exactly: associative and commutative.

    Raises ValueError for no parts, or parts of different origins or features. The parts' documents must be disjoint.
    """
    if not parts:
        raise ValueError("there is nothing to merge")
    return reduce(_merge_two, parts)


def _merge_two(one: Partial, other: Partial) -> Partial:
    if one.origin != other.origin or not np.array_equal(one.features, other.features):
        raise ValueError("partials of different corpora, settings or features do not merge")
    keys: dict[Sample, NDArray[np.int64]] = {}
    activations: dict[Sample, NDArray[np.float16]] = {}
    for sample, mine in one.keys.items():
        both = np.concatenate([mine, other.keys[sample]], axis=1)
        order = np.argsort(~both, axis=1)[:, : mine.shape[1]]  # ~x reverses the order of int64, where -x would overflow
        keys[sample] = np.take_along_axis(both, order, axis=1)
        if sample in one.activations:
            values = np.concatenate([one.activations[sample], other.activations[sample]], axis=1)
            activations[sample] = values[np.arange(len(values))[:, None], order]
    return replace(
        one,
        tokens_seen=one.tokens_seen + other.tokens_seen,
        windows_seen=(one.windows_seen[0] + other.windows_seen[0], one.windows_seen[1] + other.windows_seen[1]),
        windows_active=one.windows_active + other.windows_active,
        histogram=one.histogram + other.histogram,
        sums=one.sums + other.sums,
        maxima=np.maximum(one.maxima, other.maxima),
        keys=keys,
        activations=activations,
    )


def _write(path: Path, arrays: dict[str, NDArray[Any]], metadata: dict[str, str]) -> None:
    """A safetensors file, array by array: the library's own writer needs them all in one buffer, and hides which system error it met."""
    header: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name, array in arrays.items():
        begin, end = end, end + array.nbytes
        header[name] = {"dtype": DTYPES[array.dtype.str], "shape": array.shape, "data_offsets": (begin, end)}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for array in arrays.values():
            file.write(np.ascontiguousarray(array).data)
        file.flush()
        os.fsync(file.fileno())


def _name(sample: Sample) -> str:
    return f"{sample[0].name}.{sample[1].name}"


def _sample(name: str) -> Sample:
    _, kind, split = name.split(".")
    return Kind[kind], Split[split]
