"""Readers of .safetensors, .npz and .npy as numpy blocks, without torch; `torchfile` reads .pt.

Sizes that a file states are compared with the file's own size before memory is allocated.
"""

import ast
import io
import math
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

from interp.domain.errors import DictionaryError, FileMissingError, GlossatorError, PickleRefusedError, WeightsNotFiniteError
from interp.security.allowed_files import current, is_file, open_file
from interp.security.bounded_json import DICTIONARY_HEADER, JsonLimits, parse_json
from interp.security.foreign_config import brief

Floats = NDArray[np.float32]

# safetensors' names of dtypes to numpy's of the raw bytes. numpy has no bfloat16: see `to_float32`.
SAFETENSORS_DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "bfloat16",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "|i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "|u1",
    "BOOL": "|b1",
}
NUMPY_DTYPES = frozenset({order + kind for order in "<>" for kind in ("f2", "f4", "f8", "i2", "i4", "i8", "u2", "u4", "u8")} | {"|i1", "|u1", "|b1"})
# Numbers per block.
BLOCK = 1 << 20
# Limits on axes of a tensor, tensors of an .npz, and bytes of an .npy's header (numpy's own bound, checked after reading).
MOST_AXES = 8
MOST_ARRAYS = 4096
NPY_HEADER = 10_000
# Limit on the bytes of a dictionary's numbers per byte of its files: .npz may be compressed, and tensors of a .pt may share numbers.
MOST_EXPANSION = 8
ALWAYS_ALLOWED = 1 << 20

# Errors of Python, numpy, json and zipfile for content of an unexpected form.
UNREADABLE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


# A directory has at least 46 bytes per entry, and zipfile needs some 700: 4 MiB are 90,000 entries at most. Blocks of data are smaller.
LARGEST_READ = 4 << 20


class _BoundedReader(io.BufferedReader):
    """Reader of at most `LARGEST_READ` bytes at once, whatever size the file states to zipfile."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            place = self.tell()
            size = self.seek(0, io.SEEK_END) - place
            self.seek(place)
        if size > LARGEST_READ:
            raise zipfile.BadZipFile(f"its directory takes {size} bytes, of {LARGEST_READ} at most")
        return super().read(size)


@contextmanager
def open_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip file with a directory of bounded size; raises zipfile.BadZipFile."""
    with _BoundedReader(open_file(path).detach()) as handle, zipfile.ZipFile(handle) as archive:
        yield archive


def check_entry(entry: zipfile.ZipInfo, *, compressed: bool) -> None:
    """Raise zipfile.BadZipFile for encrypted entries, and compressions of unbounded memory."""
    allowed = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) if compressed else (zipfile.ZIP_STORED,)
    if entry.flag_bits & 0x61 or entry.compress_type not in allowed:
        raise zipfile.BadZipFile(f"its entry {entry.filename[:80]} is encrypted or packed in a way that weights are not")


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor in a file, whose numbers are not read yet.

    `stream` yields blocks of one axis, in the `order` of the shape. `spanned` counts the numbers that are read.
    """

    shape: tuple[int, ...]
    dtype: str
    stream: Callable[[], Iterator[NDArray[Any]]]
    order: Literal["C", "F"] = "C"
    spanned: int = 0

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Return the bytes that are read, in the file's dtype."""
        return max(self.size, self.spanned) * raw_dtype(self.dtype).itemsize

    def blocks(self) -> Iterator[Floats]:
        """Yield blocks of float32 numbers."""
        for raw in self.stream():
            yield to_float32(raw, self.dtype)

    def read(self) -> Floats:
        """Return the whole tensor as float32."""
        numbers: Floats = np.empty(self.size, dtype=np.float32)
        done = 0
        for block in self.blocks():
            numbers[done : done + len(block)] = block
            done += len(block)
        if done != self.size:
            raise ValueError(f"{done} of {self.size} numbers are there")
        return numbers.reshape(self.shape, order=self.order)


def raw_dtype(dtype: str) -> np.dtype[Any]:
    """Return the numpy dtype of the raw bytes."""
    return np.dtype("<u2" if dtype == "bfloat16" else dtype)


def to_float32(raw: NDArray[Any], dtype: str) -> Floats:
    """Convert raw numbers to float32, infinite on overflow; bfloat16 comes as uint16."""
    if dtype == "bfloat16":
        widened: Floats = (raw.astype(np.uint32) << 16).view(np.float32)
        return widened
    with np.errstate(over="ignore"):
        return np.array(raw, dtype=np.float32)


@contextmanager
def as_unreadable(path: Path, kind: str) -> Iterator[None]:
    """Turn errors of damaged files into FileMissingError or a DictionaryError with the name."""
    try:
        yield
    except GlossatorError:
        raise
    except FileNotFoundError:
        raise FileMissingError(f"{path} does not exist.", cure="Check the path.") from None
    except UNREADABLE as cause:
        raise unreadable(path, f"It is no {kind} file: {str(cause)[:200]}.") from cause


