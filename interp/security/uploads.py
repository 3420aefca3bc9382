"""Names of uploads in jobs (`upload://ID/path`), and their places on this machine.

An upload's local folder is `<uploads>/ID`, with one entry: its file or folder, by its own name. Workers and the API fill it from the artifact store;
nothing in it is a link.
"""

import os
import re
from pathlib import Path

from interp.domain.cleaning import one_line
from interp.domain.errors import FileMissingError, InputError
from interp.domain.spec import JobSpec
from interp.security import allowed_files
from interp.security.allowed_files import Roots

SCHEME = "upload://"
NAME = re.compile(r"upload://([0-9a-f]{32})((?:/[^/\0]+)*)/?")
SHOWN = 200
LONGEST_SEGMENT, DEEPEST = 255, 16


def is_upload(text: str) -> bool:
    return text.startswith(SCHEME)


def id_of(text: str) -> str:
    """Return the id in an upload's name; raises InputError."""
    match = NAME.fullmatch(text)
    if match is None or {".", ".."} & set(match[2].split("/")):
        raise InputError(
            f"{one_line(text, SHOWN)} names no upload.", why="It is written upload://ID or upload://ID/path.", cure="List uploads at /v1/files."
        )
    return match[1]


def named_in(spec: JobSpec) -> tuple[str, ...]:
    """Return the sorted ids of the uploads that a job names; raises InputError."""
    texts = (spec.subject.model, spec.corpus.path, *(one.dictionary.source for one in spec.each))
    return tuple(sorted({id_of(text) for text in texts if is_upload(text)}))


def is_here(text: str) -> bool:
    """Return whether the upload's files are on this machine."""
    return folder_of(id_of(text)).is_dir()


def folder_of(upload_id: str) -> Path:
    """Return the local folder of an upload, there or not."""
    return Path(allowed_files.current().uploads) / upload_id


def local(text: str) -> Path:
    """Return the local path of an upload or a file in it; raises InputError, FileMissingError."""
    folder = folder_of(id_of(text))
    try:
        name = os.listdir(folder)[0]  # noqa: PTH208 - one name
    except (OSError, IndexError):
        raise FileMissingError(
            f"{one_line(text, SHOWN)} is not on this machine.",
            why="It was deleted, or no worker has fetched it yet.",
            cure="Upload it again, or submit the job: a worker fetches it.",
        ) from None
    inner = NAME.fullmatch(text)[2].strip("/")  # type: ignore[index]  # id_of has matched it
    return folder / name / inner if inner else folder / name


def roots_of(text: str) -> Roots:
    """Return the roots within which the upload is read: its own folder."""
    return Roots((os.path.realpath(folder_of(id_of(text))),), allowed_files.SYSTEM, uploads=allowed_files.current().uploads)


def wrong_in(path: str) -> str | None:
    """Return why a relative path is refused for an uploaded file, or None."""
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts):
        return "it leads out of its folder, or has an empty part"
    if any(not part.isprintable() or "\\" in part for part in parts):
        return "it has control characters or backslashes"
    if any(len(part.encode("utf-8", "surrogateescape")) > LONGEST_SEGMENT for part in parts) or len(parts) > DEEPEST:
        return f"it has more than {DEEPEST} parts, or one of more than {LONGEST_SEGMENT} bytes"
    return None
