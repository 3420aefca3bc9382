"""The documents of a corpus: found, identified by their text, and read in the order of their identity.

A document's id is a hash of its text, so that identical texts count once, the order is as good as shuffled, and the first n documents are a
uniform sample. A second hash of the id decides the split. The corpus is read twice, to know the ids and then to use the texts: memory holds
one entry a document, never the text.
"""

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from interp.errors import CorpusEmpty, CorpusError, CorpusTooSmall, FileMissing, TextUndecodable
from interp.evidence import Split
from interp.spec import CorpusSpec

# What stands between the documents of a single text file.
SEPARATOR = "<|endoftext|>"


@dataclass(frozen=True, slots=True)
class Document:
    """One text. `id` is the first 8 bytes of its sha256; `name` where it was found."""

    id: int
    text: str
    name: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where a document stands: bytes `start` to `stop` of a file. `line` is 0 where the whole file is one document."""

    path: Path
    start: int
    stop: int
    line: int = 0

    def read(self) -> bytes:
        with self.path.open("rb") as handle:
            handle.seek(self.start)
            return handle.read(self.stop - self.start)


@dataclass(frozen=True, slots=True)
class Entry:
    """A document known by the sha256 of its text."""

    digest: bytes
    place: Place

    @property
    def id(self) -> int:
        return int.from_bytes(self.digest[:8], "big")


@dataclass(frozen=True, slots=True)
class CorpusIndex:
    """All documents of a corpus in the order of their ids. `duplicates`: texts met again; `skipped`: undecodable ones left out."""

    spec: CorpusSpec
    entries: tuple[Entry, ...]
    duplicates: int
    skipped: int

    @property
    def digest(self) -> str:
        """sha256 of the texts' own digests: the same wherever the files lie and however they are called."""
        whole = hashlib.sha256()
        for entry in self.entries:
            whole.update(entry.digest)
        return whole.hexdigest()

    def documents(self) -> Iterator[Document]:
        """Reads the texts, in order."""
        for entry in self.entries:
            yield Document(entry.id, _text(entry.place.read(), entry.place, self.spec), _name(entry.place, self.spec))


def documents(spec: CorpusSpec) -> Iterator[Document]:
    """Every distinct document, in the order of ids. Raises CorpusEmpty, CorpusError, TextUndecodable, FileMissing."""
    return index(spec).documents()


def index(spec: CorpusSpec) -> CorpusIndex:
    """Finds and hashes every document. Raises CorpusEmpty, CorpusError, TextUndecodable, FileMissing."""
    distinct: dict[bytes, Entry] = {}
    duplicates = skipped = 0
    for path in files(spec):
        for place, content in _parts(path, spec):
            try:
                text = _text(content, place, spec)
            except TextUndecodable:
                if spec.undecodable == "error":
                    raise
                skipped += 1
                continue
            if not text.strip():
                continue
            digest = hashlib.sha256(text.encode()).digest()
            duplicates += digest in distinct
            distinct.setdefault(digest, Entry(digest, place))
    if not distinct:
        raise CorpusEmpty(
            f"{spec.path} holds no text.",
            why=f"include {list(spec.include)}, exclude {list(spec.exclude)}; {skipped} files were no UTF-8 text.",
            cure="Check the path and the patterns.",
        )
    return CorpusIndex(spec, tuple(distinct[digest] for digest in sorted(distinct)), duplicates, skipped)


def split_of(document: int, test_share: float) -> Split:
    """The split of a document: by a hash of its id, and by nothing else."""
    digest = hashlib.sha256(b"split" + document.to_bytes(8, "big")).digest()
    return Split.TEST if int.from_bytes(digest[:8], "big") / 2**64 < test_share else Split.EXPLAIN


def check_splits(splits: Sequence[Split], spec: CorpusSpec) -> None:
    """Raises CorpusTooSmall when a split has no document."""
    counts = Counter(splits)
    if counts[Split.EXPLAIN] == 0 or counts[Split.TEST] == 0:
        raise CorpusTooSmall(
            f"{spec.path} gives {counts[Split.EXPLAIN]} documents to explain from and {counts[Split.TEST]} to test on.",
            why=f"Each split needs one at least; test_share is {spec.test_share}, max_tokens {spec.max_tokens or 'without limit'}.",
            cure=f"Use more documents, a larger max_tokens or another test_share; a lone text file is cut into documents at {SEPARATOR}.",
        )


