"""Files of a corpus, listed by names and metadata, and read only as regular files."""

import hashlib
import os
import stat
from collections import Counter
from dataclasses import dataclass, field
from io import BufferedReader, RawIOBase
from itertools import islice
from pathlib import Path
from typing import Any

from interp.domain.errors import CorpusError, FileMissingError, NotRegularFileError, PathRefusedError
from interp.domain.spec import CorpusSpec
from interp.security import allowed_files as files
from interp.security.allowed_files import Roots
from interp.security.globs import Globs

# Suffixes of files with one JSON object per line.
LINES = frozenset({".jsonl", ".ndjson"})
# Suffixes of files that are read from a local copy: decompressed, or as JSON lines.
COPIED = frozenset({".gz", ".zst", ".parquet"})
# Number of suffixes that a summary lists; the others are summed.
NAMED_SUFFIXES = 12


@dataclass(frozen=True, slots=True)
class CorpusFile:
    """A regular file; `name` is its path in the corpus, `changed_ns` its time of change.

    is_alone   it is the whole corpus, and holds several documents
    roots      those of an upload, in which the file is opened; it never changes
    remote     the fsspec file system of a file that is not on this machine, and its `version` there
    is_copy    a copy made by `interp.corpus.local_copies`, in a folder of the service
    """

    path: Path
    name: str
    size: int
    changed_ns: int
    is_alone: bool = False
    roots: Roots | None = None
    remote: Any = None
    version: str = ""
    is_copy: bool = False

    @property
    def has_lines(self) -> bool:
        return self.path.suffix.lower() in LINES

    @property
    def needs_copy(self) -> bool:
        """Return whether documents cannot be read in place: elsewhere, compressed, or in columns."""
        return not self.is_copy and (self.remote is not None or self.path.suffix.lower() in COPIED)

    @property
    def stamp(self) -> bytes:
        """Return bytes that change when the file is written to."""
        return b"%s\0%d\0%d%s\n" % (os.fsencode(self.name), self.size, self.changed_ns, self.version.encode())

    def open(self) -> BufferedReader:
        """Open the file; raises CorpusError unless it is a readable regular file inside the roots."""
        try:
            if self.remote is not None:
                return BufferedReader(self.remote.open(self.path.as_posix(), "rb"))
            return self.path.open("rb") if self.is_copy else (self.roots or files.current()).open_file(self.path)
        except OSError as cause:
            raise unreadable(self.name, cause) from cause
        except (NotRegularFileError, PathRefusedError) as cause:
            raise CorpusError(f"{self.name} is no regular file of this folder.", why=cause.why, cure="Leave it out with `exclude`.") from cause

    def open_head(self) -> BufferedReader:
        """Open the listed number of bytes, so that reading a growing file ends."""
        return BufferedReader(_Head(self.open(), self.size), 1 << 16)

    def is_unchanged(self) -> bool:
        """Return whether size and time are as listed; uploads and copies do not change."""
        if self.remote is not None or self.roots is not None or self.is_copy:
            return True
        try:
            status = files.current().status(self.path)
        except (OSError, PathRefusedError):
            return False
        return (status.st_size, status.st_mtime_ns) == (self.size, self.changed_ns)


class _Head(RawIOBase):
    """The first bytes of a file."""

    def __init__(self, handle: BufferedReader, size: int) -> None:
        self._handle, self._left = handle, size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        content = self._handle.read(min(len(buffer), self._left))
        buffer[: len(content)] = content
        self._left -= len(content)
        return len(content)

    def close(self) -> None:
        self._handle.close()
        super().close()