def read_safetensors(path: Path, limits: JsonLimits = DICTIONARY_HEADER) -> dict[str, StoredTensor]:
    """Read a safetensors file (header length, JSON, raw data); raises DictionaryError and FileMissingError."""
    with as_unreadable(path, "safetensors"), open_file(path) as handle:
        size = os.fstat(handle.fileno()).st_size
        length = int.from_bytes(handle.read(8), "little")
        if not 0 < length <= size - 8:
            raise ValueError("the header's length is beyond the file")
        if length > limits.nbytes:
            raise ValueError(f"its header of {length} bytes is larger than {limits.nbytes >> 20} MiB")
        header = parse_json(handle.read(length), limits)
        if not isinstance(header, dict):
            raise ValueError("its header is no object")
        header.pop("__metadata__", None)
        spans = [(_checked_span(name, facts, size - 8 - length), name) for name, facts in header.items()]
        _check_disjoint(spans)
        return {name: _in_safetensors(path, 8 + length + start, header[name]) for (start, _), name in spans}


def read_npz(path: Path) -> dict[str, StoredTensor]:
    """Read an .npz file; raises DictionaryError, PickleRefusedError for object arrays, and FileMissingError."""
    with as_unreadable(path, ".npz"), open_archive(path) as archive:
        entries = [entry for entry in archive.infolist() if entry.filename.endswith(".npy")]
        if len(entries) > MOST_ARRAYS:
            raise ValueError(f"it has {len(entries)} arrays, of {MOST_ARRAYS} at most")
        return {entry.filename.removesuffix(".npy"): _in_npz(path, archive, entry) for entry in entries}


def read_npy(path: Path) -> StoredTensor:
    """Read an .npy file; raises DictionaryError, PickleRefusedError and FileMissingError."""
    with as_unreadable(path, ".npy"), open_file(path) as handle:
        head = _npy_head(handle, path)
        start, size = handle.tell(), os.fstat(handle.fileno()).st_size
        if size - start < head.nbytes:
            raise ValueError(f"its {head.nbytes} bytes of numbers are cut short")

    def stream() -> Iterator[NDArray[Any]]:
        return from_file(path, start, raw_dtype(head.dtype), math.prod(head.shape))

    return StoredTensor(head.shape, head.dtype, stream, head.order)


def check_expansion(tensors: Iterable[StoredTensor], files: Iterable[Path], source: Path) -> None:
    """Raise DictionaryError for tensors much larger than their files."""
    claimed = sum(tensor.nbytes for tensor in tensors)
    held = sum(current().status(path).st_size for path in files if is_file(path))
    if claimed > MOST_EXPANSION * held + ALWAYS_ALLOWED:
        raise DictionaryError(
            f"{source}: the weights do not fit into their files.",
            why=f"The tensors say that they have {claimed} bytes, the files have {held}: views that repeat numbers, or compressed zeros.",
            cure="Save the tensors again as safetensors, each contiguous.",
        )


def check_finite(tensors: Mapping[str, StoredTensor], source: Path) -> None:
    """Raise WeightsNotFiniteError with the first bad place, or DictionaryError for a damaged file."""
    for name, tensor in tensors.items():
        bad, first, done = 0, 0, 0
        for block in tensor.blocks():
            wrong = ~np.isfinite(block)
            if wrong.any():
                first = first if bad else done + int(wrong.argmax())
                bad += int(wrong.sum())
            done += len(block)
        if bad:
            place = np.unravel_index(first, tensor.shape, order=tensor.order)
            raise not_finite(
                source,
                name,
                f"{bad} of {tensor.size} numbers, the first at {[int(axis) for axis in place]}: the training diverged, or float16 overflowed.",
            )


def not_finite(source: Path, name: str, why: str) -> WeightsNotFiniteError:
    return WeightsNotFiniteError(
        f"{source}: {name[:80]} holds NaN or infinity.",
        why=why,
        cure="Save the dictionary again from a good checkpoint, in float32.",
        tensor=name[:80],
    )


def unreadable(path: Path, why: str) -> DictionaryError:
    return DictionaryError(f"{path} cannot be read.", why=why, cure="Fetch or save the file again.")


def from_file(path: Path, start: int, dtype: np.dtype[Any], count: int) -> Iterator[NDArray[Any]]:
    """Yield blocks of `count` raw numbers from byte `start`; raises DictionaryError for short files."""
    with as_unreadable(path, "weights"), open_file(path) as handle:
        handle.seek(start)
        yield from _in_blocks(handle, dtype, count)


