"""Reader of `torch.save` files (.pt, .pth), without torch and without running code.

Such a file is a zip with a pickle of the structure and one raw entry per storage. An interpreter reads the pickle: it supports the few operations
that torch.save writes, knows only the names that tensors are made of, calls nothing else, bounds operations and results, and changes only its own
objects (Python's Unpickler sets attributes of any object that the file names).
"""

import pickletools
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from interp.dictionary.weights import (
    LARGEST_READ,
    UNREADABLE,
    StoredTensor,
    are_counts,
    as_unreadable,
    check_entry,
    from_file,
    open_archive,
    raw_dtype,
    read_npz,
    read_safetensors,
    unreadable,
)
from interp.domain.errors import DictionaryError, FileMissingError, GlossatorError, PickleRefusedError
from interp.security.allowed_files import open_file

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
DTYPES = frozenset({"float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"})
# A tensor takes some 30 operations; no dictionary has 3,000 tensors.
MOST_OPERATIONS = 100_000
# Limits of names in nested dicts, their depth, and the characters of a dotted name.
MOST_NAMES, MOST_DEPTH, LONGEST_NAME = 20_000, 16, 512


def read_torch(path: Path) -> Any:
    """Return the saved content, with `StoredTensor` for tensors; raises PickleRefusedError, DictionaryError and FileMissingError."""
    try:
        with open_archive(path) as archive:
            entry = next((info for info in archive.infolist() if info.filename.endswith("/data.pkl")), None)
            if entry is None:
                raise unreadable(path, "It is a zip, but not one of torch.save.")
            for info in archive.infolist():
                check_entry(info, compressed=False)
            if entry.file_size >= LARGEST_READ:
                raise unreadable(path, f"Its pickle of {entry.file_size} bytes is larger than {LARGEST_READ >> 20} MiB.")
            entries = {info.filename: info for info in archive.infolist()}
            return _Interpreter(path, entry.filename.removesuffix("data.pkl"), entries).run(archive.read(entry))
    except GlossatorError:
        raise
    except FileNotFoundError:
        raise FileMissingError(f"{path} does not exist.", cure="Check the path.") from None
    except zipfile.BadZipFile as cause:
        raise PickleRefusedError(
            f"{path} is not in the form that torch.save has had since 1.6.",
            why=f"It is a bare pickle, cut short, or no weights at all: {str(cause)[:200]}.",
            cure="Load it where you trust it, and save its tensors as safetensors.",
        ) from cause
    except UNREADABLE as cause:
        raise unreadable(path, f"Its pickle is damaged: {str(cause)[:200]}.") from cause


def read_tensors(path: Path) -> dict[str, StoredTensor]:
    """Read named tensors of any kind of file; raises DictionaryError for unknown endings."""
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    if path.suffix == ".npz":
        return read_npz(path)
    if path.suffix in (".pt", ".pth"):
        return tensors_of(read_torch(path))
    raise DictionaryError(f"{path} is no file of weights.", cure="Give a .safetensors, .npz, .pt or .pth file.")


def tensors_of(content: Any) -> dict[str, StoredTensor]:
    """Return tensors in nested dicts by dotted names; raises ValueError for exceeded limits.

    A small pickle may hold the same dict at any number of places, so each place is counted.
    """
    found: dict[str, StoredTensor] = {}
    waiting: list[tuple[str, int, Any]] = [("", 0, content)]
    seen = 0
    while waiting:
        prefix, depth, value = waiting.pop()
        seen += 1
        if isinstance(value, StoredTensor):
            found[prefix] = value
        elif isinstance(value, dict):
            if depth == MOST_DEPTH or len(waiting) + len(value) + seen > MOST_NAMES:
                raise ValueError(f"its dicts hold more than {MOST_NAMES} names, or are more than {MOST_DEPTH} deep")
            names = [(f"{prefix}.{key}" if depth else str(key), item) for key, item in value.items()]
            if any(len(name) > LONGEST_NAME for name, _ in names):
                raise ValueError(f"a name in it is longer than {LONGEST_NAME} characters")
            waiting.extend((name, depth + 1, item) for name, item in reversed(names))
    return found


