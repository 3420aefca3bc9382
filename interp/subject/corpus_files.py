"""The files of a corpus: found, told apart and measured by their names and metadata, and read as regular files alone."""

import hashlib
import os
import re
import stat
from collections import Counter
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

from interp.errors import CorpusError, FileMissing
from interp.spec import CorpusSpec

# Files of which each line is a JSON object.
LINES = frozenset({".jsonl", ".ndjson"})
# Suffixes that a summary names; the others it adds up.
NAMED_SUFFIXES = 12


@dataclass(frozen=True, slots=True)
class CorpusFile:
    """A regular file with its size in bytes and time of change; `name` is its path below the corpus' folder."""

    path: Path
    name: str
    size: int
    changed_ns: int

    @property
    def has_lines(self) -> bool:
        """Whether each line is a document."""
        return self.path.suffix.lower() in LINES

    @property
    def stamp(self) -> bytes:
        """What changes when the file is written to."""
        return b"%s\0%d\0%d\n" % (os.fsencode(self.name), self.size, self.changed_ns)

    def open(self) -> IO[bytes]:
        """Opens it for reading; never waits. Raises CorpusError where it cannot be read or is no regular file any more."""
        try:
            handle = open(os.open(self.path, os.O_RDONLY | os.O_NONBLOCK), "rb")  # noqa: SIM115, PTH123
        except OSError as cause:
            raise unreadable(self.name, cause) from cause
        if not stat.S_ISREG(os.fstat(handle.fileno()).st_mode):
            handle.close()
            raise CorpusError(f"{self.name} is no regular file.", cure="Leave it out with `exclude`.")
        return handle

    def is_unchanged(self) -> bool:
        """Whether size and time of change are still those that were seen."""
        try:
            status = self.path.stat()
        except OSError:
            return False
        return (status.st_size, status.st_mtime_ns) == (self.size, self.changed_ns)


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of a corpus. `left_out` counts entries that are no regular files, by kind; not `complete` where a limit ended the search."""

    files: tuple[CorpusFile, ...]
    left_out: dict[str, int]
    complete: bool

    @property
    def nbytes(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def fingerprint(self) -> str | None:
        """sha256 of names, sizes and times of change: the same while nobody writes; None of a listing that is not complete."""
        if not self.complete:
            return None
        return hashlib.sha256(b"".join(sorted(file.stamp for file in self.files))).hexdigest()

    def summary(self) -> dict[str, Any]:
        """What is read: files and bytes, altogether and by suffix (the largest first), and what is left out."""
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


def list_files(spec: CorpusSpec, most: int | None = None) -> Listing:
    """The files of a corpus in the order of their names, from metadata alone; looks at `most` entries at most.

    Raises FileMissing, and CorpusError for a path that is no file or folder, or a folder that cannot be listed.
    """
    root = Path(spec.path).expanduser()
    try:
        status = root.stat()
    except (OSError, ValueError):
        raise FileMissing(
            f"{spec.path} does not exist.",
            why="A corpus is a folder of text files, one text file, or a file of JSON lines (.jsonl, .ndjson).",
            cure="Check the path; a relative one counts from where the service was started.",
        ) from None
    if stat.S_ISREG(status.st_mode):
        return Listing((CorpusFile(root, root.name, status.st_size, status.st_mtime_ns),), {}, complete=True)
    if not stat.S_ISDIR(status.st_mode):
        raise CorpusError(f"{spec.path} is a {_kind(status.st_mode)}.", why="Only folders and regular files are read.", cure="Copy it to a file.")
    return _in_folder(root, spec, most)


def unreadable(name: str, cause: OSError) -> CorpusError:
    """The error for a file or folder that the system does not let us read."""
    return CorpusError(f"{name} cannot be read.", why=cause.strerror or str(cause), cure="Check its permissions, or leave it out with `exclude`.")


def _in_folder(root: Path, spec: CorpusSpec, most: int | None) -> Listing:
    include, exclude = _either(spec.include), _either(spec.exclude)
    found: list[CorpusFile] = []
    left_out: Counter[str] = Counter()
    seen = 0
    folders = [root]
    while folders:
        folder = folders.pop()
        within: list[Path] = []
        for entry in _entries(folder, root, None if most is None else most - seen):
            seen += 1
            name = Path(entry.path).relative_to(root).as_posix()
            if entry.is_dir(follow_symlinks=False):
                if not exclude.fullmatch(name + "/"):
                    within.append(Path(entry.path))
            elif include.fullmatch(name) and not exclude.fullmatch(name):
                _take(entry, name, found, left_out)
        folders.extend(reversed(within))
        if most is not None and seen >= most:
            return Listing(tuple(found), dict(left_out), complete=False)
    return Listing(tuple(found), dict(left_out), complete=True)


def _entries(folder: Path, root: Path, most: int | None) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(islice(entries, most), key=lambda entry: entry.name)
    except OSError as cause:
        raise unreadable(folder.relative_to(root).as_posix(), cause) from cause


def _take(entry: os.DirEntry[str], name: str, found: list[CorpusFile], left_out: Counter[str]) -> None:
    try:
        status = entry.stat()
    except FileNotFoundError:
        left_out["dangling link"] += 1
        return
    except OSError as cause:
        raise unreadable(name, cause) from cause
    if stat.S_ISREG(status.st_mode):
        found.append(CorpusFile(Path(entry.path), name, status.st_size, status.st_mtime_ns))
    else:
        left_out[_kind(status.st_mode)] += 1


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "link to a folder", stat.S_IFIFO: "named pipe", stat.S_IFSOCK: "socket"}
    return kinds.get(stat.S_IFMT(mode), "device")


def _either(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """One expression for glob patterns: `**` crosses folders, `*` and `?` do not."""
    return re.compile("|".join(f"(?:{_glob(pattern)})" for pattern in patterns) or r"(?!)", re.DOTALL)


def _glob(pattern: str) -> str:
    parts = {"**/": r"(?:.*/)?", "**": r".*", "*": r"[^/]*", "?": r"[^/]"}
    return "".join(parts.get(piece, re.escape(piece)) for piece in re.split(r"(\*\*/|\*\*|\*|\?)", pattern) if piece)


def _printable(text: str) -> str:
    return os.fsencode(text).decode("utf-8", "backslashreplace")
