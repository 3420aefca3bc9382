"""Zip files that others made, opened with a bound on the memory that reading their directory takes; for .npz and .pt."""

import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from interp.security.allowed_files import open_file

# A directory has 46 bytes an entry and more, and zipfile some 700: 4 MiB are 90,000 entries at most. Data is read in blocks that are smaller.
LARGEST_READ = 4 << 20


class _BoundedReader(io.BufferedReader):
    """A reader that gives no more than `LARGEST_READ` bytes at once: zipfile asks for as many as the file says."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            place = self.tell()
            size = self.seek(0, io.SEEK_END) - place
            self.seek(place)
        if size > LARGEST_READ:
            raise zipfile.BadZipFile(f"its directory takes {size} bytes, of {LARGEST_READ} at most")
        return super().read(size)


@contextmanager
def open_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """A zip file to read. Raises zipfile.BadZipFile when it is none or its directory is too large."""
    with _BoundedReader(open_file(path).detach()) as handle, zipfile.ZipFile(handle) as archive:
        yield archive


def check_entry(entry: zipfile.ZipInfo, *, compressed: bool) -> None:
    """Raises zipfile.BadZipFile for an entry that is encrypted, or packed in a way whose memory its own header decides."""
    allowed = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) if compressed else (zipfile.ZIP_STORED,)
    if entry.flag_bits & 0x61 or entry.compress_type not in allowed:
        raise zipfile.BadZipFile(f"its entry {entry.filename[:80]} is encrypted or packed in a way that weights are not")