@dataclass(frozen=True, slots=True)
class _StorageClass:
    """A storage class that the pickle names."""

    dtype: str


@dataclass(frozen=True, slots=True)
class _Storage:
    """The raw numbers of a storage, an entry of the zip."""

    path: Path
    name: str
    entry: zipfile.ZipInfo | None
    dtype: str

    def numbers(self, offset: int, count: int) -> Iterator[NDArray[Any]]:
        """Yield blocks of the numbers; raises DictionaryError when there are fewer."""
        size = raw_dtype(self.dtype).itemsize
        if self.entry is None:
            raise unreadable(self.path, f"It lacks the numbers {self.name[:80]}.")
        if (offset + count) * size > self.entry.file_size:
            raise unreadable(self.path, "A tensor reaches beyond its storage.")
        return from_file(self.path, self._start(self.entry) + offset * size, raw_dtype(self.dtype), count)

    def _start(self, entry: zipfile.ZipInfo) -> int:
        """Return the offset of an entry's content, after its local header."""
        with as_unreadable(self.path, "torch.save"), open_file(self.path) as handle:
            handle.seek(entry.header_offset)
            local = handle.read(30)
            if local[:4] != b"PK\x03\x04" or len(local) < 30:
                raise zipfile.BadZipFile("an entry has no header")
            return entry.header_offset + 30 + int.from_bytes(local[26:28], "little") + int.from_bytes(local[28:30], "little")


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> StoredTensor:
    if not isinstance(storage, _Storage) or not all(are_counts(values, tuple) for values in ((offset,), size, stride)) or len(size) != len(stride):
        raise ValueError("a tensor's offset, size or strides are no counts")
    spanned = 0 if 0 in size else 1 + sum((length - 1) * step for length, step in zip(size, stride, strict=True))

    def stream() -> Iterator[NDArray[Any]]:
        if _is_contiguous(size, stride):
            yield from storage.numbers(offset, spanned)
            return
        span = np.concatenate([*storage.numbers(offset, spanned), np.empty(0, raw_dtype(storage.dtype))])
        strides = tuple(step * span.itemsize for step in stride)
        yield np.lib.stride_tricks.as_strided(span, size, strides, writeable=False).reshape(-1)

    return StoredTensor(size, storage.dtype, stream, spanned=spanned)


def _is_contiguous(size: tuple[int, ...], stride: tuple[int, ...]) -> bool:
    expected = 1
    for length, step in zip(reversed(size), reversed(stride), strict=True):
        if length != 1 and step != expected:
            return False
        expected *= length
    return True


def _parameter(data: Any, *_: Any) -> StoredTensor:
    if not isinstance(data, StoredTensor):
        raise ValueError("a parameter is no tensor")
    return data


def _ordered(*items: Any) -> dict[Any, Any]:
    if items not in ((), ([],)):
        raise ValueError("an OrderedDict is not written as torch.save writes it")
    return {}


def _size(items: Any = ()) -> tuple[Any, ...]:
    if not isinstance(items, tuple):
        raise ValueError("a size is no tuple")
    return items


def _device(*place: Any) -> str:
    if len(place) > 2 or not all(isinstance(part, str | int) for part in place):
        raise ValueError("a device is none")
    return ":".join(str(part)[:20] for part in place)


