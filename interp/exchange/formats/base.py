"""The protocol of an export format, and what a format writes."""

import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from interp.domain.record import FeatureRecord, RunSource
from interp.store.listings.records import Part

Portions = Iterable[Sequence[FeatureRecord]]


@dataclass(frozen=True, slots=True)
class Piece:
    """Some bytes of a file, which is without name where it is the only one.

    The pieces of one file follow one another.
    """

    content: bytes
    name: str = ""


@dataclass(frozen=True, slots=True)
class FormatFacts:
    """What a user has to know of a format.

    `suffix` is that of its one file; a folder's is empty. `lost` says what the format has no place for. `items_of` names the scorers whose questions
    it writes.
    """

    name: str
    media_type: str
    suffix: str
    parts: frozenset[Part]
    readers: str
    lost: tuple[str, ...] = ()
    items_of: frozenset[str] = frozenset()

    @property
    def is_folder(self) -> bool:
        return not self.suffix


@dataclass(frozen=True, slots=True)
class FormatOptions:
    """What a user may say of an export.

    `license` is that of the texts, for the card of a data set.
    """

    license: str = "unknown"


class ExportFormat(Protocol):
    """A format: facts, and a function from features to the bytes of files."""

    facts: FormatFacts

    def write(self, source: RunSource, portions: Portions, parts: frozenset[Part], options: FormatOptions) -> Iterator[Piece]: ...


@dataclass(slots=True)
class Spool(io.RawIOBase):
    """A file object that holds what was written since it was last emptied."""

    _held: list[bytes] = field(default_factory=list)
    _place: int = 0

    def writable(self) -> bool:
        return True

    def write(self, content: Any, /) -> int:
        held = bytes(content)
        self._held.append(held)
        self._place += len(held)
        return len(held)

    def tell(self) -> int:
        return self._place

    def take(self) -> bytes:
        """Return what was written since the last call."""
        content = b"".join(self._held)
        self._held.clear()
        return content


def segment(text: str) -> str:
    """Return a name as one part of a path, never a hidden or parent folder."""
    return re.sub(r"[^\w@+.-]", "_", text, flags=re.ASCII).lstrip(".") or "_"
