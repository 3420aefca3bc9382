"""Folders in Hugging Face form of GGUF files, converted by a process of their own.

`interp.subject.gguf.conversion` runs there: the file is foreign, the libraries that read it are large, and their memory is given back. A folder is
named by the digest of the file's content, and is written whole or not at all.
"""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from interp.domain.cleaning import one_line
from interp.domain.errors import FileMissingError, GlossatorError, SubjectError, error_classes
from interp.files.atomic import new_folder
from interp.security import allowed_files, uploads
from interp.security.sandbox import python_environment

SUFFIX = ".gguf"
# Version of the conversion, which is part of a subject's identity.
VERSION = 1
POLL_SECONDS = 0.5
# Bytes of float32 numbers per byte of the file, at 4 bits a number; for the progress alone.
EXPANSION = 8
SHOWN = 300


def is_gguf(model: str) -> bool:
    """Return whether a subject's name is a readable file, perhaps uploaded, that is called GGUF."""
    if not model.endswith(SUFFIX) and not uploads.is_upload(model):
        return False
    with file_of(model) as file:
        return file.suffix == SUFFIX and allowed_files.current().permit_path(file) and allowed_files.kind_of(file) == "file"


@contextmanager
def file_of(model: str) -> Iterator[Path]:
    """Yield the path of a subject's file, readable within the block where it was uploaded."""
    if not uploads.is_upload(model):
        yield Path(model)
        return
    with allowed_files.within(uploads.roots_of(model)):
        yield uploads.local(model)


def file_digest(model: str) -> str:
    """Return the sha256 of a GGUF file's content."""
    with file_of(model) as file:
        return allowed_files.file_digest(file)


def folder_of(model: str) -> Path:
    """Return the folder of a GGUF file, which `convert_once` writes."""
    from huggingface_hub import cached_assets_path

    key = hashlib.sha256(f"{VERSION} {file_digest(model)}".encode()).hexdigest()
    return cached_assets_path("glossator", "subjects", "gguf") / key


def existing_folder_of(model: str) -> Path:
    """Return the folder of a GGUF file; raises FileMissingError before the conversion."""
    folder = folder_of(model)
    if not folder.is_dir():
        raise FileMissingError(
            f"{model} is not converted on this machine yet.",
            why="A GGUF file becomes a folder with config, tokenizer and float32 weights before it is read.",
            cure="Submit the job: a worker converts it. Or convert it yourself: python -m interp.subject.gguf.conversion FILE FOLDER",
        )
    return folder


def convert_once(model: str, progress: Callable[[float], None] = lambda _share: None) -> None:
    """Convert a GGUF file unless its folder is there; `progress` may raise to stop it.

    Raises SubjectError, TokenizerMismatchError and DiskFullError.
    """
    target = folder_of(model)
    if not target.is_dir():
        with new_folder(target) as draft, file_of(model) as file:
            _run(Path(allowed_files.current().resolve(file)), draft, progress)
    progress(1.0)


def _run(file: Path, folder: Path, progress: Callable[[float], None]) -> None:
    command = [sys.executable, "-P", "-m", "interp.subject.gguf.conversion", str(file), str(folder)]
    expected = EXPANSION * max(file.stat().st_size, 1)
    with subprocess.Popen(command, env=python_environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            while True:
                with suppress(subprocess.TimeoutExpired):
                    out, err = process.communicate(timeout=POLL_SECONDS)
                    break
                written = sum(path.stat().st_size for path in folder.iterdir())
                progress(min(written / expected, 0.99))
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise _error(file, out, err, process.returncode)


def _error(file: Path, out: bytes, err: bytes, status: int) -> GlossatorError:
    """Return the error that the process printed, or one that says how it ended."""
    try:
        problem = json.loads(out.splitlines()[-1])
        kind = next(kind for kind in error_classes() if kind.code == problem["code"])
        return kind(problem["detail"], why=problem.get("why", ""), cure=problem.get("cure", ""))
    except (ValueError, IndexError, KeyError, TypeError, StopIteration):
        last = (err.decode("utf-8", "replace").strip().splitlines() or [""])[-1]
        return SubjectError(
            f"{file} cannot be converted.",
            why=one_line(last, SHOWN) or f"The process ended with status {status}, as for want of memory.",
            cure="Use a worker with more memory, or the model's own Hugging Face folder.",
        )