def files(spec: CorpusSpec) -> Iterator[Path]:
    """The files of a corpus, in the order of their names. Raises FileMissing."""
    root = Path(spec.path).expanduser()
    if root.is_file():
        yield root
        return
    if not root.is_dir():
        raise FileMissing(
            f"{spec.path} does not exist.",
            why="A corpus is a folder of text files, one text file, or a .jsonl file.",
            cure="Check the path; a relative one counts from where the service was started.",
        )
    include, exclude = _either(spec.include), _either(spec.exclude)
    for folder, subfolders, names in os.walk(root):
        inside = Path(folder).relative_to(root)
        subfolders[:] = sorted(name for name in subfolders if not exclude.fullmatch((inside / name).as_posix() + "/"))
        for name in sorted(names):
            relative = (inside / name).as_posix()
            if include.fullmatch(relative) and not exclude.fullmatch(relative):
                yield root / relative


def _either(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """One expression for glob patterns: `**` crosses folders, `*` and `?` do not."""
    return re.compile("|".join(f"(?:{_glob(pattern)})" for pattern in patterns) or r"(?!)", re.DOTALL)


def _glob(pattern: str) -> str:
    parts = {"**/": r"(?:.*/)?", "**": r".*", "*": r"[^/]*", "?": r"[^/]"}
    return "".join(parts.get(piece, re.escape(piece)) for piece in re.split(r"(\*\*/|\*\*|\*|\?)", pattern) if piece)


def _parts(path: Path, spec: CorpusSpec) -> Iterator[tuple[Place, bytes]]:
    """The documents of a file: the lines of .jsonl, the parts of a lone text file, else the whole."""
    if path.suffix == ".jsonl":
        with path.open("rb") as handle:
            yield from _pieces(path, handle, b"", counted=False)
    elif Path(spec.path).expanduser().is_file():
        separator = SEPARATOR.encode()
        yield from _pieces(path, path.read_bytes().split(separator), separator, counted=True)
    else:
        content = path.read_bytes()
        yield Place(path, 0, len(content)), content


def _pieces(path: Path, pieces: Iterable[bytes], separator: bytes, *, counted: bool) -> Iterator[tuple[Place, bytes]]:
    """Pieces of a file with `separator` between them. Lines are counted by their line ends, or each piece is one."""
    start, line = 0, 1
    for piece in pieces:
        if piece.strip():
            yield Place(path, start, start + len(piece), line), piece
        start += len(piece) + len(separator)
        line += piece.count(b"\n") if counted else 1


def _text(content: bytes, place: Place, spec: CorpusSpec) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as cause:
        raise TextUndecodable(
            f"{_name(place, spec)} is not UTF-8 text.",
            why=f"Byte {place.start + cause.start} ({cause.reason}).",
            cure="Leave the file out with `exclude`, convert it, or set `undecodable: skip`.",
            file=str(place.path),
        ) from cause
    return _field(text, place, spec) if place.path.suffix == ".jsonl" else text


def _field(line: str, place: Place, spec: CorpusSpec) -> str:
    try:
        content = json.loads(line)
    except json.JSONDecodeError as cause:
        raise CorpusError(f"{_name(place, spec)} is no JSON.", why=str(cause), cure="A .jsonl file has one JSON object a line.") from cause
    text = content.get(spec.text_field) if isinstance(content, dict) else None
    if not isinstance(text, str):
        known = ", ".join(content) if isinstance(content, dict) else "none: it is no object"
        raise CorpusError(f"{_name(place, spec)} has no text in {spec.text_field!r}.", why=f"Its fields: {known}.", cure="Set `text_field`.")
    try:
        text.encode()
    except UnicodeEncodeError as cause:
        raise TextUndecodable(
            f"{_name(place, spec)} holds half a surrogate pair.",
            why="Such text has no UTF-8 form.",
            cure="Repair the line, or set `undecodable: skip`.",
            file=str(place.path),
        ) from cause
    return text


def _name(place: Place, spec: CorpusSpec) -> str:
    root = Path(spec.path).expanduser()
    name = place.path.name if place.path == root else place.path.relative_to(root).as_posix()
    return f"{name}:{place.line}" if place.line else name
