"""Documents of a corpus, in the order of their ids (hashes of their texts).

So identical texts count once, the order is as good as shuffled, and the first n documents are a uniform sample. A second hash, of the id, decides the
split. The corpus is read twice, for ids and for texts: memory holds one entry per document, and no text.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import BinaryIO

from interp.corpus.corpus_files import CorpusFile, CorpusListing, unreadable
from interp.corpus.listing import list_files
from interp.domain.errors import CorpusChangedError, CorpusEmptyError, CorpusError, CorpusTooSmallError, TextUndecodableError
from interp.domain.evidence import Split
from interp.domain.job_warnings import Largest
from interp.domain.spec import CorpusSpec
from interp.security.bounded_json import check_line

# Separator of the documents of a single text file.
SEPARATOR = "<|endoftext|>"
# Bytes of the longest document, which is held in memory several times over.
LONGEST_DOCUMENT = 64 << 20
READ_AT_ONCE = 1 << 20
PROGRESS_EVERY = 1000  # documents
# Lines after which the share of broken ones is judged.
FIRST_LINES = 1000


class LineBrokenError(CorpusError):
    """The error of a JSON line that is unreadable, without text, or too long."""


@dataclass(frozen=True, slots=True)
class Document:
    """A text; `id` is the first 8 bytes of its sha256, `name` its place."""

    id: int
    text: str
    name: str


@dataclass(frozen=True, slots=True)
class DocumentPosition:
    """Bytes `start` to `stop` of a file; `line` is 0 for a whole file."""

    file: CorpusFile
    start: int
    stop: int
    line: int = 0

    @property
    def name(self) -> str:
        return f"{self.file.name}:{self.line}" if self.line else self.file.name

    def read(self) -> bytes:
        with self.file.open() as handle:
            handle.seek(self.start)
            return handle.read(self.stop - self.start)


@dataclass(frozen=True, slots=True)
class DocumentEntry:
    """A document's place and the sha256 of its text."""

    digest: bytes
    place: DocumentPosition

    @property
    def id(self) -> int:
        return int.from_bytes(self.digest[:8], "big")


@dataclass(frozen=True, slots=True)
class CorpusIndex:
    """Documents of a corpus in order of ids, with counts of what was left out."""

    spec: CorpusSpec
    entries: tuple[DocumentEntry, ...]
    duplicates: int
    skipped: int
    listing: CorpusListing = field(default=CorpusListing((), {}, complete=True))
    broken: int = 0

    @property
    def digest(self) -> str:
        """Return the sha256 of the texts' digests, independent of file names."""
        whole = hashlib.sha256()
        for entry in self.entries:
            whole.update(entry.digest)
        return whole.hexdigest()

    def largest(self) -> dict[Split, Largest]:
        """Return the largest document of each split, by bytes."""
        sizes: dict[Split, list[tuple[int, str]]] = {}
        for entry in self.entries:
            place = entry.place
            sizes.setdefault(split_of(entry.id, self.spec.test_share), []).append((place.stop - place.start, place.name))
        return {split: Largest(max(own)[1], max(own)[0] / sum(size for size, _ in own)) for split, own in sizes.items()}

    def documents(self) -> Iterator[Document]:
        """Read the texts in order; raises CorpusChangedError when a file's content has changed."""
        try:
            for entry in self.entries:
                yield Document(entry.id, _text(entry.place.read(), entry.place, self.spec), entry.place.name)
        except CorpusError:
            self.check_unchanged()
            raise
        self.check_unchanged()

    def check_unchanged(self) -> None:
        """Raise CorpusChangedError when a file's size or time of change differs."""
        changed = next((file for file in self.listing.files if not file.is_unchanged()), None)
        if changed is not None:
            raise CorpusChangedError(
                f"{changed.name} changed while the corpus was read.",
                why="What was hashed and what was read later would not be the same text.",
                cure="Submit the job again once nobody writes to the corpus.",
            )


def index(spec: CorpusSpec, listing: CorpusListing | None = None, progress: Callable[[float], None] = lambda _share: None) -> CorpusIndex:
    """Hash all documents, reading each file once.

    `listing` saves listing the files; its files are local. `progress` gets the share of bytes that were read. Raises CorpusEmptyError, CorpusError,
    TextUndecodableError, FileMissingError.
    """
    listing = listing or list_files(spec)
    distinct: dict[bytes, DocumentEntry] = {}
    counts = _Counts(spec)
    before = 0
    for file in listing.files:
        for place, content in _parts(file):
            if counts.seen == spec.max_documents:
                break
            text = counts.text_of(content, place)
            if counts.seen % PROGRESS_EVERY == 0:
                progress((before + place.stop) / listing.nbytes)
            if text is None or not text.strip():
                continue
            digest = hashlib.sha256(text.encode()).digest()
            counts.duplicates += digest in distinct
            distinct.setdefault(digest, DocumentEntry(digest, place))
        before += file.size
    counts.check_broken(least=1)
    if not distinct:
        raise empty(spec, counts.skipped)
    return CorpusIndex(spec, tuple(distinct[digest] for digest in sorted(distinct)), counts.duplicates, counts.skipped, listing, counts.broken)


