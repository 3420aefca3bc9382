"""Safetensors files of partial evidence: a range of features is one span per array."""

import json
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from interp.collect.partial import Partial, Sample, merge
from interp.domain.errors import BlobCorruptError
from interp.domain.evidence import ContextKind, Split
from interp.files.artifact_store import Store
from interp.files.atomic import writing

DTYPES = {"<i8": "I64", "<f4": "F32", "<f2": "F16"}  # numpy's names to those of safetensors
NUMPY = {name: dtype for dtype, name in DTYPES.items()}
COUNTS = ("features", "windows_active", "histogram", "sums", "maxima", "levels")
HEAD = 16_384  # bytes that hold nearly all headers, so that one read suffices
LONGEST_HEADER = 1_000_000
ROWS = 8_192  # features that a combine holds at once: some 65 MB per part with the default settings


@dataclass(frozen=True)
class ArrayEntry:
    """One array of a file: numpy's dtype, shape, and offset of its bytes."""

    dtype: str
    shape: tuple[int, ...]
    begin: int

    def span(self, start: int, stop: int) -> tuple[int, int]:
        """Return the bytes of the features `start` to `stop - 1`."""
        row = np.dtype(self.dtype).itemsize * prod(self.shape[1:])
        return self.begin + start * row, self.begin + stop * row


@dataclass(frozen=True)
class PartialHeader:
    """Header of a file: facts of the partial, and its arrays by name."""

    facts: dict[str, Any]
    arrays: dict[str, ArrayEntry]

    def __len__(self) -> int:
        """Return the number of features in the file."""
        return self.arrays["features"].shape[0]


def save(store: Store, name: str, partial: Partial) -> None:
    """Write partial evidence to the store atomically; raises DiskFullError."""
    store.put(name, lambda path: _write(path, len(partial), [partial]))


def load(store: Store, name: str, rows: tuple[int, int] | None = None) -> Partial:
    """Read all features, or a half-open range of rows; raises ArtifactMissingError and BlobCorruptError."""
    return _load(store, name, read_header(store, name), rows)


def combine(store: Store, inputs: Sequence[str], output: str, progress: Callable[[int], None]) -> int:
    """Merge files of the same features into one, in blocks; return their number.

    `progress` is called with the number of finished features, and may raise to stop. Raises ArtifactMissingError, BlobCorruptError, DiskFullError.
    """
    headers = [read_header(store, name) for name in inputs]
    count = len(headers[0])

    def blocks() -> Iterable[Partial]:
        for start in range(0, count, ROWS):
            rows = (start, min(start + ROWS, count))
            yield merge(_load(store, name, header, rows) for name, header in zip(inputs, headers, strict=True))
            progress(rows[1])

    store.put(output, lambda path: _write(path, count, blocks()))
    return count


def read_header(store: Store, name: str) -> PartialHeader:
    """Read the header of a file; raises ArtifactMissingError and BlobCorruptError."""
    (head,) = store.read(name, [(0, HEAD)])
    try:
        (length,) = struct.unpack_from("<Q", head)
        if length > LONGEST_HEADER:
            raise ValueError(f"its header would be {length} bytes long")
        text = head[8 : 8 + length] if 8 + length <= HEAD else store.read(name, [(8, 8 + length)])[0]
        content = json.loads(text)
        facts = json.loads(content.pop("__metadata__")["facts"])
        arrays = {key: ArrayEntry(NUMPY[item["dtype"]], tuple(item["shape"]), 8 + length + item["data_offsets"][0]) for key, item in content.items()}
        if missing := [key for key in COUNTS if key not in arrays]:
            raise ValueError(f"it lacks {', '.join(missing)}")
    except (struct.error, ValueError, KeyError) as cause:
        raise _corrupt(name, str(cause)) from cause
    return PartialHeader(facts, arrays)


def _load(store: Store, name: str, header: PartialHeader, rows: tuple[int, int] | None) -> Partial:
    start, stop = rows or (0, len(header))
    spans = [entry.span(start, stop) for entry in header.arrays.values()]
    arrays: dict[str, NDArray[Any]] = {}
    for (key, entry), span, content in zip(header.arrays.items(), spans, store.read(name, spans), strict=True):
        if len(content) != span[1] - span[0]:
            raise _corrupt(name, f"{key} ends after {len(content)} of {span[1] - span[0]} bytes")
        arrays[key] = np.frombuffer(content, dtype=entry.dtype).reshape(stop - start, *entry.shape[1:])
    facts = header.facts
    return Partial(
        origin=facts["origin"],
        tokens_seen=facts["tokens_seen"],
        windows_seen=(facts["windows_seen"][0], facts["windows_seen"][1]),
        keys={_sample(key): array for key, array in arrays.items() if key.startswith("keys.")},
        activations={_sample(key): array for key, array in arrays.items() if key.startswith("activations.")},
        **{key: arrays[key] for key in COUNTS},
    )


def _write(path: Path, count: int, blocks: Iterable[Partial]) -> None:
    """Write a safetensors file by blocks; the library's writer needs one buffer for all."""
    done = 0
    entries: dict[str, ArrayEntry] = {}
    with writing(path) as file:
        for block in blocks:
            arrays = _arrays(block)
            if not entries:
                header, entries = _header(arrays, count, block)
                file.write(header)
            for key, array in arrays.items():
                file.seek(entries[key].span(done, done)[0])
                file.write(np.ascontiguousarray(array).data)
            done += len(block)


def _arrays(partial: Partial) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {key: getattr(partial, key) for key in COUNTS}
    arrays |= {f"keys.{kind.name}.{split.name}": keys for (kind, split), keys in partial.keys.items()}
    return arrays | {f"activations.{kind.name}.{split.name}": values for (kind, split), values in partial.activations.items()}


def _header(arrays: dict[str, NDArray[Any]], count: int, partial: Partial) -> tuple[bytes, dict[str, ArrayEntry]]:
    """Return the header as bytes, and its entries, for arrays of `count` rows."""
    facts = {"origin": partial.origin, "tokens_seen": partial.tokens_seen, "windows_seen": partial.windows_seen}
    content: dict[str, Any] = {"__metadata__": {"facts": json.dumps(facts)}}
    entries, end = {}, 0
    for key, array in arrays.items():
        entry = ArrayEntry(array.dtype.str, (count, *array.shape[1:]), end)
        end = entry.span(0, count)[1]
        content[key] = {"dtype": DTYPES[entry.dtype], "shape": entry.shape, "data_offsets": (entry.begin, end)}
        entries[key] = entry
    text = json.dumps(content).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text, {key: replace(entry, begin=8 + len(text) + entry.begin) for key, entry in entries.items()}


def _corrupt(name: str, why: str) -> BlobCorruptError:
    cure = "Submit the job again: what has evidence is not collected again."
    return BlobCorruptError(f"{name} is no partial evidence of this version.", why=why, cure=cure)


def _sample(name: str) -> Sample:
    _, kind, split = name.split(".")
    return ContextKind[kind], Split[split]
