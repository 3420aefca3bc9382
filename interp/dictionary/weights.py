"""Weight files read as numpy, tensor by tensor, without torch: safetensors, .npz and .npy; .pt stands in `torchfile`."""

import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from interp.errors import DictionaryError, FileMissing, PickleRefused, WeightsNotFinite

Floats = NDArray[np.float32]

# safetensors' names of dtypes that weights come in, as numpy reads the raw bytes. bfloat16 has no numpy type: see `to_float32`.
SAFETENSORS_DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "bfloat16",
    "I64": "<i8",
    "I32": "<i4",
    "BOOL": "|b1",
    "U8": "|u1",
    "I8": "|i1",
}


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor in a file: its shape is known, its numbers are read when asked for."""

    shape: tuple[int, ...]
    dtype: str
    load: Callable[[], NDArray[Any]]

    def read(self) -> Floats:
        """float32, whatever the file holds."""
        return to_float32(self.load(), self.dtype)


def to_float32(raw: NDArray[Any], dtype: str) -> Floats:
    """float32 of raw numbers; bfloat16 comes as its upper 16 bits in uint16."""
    if dtype == "bfloat16":
        widened: Floats = (raw.astype(np.uint32) << 16).view(np.float32)
        return widened
    return np.array(raw, dtype=np.float32)


def read_safetensors(path: Path) -> dict[str, Stored]:
    """The tensors of a safetensors file (8 bytes of header length, header as JSON, raw data). Raises DictionaryError, FileMissing."""
    try:
        with path.open("rb") as handle:
            length = int.from_bytes(handle.read(8), "little")
            if not 0 < length <= path.stat().st_size:
                raise ValueError("the header's length is beyond the file")
            header = json.loads(handle.read(length))
        header.pop("__metadata__", None)
        return {name: _in_safetensors(path, 8 + length, facts) for name, facts in header.items()}
    except FileNotFoundError:
        raise FileMissing(f"{path} does not exist.", cure="Check the path.") from None
    except (ValueError, KeyError, TypeError, UnicodeDecodeError) as cause:
        raise unreadable(path, f"It is no safetensors file: {cause}.") from cause


def read_npz(path: Path) -> dict[str, Stored]:
    """The arrays of an .npz file. Raises DictionaryError, PickleRefused for object arrays, FileMissing."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {name.removesuffix(".npy"): _in_npz(path, archive, name) for name in archive.namelist() if name.endswith(".npy")}
    except FileNotFoundError:
        raise FileMissing(f"{path} does not exist.", cure="Check the path.") from None
    except (zipfile.BadZipFile, ValueError) as cause:
        raise unreadable(path, f"It is no .npz file: {cause}.") from cause


def read_npy(path: Path) -> Stored:
    """The array of an .npy file. Raises DictionaryError, PickleRefused, FileMissing."""
    try:
        with path.open("rb") as handle:
            shape, dtype = _npy_header(handle, path)
    except FileNotFoundError:
        raise FileMissing(f"{path} does not exist.", cure="Check the path.") from None
    except ValueError as cause:
        raise unreadable(path, f"It is no .npy file: {cause}.") from cause
    return Stored(shape, dtype, lambda: np.load(path, allow_pickle=False))


def check_finite(tensors: Mapping[str, Stored], source: Path) -> None:
    """Raises WeightsNotFinite, naming the tensor and the first bad place."""
    for name, tensor in tensors.items():
        values = tensor.read()
        bad = ~np.isfinite(values)
        if bad.any():
            place = tuple(int(axis) for axis in np.argwhere(bad)[0])
            raise WeightsNotFinite(
                f"{source}: {name} holds NaN or infinity.",
                why=f"{int(bad.sum())} of {bad.size} numbers, the first at {list(place)}: the training diverged, or float16 overflowed.",
                cure="Save the dictionary again from a good checkpoint, in float32.",
                tensor=name,
            )


def unreadable(path: Path, why: str) -> DictionaryError:
    return DictionaryError(f"{path} cannot be read.", why=why, cure="Fetch or save the file again.")


def _in_safetensors(path: Path, base: int, facts: dict[str, Any]) -> Stored:
    shape, (start, stop) = tuple(facts["shape"]), facts["data_offsets"]
    if facts["dtype"] not in SAFETENSORS_DTYPES:
        raise ValueError(f"dtype {facts['dtype']} is not supported")
    dtype = SAFETENSORS_DTYPES[facts["dtype"]]
    raw = np.dtype("<u2" if dtype == "bfloat16" else dtype)
    count = int(np.prod(shape, dtype=np.int64))
    if stop - start != count * raw.itemsize or base + stop > path.stat().st_size:
        raise ValueError("the file is cut short")

    def load() -> NDArray[Any]:
        return np.fromfile(path, dtype=raw, count=count, offset=base + start).reshape(shape)

    return Stored(shape, dtype, load)


def _in_npz(path: Path, archive: zipfile.ZipFile, name: str) -> Stored:
    with archive.open(name) as handle:
        shape, dtype = _npy_header(handle, path)

    def load() -> NDArray[Any]:
        with np.load(path, allow_pickle=False) as arrays:
            array: NDArray[Any] = arrays[name.removesuffix(".npy")]
            return array

    return Stored(shape, dtype, load)


def _npy_header(handle: Any, path: Path) -> tuple[tuple[int, ...], str]:
    version = np.lib.format.read_magic(handle)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(handle)
    if dtype.hasobject:
        raise PickleRefused(f"{path} holds pickled objects.", why="Reading them would run code.", cure="Save plain numbers.")
    return shape, dtype.str
