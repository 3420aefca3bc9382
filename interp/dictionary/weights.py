"""Weight files read as numpy, block by block, without torch: safetensors, .npz and .npy; .pt stands in `torchfile`.

Nothing is allocated by what a file says of itself before that was held against the file's own size.
"""

import ast
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

from interp.dictionary.archives import check_entry, open_archive
from interp.domain.errors import DictionaryError, FileMissingError, GlossatorError, PickleRefusedError, WeightsNotFiniteError
from interp.security.allowed_files import current, is_file, open_file
from interp.security.bounded_json import DICTIONARY_HEADER, JsonLimits, parse_json
from interp.security.foreign_config import brief

Floats = NDArray[np.float32]

# safetensors' names of dtypes that weights come in, as numpy reads the raw bytes. bfloat16 has no numpy type: see `to_float32`.
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
# Numbers that are read at once.
BLOCK = 1 << 20
# Axes of a tensor, tensors of an .npz, and bytes of the header of an .npy: numpy's own bound, which it looks at after it has read them.
MOST_AXES = 8
MOST_ARRAYS = 4096
NPY_HEADER = 10_000
# A dictionary's numbers take this many times its files' bytes at most: .npz may be compressed, and tensors of a .pt may share numbers.
MOST_EXPANSION = 8
ALWAYS_ALLOWED = 1 << 20

# What Python, numpy, json and zipfile raise on content that is not of the expected form.
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


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor in a file: its shape is known, its numbers are read when asked for.

    `stream` gives them in blocks of one axis, in the order in which `order` lays out the shape. `spanned` counts the numbers that are read for it.
    """

    shape: tuple[int, ...]
    dtype: str
    stream: Callable[[], Iterator[NDArray[Any]]]
    order: Literal["C", "F"] = "C"
    spanned: int = 0

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes that are read for it, in the file's dtype."""
        return max(self.size, self.spanned) * raw_dtype(self.dtype).itemsize

    def blocks(self) -> Iterator[Floats]:
        """float32, whatever the file holds, some at a time."""
        for raw in self.stream():
            yield to_float32(raw, self.dtype)

    def read(self) -> Floats:
        """All of it as float32."""
        numbers: Floats = np.empty(self.size, dtype=np.float32)
        done = 0
        for block in self.blocks():
            numbers[done : done + len(block)] = block
            done += len(block)
        if done != self.size:
            raise ValueError(f"{done} of {self.size} numbers are there")
        return numbers.reshape(self.shape, order=self.order)


def raw_dtype(dtype: str) -> np.dtype[Any]:
    """The numpy dtype of the raw bytes."""
    return np.dtype("<u2" if dtype == "bfloat16" else dtype)


def to_float32(raw: NDArray[Any], dtype: str) -> Floats:
    """float32 of raw numbers; bfloat16 comes as its upper 16 bits in uint16. What overflows is infinite."""
    if dtype == "bfloat16":
        widened: Floats = (raw.astype(np.uint32) << 16).view(np.float32)
        return widened
    with np.errstate(over="ignore"):
        return np.array(raw, dtype=np.float32)


@contextmanager
def as_unreadable(path: Path, kind: str) -> Iterator[None]:
    """Turns what damaged files raise into FileMissing or a DictionaryError that names the file."""
    try:
        yield
    except GlossatorError:
        raise
    except FileNotFoundError:
        raise FileMissingError(f"{path} does not exist.", cure="Check the path.") from None
    except UNREADABLE as cause:
        raise unreadable(path, f"It is no {kind} file: {str(cause)[:200]}.") from cause


def read_safetensors(path: Path, limits: JsonLimits = DICTIONARY_HEADER) -> dict[str, StoredTensor]:
    """The tensors of a safetensors file (8 bytes of header length, header as JSON, raw data). Raises DictionaryError, FileMissing."""
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
        places = {name: _placed(name, facts, size - 8 - length) for name, facts in header.items()}
        _check_apart(places)
        return {name: _in_safetensors(path, 8 + length, place) for name, place in places.items()}


def read_npz(path: Path) -> dict[str, StoredTensor]:
    """The arrays of an .npz file. Raises DictionaryError, PickleRefused for object arrays, FileMissing."""
    with as_unreadable(path, ".npz"), open_archive(path) as archive:
        entries = [entry for entry in archive.infolist() if entry.filename.endswith(".npy")]
        if len(entries) > MOST_ARRAYS:
            raise ValueError(f"it has {len(entries)} arrays, of {MOST_ARRAYS} at most")
        return {entry.filename.removesuffix(".npy"): _in_npz(path, archive, entry) for entry in entries}