@dataclass(slots=True)
class _Counts:
    """Numbers of documents by their fate, and the first error of a broken line."""

    spec: CorpusSpec
    seen: int = 0
    duplicates: int = 0
    skipped: int = 0
    broken: int = 0
    first: LineBrokenError | None = None

    def text_of(self, content: bytes, place: DocumentPosition) -> str | None:
        """Return a document's text; None for one that is skipped or broken."""
        self.seen += 1
        try:
            return _text(content, place, self.spec)
        except LineBrokenError as error:
            self.broken, self.first = self.broken + 1, self.first or error
            self.check_broken(FIRST_LINES)
        except TextUndecodableError:
            if self.spec.undecodable == "error":
                raise
            self.skipped += 1
        return None

    def check_broken(self, least: int) -> None:
        """Raise the first broken line's error where their share is above `broken_share`."""
        if self.first is not None and self.broken > self.spec.broken_share * max(self.seen, least):
            raise self.first


def empty(spec: CorpusSpec, skipped: int = 0) -> CorpusEmptyError:
    """Return the error for a corpus without text."""
    return CorpusEmptyError(
        f"{spec.path} holds no text.",
        why=f"include {list(spec.include)}, exclude {list(spec.exclude)}; {skipped} files were no UTF-8 text.",
        cure="Check the path and the patterns.",
    )


def check_start(file: CorpusFile, spec: CorpusSpec, most: int) -> int:
    """Check a file's first `most` bytes, and return their number.

    Raises TextUndecodableError and CorpusError, as `index` will.
    """
    with file.open() as handle:
        content = handle.read(most)
    check_beginning(file, content, spec, is_whole=len(content) == file.size)
    return len(content)


def check_beginning(file: CorpusFile, content: bytes, spec: CorpusSpec, *, is_whole: bool) -> None:
    """Check a file's first bytes; raises TextUndecodableError and CorpusError, as `index` will."""
    if file.has_lines:
        head = BytesIO(content if is_whole else content[: content.rfind(b"\n") + 1])
        pieces: Iterable[tuple[DocumentPosition, bytes]] = _lines(file, head)
    else:
        # The end of the reading may cut a character.
        pieces = [(DocumentPosition(file, 0, len(content)), content if is_whole else _whole_characters(content))]
    counts = _Counts(spec)
    for place, piece in pieces:
        counts.text_of(piece, place)
    counts.check_broken(least=1)


def split_of(document: int, test_share: float) -> Split:
    """Return the split of a document, by a hash of its id."""
    digest = hashlib.sha256(b"split" + document.to_bytes(8, "big")).digest()
    return Split.TEST if int.from_bytes(digest[:8], "big") / 2**64 < test_share else Split.EXPLAIN


def check_splits(splits: Sequence[Split], spec: CorpusSpec) -> None:
    """Raise CorpusTooSmallError when a split has no document."""
    counts = Counter(splits)
    if counts[Split.EXPLAIN] == 0 or counts[Split.TEST] == 0:
        raise CorpusTooSmallError(
            f"{spec.path} gives {counts[Split.EXPLAIN]} documents to explain from and {counts[Split.TEST]} to test on.",
            why=f"Each split needs one at least; test_share is {spec.test_share}, max_tokens {spec.max_tokens or 'without limit'}.",
            cure=f"Use more documents, a larger max_tokens or another test_share; a lone text file is cut into documents at {SEPARATOR}.",
        )


def _parts(file: CorpusFile) -> Iterator[tuple[DocumentPosition, bytes]]:
    """Yield a file's documents: JSON lines, parts of a single text file, or all."""
    try:
        with file.open_head() as handle:
            if file.has_lines:
                yield from _lines(file, handle)
            elif file.is_alone:
                yield from _separated(file, handle)
            else:
                yield DocumentPosition(file, 0, file.size), _limited(handle.read(min(file.size, LONGEST_DOCUMENT) + 1), file.name)
    except OSError as cause:
        raise unreadable(file.name, cause) from cause


