"""Files of `torch.save` (.pt, .pth), read without torch and without running code.

Such a file is a zip with a pickle of the structure and one raw entry a storage. The pickle may name only what tensors are made of; those
names stand here for functions of this file, which note where a tensor's numbers lie. Anything else is refused, so that no code of the file's
or of a library's choosing ever runs (torch's `weights_only=True` goes by the same rule).
"""

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from interp.dictionary.weights import Stored, unreadable
from interp.errors import FileMissing, PickleRefused

STORAGES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "|i1",
    "ByteStorage": "|u1",
    "BoolStorage": "|b1",
}


@dataclass(frozen=True, slots=True)
class _Storage:
    path: Path
    entry: str
    dtype: str

    def numbers(self) -> NDArray[Any]:
        with zipfile.ZipFile(self.path) as archive:
            return np.frombuffer(archive.read(self.entry), dtype="<u2" if self.dtype == "bfloat16" else self.dtype)


def read_torch(path: Path) -> Any:
    """What was saved: dicts, lists and plain values, with `Stored` for tensors. Raises PickleRefused, DictionaryError, FileMissing."""
    try:
        with zipfile.ZipFile(path) as archive:
            entry = next((name for name in archive.namelist() if name.endswith("/data.pkl")), None)
            if entry is None:
                raise unreadable(path, "It is a zip, but not one of torch.save.")
            with archive.open(entry) as handle:
                return _Reader(handle, path, entry.removesuffix("data.pkl")).load()
    except FileNotFoundError:
        raise FileMissing(f"{path} does not exist.", cure="Check the path.") from None
    except zipfile.BadZipFile as cause:
        raise PickleRefused(
            f"{path} is not in the form that torch.save has had since 1.6.",
            why="It is a bare pickle, cut short, or no weights at all.",
            cure="Load it where you trust it, and save its tensors as safetensors.",
        ) from cause
    except (pickle.UnpicklingError, EOFError, ValueError, IndexError, KeyError, AttributeError, TypeError) as cause:
        raise unreadable(path, f"Its pickle is damaged: {cause}.") from cause


def tensors_of(content: Any, prefix: str = "") -> dict[str, Stored]:
    """All tensors in nested dicts, by their dotted names."""
    if isinstance(content, Stored):
        return {prefix.removesuffix("."): content}
    if not isinstance(content, dict):
        return {}
    return {name: tensor for key, value in content.items() for name, tensor in tensors_of(value, f"{prefix}{key}.").items()}


class _Reader(pickle.Unpickler):
    """An unpickler that knows tensors and nothing else."""

    def __init__(self, handle: Any, path: Path, prefix: str) -> None:
        super().__init__(handle)
        self._path, self._prefix = path, prefix

    def find_class(self, module: str, name: str) -> Any:
        if module in ("torch", "torch.storage") and name in STORAGES:
            return STORAGES[name]
        if module == "torch":
            known_dtype = name in ("float64", "float32", "float16", "bfloat16", "int64", "int32", "bool")
            if known_dtype:
                return f"torch.{name}"
        if (module, name) in ALLOWED:
            return ALLOWED[module, name]
        raise PickleRefused(
            f"{self._path} would run code when it is loaded.",
            why=f"Its pickle asks for {module}.{name}, which is no tensor.",
            cure="Load it where you trust it, and save its tensors as safetensors: `safetensors.torch.save_file(state_dict, path)`.",
            wanted=f"{module}.{name}",
        )

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, *_ = pid
        if kind != "storage" or not isinstance(dtype, str):
            raise pickle.UnpicklingError(f"unknown reference {kind!r}")
        return _Storage(self._path, f"{self._prefix}data/{key}", dtype)


def _tensor(storage: _Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Stored:
    shape = tuple(size)

    def load() -> NDArray[Any]:
        numbers = storage.numbers()
        last = offset + sum((length - 1) * step for length, step in zip(shape, stride, strict=True))
        if min((0, *shape, *stride, offset)) < 0 or (0 not in shape and last >= len(numbers)):
            raise unreadable(storage.path, "A tensor reaches beyond its storage.")
        strides = tuple(step * numbers.itemsize for step in stride)
        return np.lib.stride_tricks.as_strided(numbers[offset:], shape, strides, writeable=False)

    return Stored(shape, storage.dtype, load)


def _parameter(data: Stored, *_: Any) -> Stored:
    return data


ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch", "Size"): tuple,
    ("torch", "device"): lambda *place: ":".join(map(str, place)),
}