def read_npy(path: Path) -> StoredTensor:
    """The array of an .npy file. Raises DictionaryError, PickleRefused, FileMissing."""
    with as_unreadable(path, ".npy"), open_file(path) as handle:
        head = _npy_head(handle, path)
        start, size = handle.tell(), os.fstat(handle.fileno()).st_size
        if size - start < head.nbytes:
            raise ValueError(f"its {head.nbytes} bytes of numbers are cut short")

    def stream() -> Iterator[NDArray[Any]]:
        return from_file(path, start, raw_dtype(head.dtype), math.prod(head.shape))

    return StoredTensor(head.shape, head.dtype, stream, head.order)


def check_expansion(tensors: Iterable[StoredTensor], files: Iterable[Path], source: Path) -> None:
    """Raises DictionaryError when the tensors say that they are far larger than the files that hold them."""
    claimed = sum(tensor.nbytes for tensor in tensors)
    held = sum(current().status(path).st_size for path in files if is_file(path))
    if claimed > MOST_EXPANSION * held + ALWAYS_ALLOWED:
        raise DictionaryError(
            f"{source}: the weights do not fit into their files.",
            why=f"The tensors say that they have {claimed} bytes, the files have {held}: views that repeat numbers, or compressed zeros.",
            cure="Save the tensors again as safetensors, each contiguous.",
        )


def check_finite(tensors: Mapping[str, StoredTensor], source: Path) -> None:
    """Raises WeightsNotFinite, naming the tensor and the first bad place; DictionaryError where a file ends early or is damaged."""
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
    """The error of a tensor that holds NaN or infinity."""
    return WeightsNotFiniteError(
        f"{source}: {name[:80]} holds NaN or infinity.",
        why=why,
        cure="Save the dictionary again from a good checkpoint, in float32.",
        tensor=name[:80],
    )


def unreadable(path: Path, why: str) -> DictionaryError:
    return DictionaryError(f"{path} cannot be read.", why=why, cure="Fetch or save the file again.")


def from_file(path: Path, start: int, dtype: np.dtype[Any], count: int) -> Iterator[NDArray[Any]]:
    """`count` raw numbers that begin at a byte of a file, in blocks. Raises DictionaryError when the file ends before."""
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
    """A zip's entry may give less at once than it is asked for."""
    while wanted > 0 and (piece := handle.read(min(wanted, 1 << 20))):
        wanted -= len(piece)
        yield piece


@dataclass(frozen=True, slots=True)
class _Place:
    shape: tuple[int, ...]
    dtype: str
    start: int
    stop: int


def _placed(name: str, facts: Any, room: int) -> _Place:
    """What a safetensors header says of a tensor. Raises ValueError when that cannot be in `room` bytes."""
    if not isinstance(facts, dict) or not {"shape", "dtype", "data_offsets"} <= facts.keys():
        raise ValueError(f"{name[:80]} lacks shape, dtype or data_offsets")
    shape, kind, offsets = facts["shape"], facts["dtype"], facts["data_offsets"]
    if not isinstance(kind, str) or kind not in SAFETENSORS_DTYPES:
        raise ValueError(f"{name[:80]}: dtype {str(kind)[:40]} is not supported")
    if not _are_counts(shape) or len(shape) > MOST_AXES or not _are_counts(offsets) or len(offsets) != 2:
        raise ValueError(f"{name[:80]}: shape or data_offsets are no lists of counts")
    dtype, (start, stop) = SAFETENSORS_DTYPES[kind], offsets
    if stop - start != math.prod(shape) * raw_dtype(dtype).itemsize or stop > room:
        raise ValueError(f"the file is cut short, or {name[:80]} has another shape")
    return _Place(tuple(shape), dtype, start, stop)


def _are_counts(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**48 for value in values)


def _check_apart(places: Mapping[str, _Place]) -> None:
    """Raises ValueError when two tensors share bytes: a small file would stand for any number of large ones."""
    end = 0
    for name, place in sorted(places.items(), key=lambda item: (item[1].start, item[1].stop)):
        if place.start < end and place.stop > place.start:
            raise ValueError(f"{name[:80]} overlaps another tensor")
        end = max(end, place.stop)


def _in_safetensors(path: Path, base: int, place: _Place) -> StoredTensor:
    return StoredTensor(place.shape, place.dtype, lambda: from_file(path, base + place.start, raw_dtype(place.dtype), math.prod(place.shape)))


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
    """The header of an .npy, its length looked at before it is read."""
    start = handle.read(8)
    width = 2 if start[6:7] == b"\x01" else 4
    length = handle.read(width)
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
    if not isinstance(shape, tuple) or not _are_counts(list(shape)) or len(shape) > MOST_AXES:
        raise ValueError("its shape is none")
    return _NpyHead(shape, dtype, "F" if content["fortran_order"] is True else "C")