def _lines(file: CorpusFile, handle: BinaryIO) -> Iterator[tuple[DocumentPosition, bytes]]:
    """Yield the lines with content; of one longer than a document only the beginning."""
    start, number = 0, 1
    while line := handle.readline(LONGEST_DOCUMENT + 1):
        length = len(line)
        rest = line
        while len(rest) > LONGEST_DOCUMENT and not rest.endswith(b"\n"):
            rest = handle.readline(LONGEST_DOCUMENT + 1)
            length += len(rest)
        if line.strip():
            yield DocumentPosition(file, start, start + length, number), line
        start, number = start + length, number + 1


def _separated(file: CorpusFile, handle: BinaryIO) -> Iterator[tuple[DocumentPosition, bytes]]:
    """Yield the parts of a text file between separators, with their first lines' numbers."""
    separator = SEPARATOR.encode()
    held, start, line = b"", 0, 1
    while True:
        block = handle.read(READ_AT_ONCE)
        *parts, held = (held + block).split(separator)
        if not block:
            parts, held = [*parts, held], b""
        for part in parts:
            if part.strip():
                yield DocumentPosition(file, start, start + len(part), line), _limited(part, f"{file.name}:{line}")
            start += len(part) + len(separator)
            line += part.count(b"\n")
        if not block:
            return
        _limited(held, f"{file.name}:{line}")


def _limited(content: bytes, name: str) -> bytes:
    if len(content) > LONGEST_DOCUMENT:
        raise CorpusError(
            f"{name} is a document of more than {LONGEST_DOCUMENT >> 20} MiB.",
            why="A document is held in memory.",
            cure=f"Cut it into documents: one file each, JSON lines, or {SEPARATOR} between them in a single file.",
        )
    return content


def _whole_characters(content: bytes) -> bytes:
    """Return the content without a cut UTF-8 character at its end."""
    for tail in range(1, min(4, len(content)) + 1):
        lead = content[-tail]
        if lead >= 0xC0:
            needed = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
            return content[:-tail] if tail < needed else content
        if lead < 0x80:
            break
    return content


def _text(content: bytes, place: DocumentPosition, spec: CorpusSpec) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as cause:
        raise TextUndecodableError(
            f"{place.name} is not UTF-8 text.",
            why=f"Byte {place.start + cause.start} ({cause.reason}).",
            cure="Leave the file out with `exclude`, convert it, or set `undecodable: skip`.",
            file=str(place.file.path),
        ) from cause
    if place.file.has_lines:
        return _field(text, place, spec)
    if spec.chat:
        raise CorpusError(f"{place.name} is text, not messages.", why="`chat` reads JSON lines and Parquet files.", cure="Set `chat: false`.")
    return text


def _field(line: str, place: DocumentPosition, spec: CorpusSpec) -> str:
    if len(line) > LONGEST_DOCUMENT:
        raise LineBrokenError(f"{place.name} is a line of more than {LONGEST_DOCUMENT >> 20} MiB.", cure="Cut it, or raise `broken_share`.")
    try:
        check_line(line)
        content = json.loads(line)
    except (ValueError, RecursionError) as cause:
        # Also numbers of thousands of digits, and too deep nesting.
        raise LineBrokenError(f"{place.name} is no JSON that can be read.", why=str(cause), cure="Each line has to be one JSON object.") from cause
    text = content.get(spec.text_field) if isinstance(content, dict) else None
    if spec.chat:
        text = _messages(text, place)
    if not isinstance(text, str):
        raise LineBrokenError(f"{place.name} has no text in {spec.text_field!r}.", why=_shape(content), cure="Set `text_field`.")
    try:
        text.encode()
    except UnicodeEncodeError as cause:
        raise TextUndecodableError(
            f"{place.name} holds half a surrogate pair.",
            why="Such text has no UTF-8 form.",
            cure="Repair the line, or set `undecodable: skip`.",
            file=str(place.file.path),
        ) from cause
    return text


def _messages(content: object, place: DocumentPosition) -> str:
    """Return messages as JSON, each with its role and content alone; raises LineBrokenError."""
    messages = content if isinstance(content, list) else []
    if not messages or not all(
        isinstance(one, dict) and isinstance(one.get("role"), str) and isinstance(one.get("content"), str) for one in messages
    ):
        raise LineBrokenError(
            f"{place.name} has no list of messages.",
            why="Each message is an object with `role` and `content`.",
            cure="Set `text_field`, or `chat: false`.",
        )
    return json.dumps([{"role": one["role"], "content": one["content"]} for one in messages], ensure_ascii=False)


def _shape(content: object) -> str:
    """Describe a line without its names, which the user may not be allowed to read."""
    return f"It is an object of {len(content)} fields." if isinstance(content, dict) else "It is no object."
