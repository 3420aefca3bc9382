"""Partial results as files of the artifact store: safetensors, so that the rows of a range of features are one span of bytes in each array."""

import json
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from interp.collect.partial.partial import Partial, Sample, merge
from interp.domain.errors import BlobCorruptError
from interp.domain.evidence import ContextKind, Split
from interp.files.artifact_store import Store
from interp.files.atomic import writing

DTYPES = {"<i8": "I64", "<f4": "F32", "<f2": "F16"}  # numpy's names to those of safetensors
NUMPY = {name: dtype for dtype, name in DTYPES.items()}
COUNTS = ("features", "windows_active", "histogram", "sums", "maxima", "levels")
HEAD = 16_384  # more than any header takes, so that it is read at once
LONGEST_HEADER = 1_000_000
ROWS = 8_192  # features that a combine holds at once: some 65 MB a part with the default settings


@dataclass(frozen=True)
class ArrayEntry:
    """One array of a file: numpy's dtype, its shape, and where its bytes begin in the file."""

    dtype: str
    shape: tuple[int, ...]
    begin: int

    @property
    def row_bytes(self) -> int:
        """Bytes of one feature's row."""
        return np.dtype(self.dtype).itemsize * prod(self.shape[1:])

    def span(self, start: int, stop: int) -> tuple[int, int]:
        """The bytes of the features `start` to `stop - 1`."""
        return self.begin + start * self.row_bytes, self.begin + stop * self.row_bytes


@dataclass(frozen=True)
class PartialHeader:
    """What stands before the arrays of a file."""

    facts: dict[str, Any]
    columns: dict[str, ArrayEntry]

    def __len__(self) -> int:
        """Features in the file."""
        return self.columns["features"].shape[0]


def save(store: Store, name: str, partial: Partial) -> None:
    """Puts a partial result into the store, whole or not at all. Raises DiskFull."""
    store.put(name, lambda path: _write(path, len(partial), [partial]))


def load(store: Store, name: str, rows: tuple[int, int] | None = None) -> Partial:
    """Reads all features, or the half-open range of their rows alone, and no byte of the others. Raises ArtifactMissing, BlobCorrupt."""
    return _load(store, name, read_header(store, name), rows)


def combine(store: Store, inputs: Sequence[str], output: str, progress: Callable[[int], None]) -> None:
    """Merges files of the same features into one, `ROWS` features at a time, two parts of them in memory at once.

    `progress` gets the features done so far, and may raise to stop. Raises ArtifactMissing, BlobCorrupt, DiskFull.
    """
    headers = [read_header(store, name) for name in inputs]
    count = len(headers[0])

    def blocks() -> Iterable[Partial]:
        for start in range(0, count, ROWS):
            rows = (start, min(start + ROWS, count))
            yield merge(_load(store, name, header, rows) for name, header in zip(inputs, headers, strict=True))
            progress(rows[1])

    store.put(output, lambda path: _write(path, count, blocks()))


def read_header(store: Store, name: str) -> PartialHeader:
    """What a file holds. Raises ArtifactMissing, BlobCorrupt."""
    (head,) = store.read(name, [(0, HEAD)])
    try:
        (length,) = struct.unpack_from("<Q", head)
        if length > LONGEST_HEADER:
            raise ValueError(f"its header would be {length} bytes long")
        text = head[8 : 8 + length] if 8 + length <= HEAD else store.read(name, [(8, 8 + length)])[0]
        content = json.loads(text)
        facts = json.loads(content.pop("__metadata__")["facts"])
        columns = {key: ArrayEntry(NUMPY[item["dtype"]], tuple(item["shape"]), 8 + length + item["data_offsets"][0]) for key, item in content.items()}
        if missing := [key for key in COUNTS if key not in columns]:
            raise ValueError(f"it lacks {', '.join(missing)}")
    except (struct.error, ValueError, KeyError) as cause:
        raise _corrupt(name, str(cause)) from cause
    return PartialHeader(facts, columns)


def _load(store: Store, name: str, header: PartialHeader, rows: tuple[int, int] | None) -> Partial:
    start, stop = rows or (0, len(header))
    spans = [column.span(start, stop) for column in header.columns.values()]
    arrays: dict[str, NDArray[Any]] = {}
    for (key, column), span, content in zip(header.columns.items(), spans, store.read(name, spans), strict=True):
        if len(content) != span[1] - span[0]:
            raise _corrupt(name, f"{key} ends after {len(content)} of {span[1] - span[0]} bytes")
        arrays[key] = np.frombuffer(content, dtype=column.dtype).reshape(stop - start, *column.shape[1:])
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
    """A safetensors file of `count` features, given block after block: the library's own writer needs them all in one buffer."""
    done = 0
    columns: dict[str, ArrayEntry] = {}
    with writing(path) as file:
        for block in blocks:
            arrays = _arrays(block)
            if not columns:
                text, columns = _layout(arrays, count, block)
                file.write(text)
            for key, array in arrays.items():
                file.seek(columns[key].span(done, done)[0])
                file.write(np.ascontiguousarray(array).data)
            done += len(block)


def _arrays(partial: Partial) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {key: getattr(partial, key) for key in COUNTS}
    arrays |= {f"keys.{_name(sample)}": keys for sample, keys in partial.keys.items()}
    return arrays | {f"activations.{_name(sample)}": values for sample, values in partial.activations.items()}


def _layout(arrays: dict[str, NDArray[Any]], count: int, partial: Partial) -> tuple[bytes, dict[str, ArrayEntry]]:
    """The header as bytes, and the columns it speaks of, for arrays of `count` rows."""
    facts = {"origin": partial.origin, "tokens_seen": partial.tokens_seen, "windows_seen": partial.windows_seen}
    content: dict[str, Any] = {"__metadata__": {"facts": json.dumps(facts)}}
    end = 0
    for key, array in arrays.items():
        begin, end = end, end + count * prod(array.shape[1:]) * array.itemsize
        content[key] = {"dtype": DTYPES[array.dtype.str], "shape": (count, *array.shape[1:]), "data_offsets": (begin, end)}
    text = json.dumps(content).encode()
    text += b" " * (-len(text) % 8)
    columns = {
        key: ArrayEntry(array.dtype.str, (count, *array.shape[1:]), 8 + len(text) + content[key]["data_offsets"][0]) for key, array in arrays.items()
    }
    return struct.pack("<Q", len(text)) + text, columns


def _corrupt(name: str, why: str) -> BlobCorruptError:
    cure = "Submit the job again: what has evidence is not collected again."
    return BlobCorruptError(f"{name} is no partial evidence of this version.", why=why, cure=cure)


def _name(sample: Sample) -> str:
    return f"{sample[0].name}.{sample[1].name}"


def _sample(name: str) -> Sample:
    _, kind, split = name.split(".")
    return ContextKind[kind], Split[split]
