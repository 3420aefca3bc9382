"""Local copies of corpus files that are remote, compressed, or in columns.

A compressed file is copied as what it holds, a Parquet file as JSON lines. A document then has a place in a local file, where it is read again once
the order of all documents is known.
"""

import gzip
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import zstandard

from interp.corpus.corpus_files import COPIED, CorpusFile, CorpusListing, unreadable
from interp.corpus.documents import check_beginning
from interp.corpus.parquet_lines import lines_of
from interp.domain.cleaning import one_line
from interp.domain.errors import CorpusError, GlossatorError
from interp.domain.spec import CorpusSpec
from interp.files.atomic import new_folder, writing

COPIES = "copies"
SHOWN = 200  # characters of a library's error
READ_AT_ONCE = 1 << 20
# Text is compressed to a tenth; what grows more than this is no text.
LARGEST_RATIO, LARGEST_START = 200, 64 << 20
ZSTD_WINDOW = 1 << 27
KEPT_SECONDS = 7 * 24 * 3600


def local_copies(listing: CorpusListing, spec: CorpusSpec, cache: Path, progress: Callable[[float], None] = lambda _share: None) -> CorpusListing:
    """Return the listing with a copy in place of each file that needs one.

    A copy that an interrupted call finished is used again. `progress` gets the share of bytes that were read. Files after the first `max_documents`
    lines are left out. Raises CorpusError for damaged files, and DiskFullError.
    """
    copied: list[CorpusFile] = []
    left, before = spec.max_documents, 0
    for file in listing.files:
        if left is not None and left <= 0:
            break

        def report(position: int, before: int = before) -> None:
            progress((before + position) / max(listing.nbytes, 1))

        copy = _copy_of(file, spec, cache / COPIES, left, report) if file.needs_copy else file
        if left is not None and copy.has_lines:
            left -= _lines_of(copy)
        copied.append(copy)
        before += file.size
    return replace(listing, files=tuple(copied))


def clear_old_copies(cache: Path) -> None:
    """Delete copies that no job has used for a week."""
    with suppress(FileNotFoundError):
        for folder in (cache / COPIES).iterdir():
            if time.time() - folder.stat().st_mtime > KEPT_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)


def check_start(file: CorpusFile, spec: CorpusSpec, most: int) -> None:
    """Check the first `most` bytes of a file's content.

    Raises CorpusError and TextUndecodableError, as reading all of it will.
    """
    if file.path.suffix.lower() not in READERS:
        with file.open() as handle:
            content = handle.read(min(most, file.size))
        check_beginning(file, content, spec, is_whole=len(content) == file.size)
        return
    content = b""
    for part, _ in _content(file, spec):
        content += part
        if len(content) > most:
            break
    check_beginning(_plain(file), content[:most], spec, is_whole=len(content) <= most)


def _copy_of(file: CorpusFile, spec: CorpusSpec, folder: Path, most_lines: int | None, progress: Callable[[int], None]) -> CorpusFile:
    plain = _plain(file)
    key = hashlib.sha256(f"{file.path}\0{spec.text_field}\0{most_lines}\0".encode() + file.stamp).hexdigest()
    target = folder / key
    if target.is_dir():
        os.utime(target)
    else:
        with new_folder(target) as draft, writing(draft / plain.path.name) as out:
            lines = 0
            for part, position in _content(file, spec):
                out.write(part)
                progress(position)
                lines += part.count(b"\n")
                if plain.has_lines and most_lines is not None and lines >= most_lines:
                    break
    path = target / plain.path.name
    return replace(plain, path=path, size=path.stat().st_size, remote=None, is_copy=True)


def _plain(file: CorpusFile) -> CorpusFile:
    """Return the file named by its content: `.jsonl` for Parquet, without `.gz` and `.zst`."""
    suffix = file.path.suffix.lower()
    path = file.path.with_suffix(".jsonl" if suffix == ".parquet" else "") if suffix in COPIED else file.path
    return replace(file, path=Path(path.name))


def _content(file: CorpusFile, spec: CorpusSpec) -> Iterator[tuple[bytes, int]]:
    """Yield parts of a file's text or JSON lines, with the bytes read so far.

    Raises CorpusError for damaged files, and for more than text holds. Errors of writing are the caller's own: a full disk is no damaged file.
    """
    reader = READERS.get(file.path.suffix.lower(), _blocks)
    size, most = 0, _most_bytes(file.size)
    with _errors_of(file), file.open() as handle:
        for part in reader(handle, spec):
            size += len(part)
            if size > most:
                raise CorpusError(
                    f"It holds more than {LARGEST_RATIO} times its bytes.", why="Text does not compress so well.", cure="Decompress it yourself."
                )
            yield part, handle.tell()


def _most_bytes(size: int) -> int:
    """Return the bytes of text that a file of this size may hold."""
    return LARGEST_START + LARGEST_RATIO * size


def _blocks(handle: BinaryIO, _spec: CorpusSpec) -> Iterator[bytes]:
    while block := handle.read(READ_AT_ONCE):
        yield block


def _gzip(handle: BinaryIO, spec: CorpusSpec) -> Iterator[bytes]:
    with gzip.open(handle) as content:
        yield from _blocks(content, spec)  # type: ignore[arg-type]  # a GzipFile reads like a file


def _zstandard(handle: BinaryIO, spec: CorpusSpec) -> Iterator[bytes]:
    decoder = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW)
    with decoder.stream_reader(handle, read_across_frames=True, closefd=False) as content:
        yield from _blocks(content, spec)


def _parquet(handle: BinaryIO, spec: CorpusSpec) -> Iterator[bytes]:
    nbytes = handle.seek(0, os.SEEK_END)
    handle.seek(0)
    return lines_of(handle, spec, _most_bytes(nbytes))


READERS: dict[str, Callable[[BinaryIO, CorpusSpec], Iterator[bytes]]] = {".gz": _gzip, ".zst": _zstandard, ".parquet": _parquet}


@contextmanager
def _errors_of(file: CorpusFile) -> Iterator[None]:
    """Turn the errors of damaged files into a CorpusError."""
    try:
        yield
    except CorpusError as error:
        raise type(error)(f"{file.name}: {error.what}", why=error.why, cure=error.cure) from error
    except (GlossatorError, MemoryError):
        raise
    except OSError as cause:
        if not isinstance(cause, gzip.BadGzipFile):
            raise unreadable(file.name, cause) from cause
        raise _damaged(file, cause) from cause
    except Exception as cause:  # readers of foreign files raise whatever their arithmetic raises
        raise _damaged(file, cause) from cause


def _damaged(file: CorpusFile, cause: Exception) -> CorpusError:
    shown = one_line(str(cause), SHOWN) or type(cause).__name__
    return CorpusError(f"{file.name} is damaged.", why=shown, cure="Fetch or write it again, or leave it out with `exclude`.")


def _lines_of(copy: CorpusFile) -> int:
    with copy.open() as handle:
        return sum(block.count(b"\n") for block in iter(lambda: handle.read(READ_AT_ONCE), b""))
