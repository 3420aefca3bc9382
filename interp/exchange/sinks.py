"""Where the pieces of an export go: a file, a folder, or a ZIP archive."""

import hashlib
import zipfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol, Self

from interp.exchange.formats.base import Piece
from interp.exchange.manifest import WrittenFile
from interp.files.atomic import writing

# Archives name no time: equal exports have equal bytes.
EPOCH = (1980, 1, 1, 0, 0, 0)
PACKED = (".gz", ".parquet")


class Sink(Protocol):
    """A place that files are written to, one after another."""

    def open(self, name: str) -> IO[bytes]: ...


@dataclass(slots=True)
class OneFile:
    """A file that is open already; it takes all pieces."""

    file: IO[bytes]

    def open(self, name: str) -> IO[bytes]:  # noqa: ARG002 - a single file has no name
        return self.file


@dataclass(slots=True)
class Folder:
    """A folder, whose files may lie in folders of their own."""

    root: Path
    _opened: ExitStack = field(default_factory=ExitStack)

    def open(self, name: str) -> IO[bytes]:
        target = self.root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        self._opened.close()
        return self._opened.enter_context(writing(target))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._opened.close()


@dataclass(slots=True)
class Archive:
    """A ZIP archive in a file that is open already."""

    file: IO[bytes]
    _zip: Any = None
    _entry: IO[bytes] | None = None

    def __enter__(self) -> Self:
        self._zip = zipfile.ZipFile(self.file, "w", zipfile.ZIP_DEFLATED, compresslevel=6)
        return self

    def open(self, name: str) -> IO[bytes]:
        self._close_entry()
        info = zipfile.ZipInfo(name, EPOCH)
        info.compress_type = zipfile.ZIP_STORED if name.endswith(PACKED) else zipfile.ZIP_DEFLATED
        self._entry = self._zip.open(info, "w", force_zip64=True)
        return self._entry

    def _close_entry(self) -> None:
        if self._entry is not None:
            self._entry.close()
            self._entry = None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._close_entry()
        self._zip.close()


class PieceWriter:
    """Writes pieces to a sink, and remembers what each file became."""

    def __init__(self, sink: Sink) -> None:
        self._sink, self._name = sink, ""
        self._file: IO[bytes] | None = None
        self._hash, self._bytes = hashlib.sha256(), 0
        self.files: list[WrittenFile] = []

    def write(self, piece: Piece) -> None:
        """Write some bytes; a new name ends the file before."""
        if self._file is None or piece.name != self._name:
            self.finish()
            self._file, self._name = self._sink.open(piece.name), piece.name
            self._hash, self._bytes = hashlib.sha256(), 0
        self._file.write(piece.content)
        self._hash.update(piece.content)
        self._bytes += len(piece.content)

    def finish(self) -> None:
        """End the last file."""
        if self._file is not None:
            self.files.append(WrittenFile(self._name, self._bytes, self._hash.hexdigest()))
            self._file = None