def _in_blocks(handle: IO[bytes], dtype: np.dtype[Any], count: int) -> Iterator[NDArray[Any]]:
    for done in range(0, count, BLOCK):
        wanted = min(BLOCK, count - done) * dtype.itemsize
        raw = b"".join(_pieces(handle, wanted))
        if len(raw) < wanted:
            raise ValueError("it is cut short")
        yield np.frombuffer(raw, dtype=dtype)


def _pieces(handle: IO[bytes], wanted: int) -> Iterator[bytes]:
    """Yield `wanted` bytes, since a zip's entry may return fewer per read."""
    while wanted > 0 and (piece := handle.read(min(wanted, 1 << 20))):
        wanted -= len(piece)
        yield piece


def _checked_span(name: str, facts: Any, room: int) -> tuple[int, int]:
    """Return a tensor's bytes by a safetensors header; raises ValueError for invalid facts."""
    if not isinstance(facts, dict) or not {"shape", "dtype", "data_offsets"} <= facts.keys():
        raise ValueError(f"{name[:80]} lacks shape, dtype or data_offsets")
    shape, kind, offsets = facts["shape"], facts["dtype"], facts["data_offsets"]
    if not isinstance(kind, str) or kind not in SAFETENSORS_DTYPES:
        raise ValueError(f"{name[:80]}: dtype {str(kind)[:40]} is not supported")
    if not are_counts(shape, list) or not are_counts(offsets, list) or len(offsets) != 2:
        raise ValueError(f"{name[:80]}: shape or data_offsets are no lists of counts")
    start, stop = offsets
    if stop - start != math.prod(shape) * raw_dtype(SAFETENSORS_DTYPES[kind]).itemsize or stop > room:
        raise ValueError(f"the file is cut short, or {name[:80]} has another shape")
    return start, stop


def are_counts(values: Any, kind: type[list[Any] | tuple[Any, ...]]) -> bool:
    """Return whether the values are a list, or tuple, of few counts."""
    return isinstance(values, kind) and len(values) <= MOST_AXES and all(type(value) is int and 0 <= value < 2**48 for value in values)


def _check_disjoint(spans: Iterable[tuple[tuple[int, int], str]]) -> None:
    """Raise ValueError for tensors that share bytes, since they could exceed the file's size."""
    end = 0
    for (start, stop), name in sorted(spans):
        if start < end and stop > start:
            raise ValueError(f"{name[:80]} overlaps another tensor")
        end = max(end, stop)


def _in_safetensors(path: Path, start: int, facts: dict[str, Any]) -> StoredTensor:
    shape, dtype = tuple(facts["shape"]), SAFETENSORS_DTYPES[facts["dtype"]]
    return StoredTensor(shape, dtype, lambda: from_file(path, start, raw_dtype(dtype), math.prod(shape)))


def _in_npz(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> StoredTensor:
    check_entry(entry, compressed=True)
    with archive.open(entry) as handle:
        head = _npy_head(handle, path)
        start = handle.tell()
    if entry.file_size - start != head.nbytes:
        raise ValueError(f"{entry.filename[:80]} has {entry.file_size - start} bytes of numbers, its header says {head.nbytes}")

    def stream() -> Iterator[NDArray[Any]]:
        with as_unreadable(path, ".npz"), open_archive(path) as again, again.open(entry.filename) as handle:
            handle.read(start)
            yield from _in_blocks(handle, raw_dtype(head.dtype), math.prod(head.shape))

    return StoredTensor(head.shape, head.dtype, stream, head.order)


@dataclass(frozen=True, slots=True)
class _NpyHead:
    shape: tuple[int, ...]
    dtype: str
    order: Literal["C", "F"]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * raw_dtype(self.dtype).itemsize


def _npy_head(handle: IO[bytes], path: Path) -> _NpyHead:
    """Read the header of an .npy, after a check of its length."""
    start = handle.read(8)
    size = 2 if start[6:7] == b"\x01" else 4
    length = handle.read(size)
    if start[:6] != b"\x93NUMPY" or int.from_bytes(length, "little") > NPY_HEADER:
        raise ValueError("it does not begin as one")
    content = ast.literal_eval(handle.read(int.from_bytes(length, "little")).decode("utf-8"))
    if not isinstance(content, dict) or not {"descr", "fortran_order", "shape"} <= content.keys():
        raise ValueError("its header is none")
    shape, dtype = content["shape"], content["descr"]
    if isinstance(dtype, str) and dtype.endswith("O"):
        raise PickleRefusedError(f"{path} holds pickled objects.", why="Reading them would run code.", cure="Save plain numbers.")
    if not isinstance(dtype, str) or dtype not in NUMPY_DTYPES:
        raise ValueError(f"dtype {brief(dtype)} is not supported; real numbers are")
    if not are_counts(shape, tuple):
        raise ValueError("its shape is none")
    return _NpyHead(shape, dtype, "F" if content["fortran_order"] is True else "C")