# The functions that the pickle may call.
ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): _ordered,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch", "Size"): _size,
    ("torch", "device"): _device,
}
_MARK = object()
_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY: dict[str, Callable[[], Any]] = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_LITERALS = frozenset(
    {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES"}
)
_IGNORED = frozenset({"PROTO", "FRAME"})


@dataclass(slots=True)
class _Interpreter:
    """Interpreter of a pickle of tensors, whose bytes bound the size of each result."""

    path: Path
    prefix: str
    entries: dict[str, zipfile.ZipInfo]
    stack: list[Any] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def run(self, content: bytes) -> Any:
        """Return the value of the pickle; raises PickleRefusedError, and the errors of damaged pickles."""
        for count, (operation, argument, _) in enumerate(pickletools.genops(content)):
            if count == MOST_OPERATIONS:
                raise ValueError(f"it has more than {MOST_OPERATIONS} operations")
            if operation.name == "STOP":
                break
            self._step(operation.name, argument)
        return self.stack.pop()

    def _step(self, name: str, argument: Any) -> None:
        if name in _LITERALS:
            self.stack.append(argument)
        elif name in ("BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        elif name in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = self.stack[-1]
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            self.stack.append(_EMPTY[name]())
        elif name not in _IGNORED:
            self._compose(name, argument)

    def _compose(self, name: str, argument: Any) -> None:
        """Execute an operation on the values of the stack."""
        match name:
            case "MARK":
                self.stack.append(_MARK)
            case "TUPLE":
                self.stack.append(tuple(self._marked()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                self.stack.append(tuple(self._popped(_TUPLES[name])))
            case "APPEND" | "APPENDS":
                items = self._popped(1) if name == "APPEND" else self._marked()
                self._top(list).extend(items)
            case "SETITEM" | "SETITEMS":
                self._set(self._popped(2) if name == "SETITEM" else self._marked())
            case "GLOBAL":
                self.stack.append(self._named(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                self.stack.append(self._named(*self._popped(2)))
            case "REDUCE":
                function, arguments = self._popped(2)
                if not callable(function) or not isinstance(arguments, tuple):
                    raise ValueError("it calls what is no function")
                self.stack.append(function(*arguments))
            case "BUILD":  # the metadata of a state dict
                self._popped(1)
                self._top(dict)
            case "BINPERSID":
                self.stack.append(self._storage(*self._popped(1)))
            case _:
                raise self._refused(f"Its pickle has the operation {name}, which no tensor needs.", name)

    def _popped(self, count: int) -> list[Any]:
        items = self.stack[-count:]
        if len(items) < count or any(item is _MARK for item in items):
            raise ValueError("it takes more than it has put")
        del self.stack[-count:]
        return items

    def _marked(self) -> list[Any]:
        """Pop and return the values above the last mark, and pop the mark."""
        place = len(self.stack) - 1
        while self.stack[place] is not _MARK:
            place -= 1
            if place < 0:
                raise ValueError("it has no mark")
        items = self.stack[place + 1 :]
        del self.stack[place:]
        return items

    def _top(self, kind: type[Any]) -> Any:
        if not isinstance(self.stack[-1], kind):
            raise ValueError(f"it changes what is no {kind.__name__}")
        return self.stack[-1]

    def _set(self, items: list[Any]) -> None:
        target = self._top(dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            # Floats and large integers can be chosen so that a dict of them takes quadratic time.
            if not isinstance(key, str) and not (isinstance(key, int) and abs(key) < 2**60):
                raise ValueError("a key in it is neither a text nor a small number")
            target[key] = value

    def _named(self, module: Any, name: Any) -> Any:
        # Checked first, since hashing or printing nested equal tuples may not end.
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError("a name in it is no text")
        if module in ("torch", "torch.storage") and name in STORAGES:
            return _StorageClass(STORAGES[name])
        if module == "torch" and name in DTYPES:
            return f"torch.{name}"
        if (module, name) in ALLOWED:
            return ALLOWED[module, name]
        wanted = f"{module[:80]}.{name[:80]}"
        if module in ("torch", "torch.storage") and name.endswith("Storage"):
            raise unreadable(self.path, f"Its tensors are of {wanted}; real numbers are supported.")
        raise self._refused(f"Its pickle asks for {wanted}, which is no tensor.", wanted)

    def _refused(self, why: str, wanted: str) -> PickleRefusedError:
        return PickleRefusedError(
            f"{self.path} would run code when it is loaded.",
            why=why,
            cure="Load it where you trust it, and save its tensors as safetensors: `safetensors.torch.save_file(state_dict, path)`.",
            wanted=wanted,
        )

    def _storage(self, reference: Any) -> _Storage:
        match reference:
            case ("storage", _StorageClass(dtype=dtype), str(key), *_):
                name = f"{self.prefix}data/{key[:80]}"
                return _Storage(self.path, name, self.entries.get(name), dtype)
        raise ValueError("it refers to what is no storage")