@dataclass(frozen=True, slots=True)
class CorpusListing:
    """Files of a corpus, `complete` unless a limit ended the search; `left_out` counts other entries."""

    files: tuple[CorpusFile, ...]
    left_out: dict[str, int]
    complete: bool

    @property
    def is_remote(self) -> bool:
        return any(file.remote is not None for file in self.files)

    @property
    def nbytes(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def fingerprint(self) -> str | None:
        """Return the sha256 of names, sizes and times; None for an incomplete listing."""
        if not self.complete:
            return None
        return hashlib.sha256(b"".join(sorted(file.stamp for file in self.files))).hexdigest()

    def summary(self) -> dict[str, Any]:
        """Return files and bytes, in total and for the largest suffixes, and left-out entries."""
        suffixes: Counter[str] = Counter()
        counts: Counter[str] = Counter()
        for file in self.files:
            suffix = _printable(file.path.suffix.lower()) or "none"
            suffixes[suffix] += file.size
            counts[suffix] += 1
        by_suffix = {suffix: {"files": counts[suffix], "bytes": size} for suffix, size in suffixes.most_common(NAMED_SUFFIXES)}
        rest = [suffix for suffix in counts if suffix not in by_suffix]
        if rest:
            by_suffix["others"] = {"files": sum(counts[suffix] for suffix in rest), "bytes": sum(suffixes[suffix] for suffix in rest)}
        return {
            "files": len(self.files),
            "bytes": self.nbytes,
            "by_suffix": by_suffix,
            "left_out": self.left_out,
            "complete": self.complete,
        }


def list_local(spec: CorpusSpec, most: int | None = None, at: Path | None = None) -> CorpusListing:
    """List the first `most` entries of a local corpus in the order of their names.

    The corpus is at `at`, if not at the spec's path. Raises PathRefusedError, FileMissingError, and CorpusError for a path that is no file or folder,
    or a folder that cannot be listed.
    """
    root = at or Path(files.expand(spec.path))
    try:
        status = files.current().status(root)
    except OSError:
        raise FileMissingError(
            f"{spec.path} does not exist.",
            why="A corpus is a folder of text files, one text file, or a file of JSON lines (.jsonl, .ndjson).",
            cure="Check the path; a relative one counts from where the service was started.",
        ) from None
    if stat.S_ISREG(status.st_mode):
        return CorpusListing((CorpusFile(root, root.name, status.st_size, status.st_mtime_ns, is_alone=True),), {}, complete=True)
    if not stat.S_ISDIR(status.st_mode):
        raise CorpusError(f"{spec.path} is a {_kind(status.st_mode)}.", why="Only folders and regular files are read.", cure="Copy it to a file.")
    return _Walk(root, files.current(), Globs(spec.include), Globs(spec.exclude)).listing(most)


def unreadable(name: str, cause: OSError) -> CorpusError:
    """Return the error for an unreadable file or folder."""
    return CorpusError(f"{name} cannot be read.", why=cause.strerror or str(cause), cure="Check its permissions, or leave it out with `exclude`.")


@dataclass(frozen=True, slots=True)
class _Walk:
    """A walk through a corpus' folder, which does not follow links to folders."""

    root: Path
    roots: Roots
    include: Globs
    exclude: Globs
    found: list[CorpusFile] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    def listing(self, most: int | None) -> CorpusListing:
        seen = 0
        folders = [self.root]
        while folders:
            folder = folders.pop()
            within, looked_at = self._entries(folder, None if most is None else most - seen)
            seen += looked_at
            folders.extend(reversed(within))
            if most is not None and seen >= most:
                return CorpusListing(tuple(self.found), dict(self.left_out), complete=False)
        return CorpusListing(tuple(self.found), dict(self.left_out), complete=True)

    def _entries(self, folder: Path, most: int | None) -> tuple[list[Path], int]:
        """Add a folder's files; return its folders and its number of entries."""
        within: list[Path] = []
        real = self.roots.resolve(folder)
        try:
            with self.roots.open_folder(folder) as descriptor, os.scandir(descriptor) as entries:
                some = sorted(islice(entries, most), key=lambda entry: entry.name)
                for entry in some:
                    path = folder / entry.name
                    name = path.relative_to(self.root).as_posix()
                    is_folder = entry.is_dir(follow_symlinks=False)
                    if self.exclude.matches(name + "/" if is_folder else name) or not (is_folder or self.include.matches(name)):
                        continue
                    if not self.roots.permit(f"{real}/{entry.name}"):
                        self.left_out["the service's own"] += 1
                    elif is_folder:
                        within.append(path)
                    else:
                        self._take(entry, path, name)
        except OSError as cause:
            raise unreadable(folder.relative_to(self.root).as_posix(), cause) from cause
        return within, len(some)

    def _take(self, entry: os.DirEntry[str], path: Path, name: str) -> None:
        try:
            status = self.roots.status(path) if entry.is_symlink() else entry.stat(follow_symlinks=False)
        except PathRefusedError:
            self.left_out["link that leads out"] += 1
            return
        except FileNotFoundError:
            self.left_out["dangling link"] += 1
            return
        except OSError as cause:
            raise unreadable(name, cause) from cause
        if stat.S_ISREG(status.st_mode):
            self.found.append(CorpusFile(path, name, status.st_size, status.st_mtime_ns))
        else:
            self.left_out[_kind(status.st_mode)] += 1


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "link to a folder", stat.S_IFIFO: "named pipe", stat.S_IFSOCK: "socket"}
    return kinds.get(stat.S_IFMT(mode), "device")


def _printable(text: str) -> str:
    return os.fsencode(text).decode("utf-8", "backslashreplace")
