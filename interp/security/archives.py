"""Unpack an uploaded archive into a folder, in a process with limits.

It is a tar, perhaps compressed, or a zip. Regular files and folders alone are taken: one link, device, sparse or encrypted file, name that leads out
or name twice, and the whole archive is refused, as is one that holds more than its bytes can.
"""

import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pydantic import TypeAdapter

from interp.domain.cleaning import one_line
from interp.domain.errors import DiskFullError, UploadInvalidError, UploadTooLargeError
from interp.files.atomic import is_full, writing
from interp.security.sandbox import Task
from interp.security.uploads import wrong_in

BLOCK_BYTES = 1 << 20
SHOWN = 120
# Text is compressed to a tenth; what grows more than this is no text, and no weights.
LARGEST_RATIO, LARGEST_START = 200, 64 << 20
DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError, RuntimeError, NotImplementedError)
ENCRYPTED = 0x1


@dataclass(frozen=True, slots=True)
class UnpackRequest:
    """An archive, the empty folder for its content, and the limits of that."""

    archive: str
    folder: str
    nbytes: int
    files: int


@dataclass(frozen=True, slots=True)
class _Member:
    """A file of an archive; `open` reads it."""

    path: str
    size: int
    content: IO[bytes]


def _begins_as_zip(archive: Path) -> bool:
    """Return whether a file begins as a zip does.

    `zipfile.is_zipfile` looks at its end, where a tar may hold a zip: torch's files are zips.
    """
    with archive.open("rb") as file:
        return file.read(4) in (b"PK\3\4", b"PK\5\6")


def unpack(request: UnpackRequest) -> int:
    """Unpack an archive, and return its number of files; raises UploadInvalidError and UploadTooLargeError."""
    archive, folder = Path(request.archive), Path(request.folder)
    most = min(request.nbytes, LARGEST_START + LARGEST_RATIO * archive.stat().st_size)
    done, seen = 0, set[str]()
    read = _zip_members if _begins_as_zip(archive) else _tar_members
    with _damaged():
        for member in read(archive):
            if len(seen) >= request.files:
                raise UploadInvalidError(
                    f"The archive holds more than {request.files:,} files.",
                    cure="Leave out what the job does not need, or raise GLOSSATOR_UPLOAD_MAX_FILES.",
                )
            if member.path.lower() in seen:
                raise UploadInvalidError(f"The archive holds {_shown(member.path)} twice.", cure="Pack it again.")
            seen.add(member.path.lower())
            if done + member.size > most:
                raise _too_large(request, most)
            target = folder / member.path
            target.parent.mkdir(parents=True, exist_ok=True)
            with writing(target) as out:
                while block := member.content.read(BLOCK_BYTES):
                    done += len(block)
                    if done > most:
                        raise _too_large(request, most)
                    out.write(block)
    if not seen:
        raise UploadInvalidError("The archive holds no file.", cure="Pack the files again.")
    return len(seen)


def _tar_members(archive: Path) -> Iterator[_Member]:
    with tarfile.open(archive, "r|*", bufsize=BLOCK_BYTES) as tar:
        for entry in tar:
            name = entry.name.removeprefix("./").rstrip("/")
            if entry.isdir() and name in ("", "."):
                continue
            _check_name(name)
            if entry.isdir():
                continue
            if not entry.isreg() or entry.issparse():
                raise _refused(name, "It is a link, a device or a sparse file.")
            content = tar.extractfile(entry)
            if content is not None:
                yield _Member(name, entry.size, content)


def _zip_members(archive: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(archive) as packed:
        for entry in packed.infolist():
            _check_name(entry.filename.rstrip("/"))
            if entry.is_dir():
                continue
            kind = stat.S_IFMT(entry.external_attr >> 16)
            if kind not in (0, stat.S_IFREG):
                raise _refused(entry.filename, "It is a link or a device.")
            if entry.flag_bits & ENCRYPTED:
                raise _refused(entry.filename, "It is encrypted.")
            with packed.open(entry) as content:
                yield _Member(entry.filename, entry.file_size, content)


def _check_name(name: str) -> None:
    wrong = wrong_in(name)
    if wrong is not None:
        raise _refused(name, f"Of its name: {wrong}.")


def _refused(name: str, why: str) -> UploadInvalidError:
    return UploadInvalidError(f"The archive holds {_shown(name)}, which is not taken.", why=why, cure="Pack regular files with relative paths alone.")


def _too_large(request: UnpackRequest, most: int) -> UploadTooLargeError:
    if most == request.nbytes:
        return UploadTooLargeError(
            f"The archive holds more than {most:,} bytes.", cure="Upload its parts by themselves, or raise GLOSSATOR_UPLOAD_MAX_BYTES."
        )
    return UploadTooLargeError(f"The archive holds more than {LARGEST_RATIO} times its bytes.", why="No weights or texts compress so well.")


def _shown(name: str) -> str:
    return repr(one_line(os.fsencode(name).decode("utf-8", "backslashreplace"), SHOWN))


@contextmanager
def _damaged() -> Iterator[None]:
    """Turn the errors of damaged archives into an UploadInvalidError."""
    try:
        yield
    except (UploadInvalidError, UploadTooLargeError):
        raise
    except DAMAGED as cause:
        if is_full(cause):
            raise DiskFullError("The archive cannot be unpacked.", why="The disk is full.", cure="Free some space, and send it again.") from cause
        raise UploadInvalidError(
            "The archive cannot be unpacked.",
            why=one_line(f"{type(cause).__name__}: {cause}", SHOWN),
            cure="Send a tar (plain, gzip, bzip2 or xz) or a zip.",
        ) from cause


UNPACK = Task("interp.security.archives:UNPACK", unpack, TypeAdapter(UnpackRequest), TypeAdapter(int))
