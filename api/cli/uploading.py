"""Send a job's local files to a server that cannot see them."""

import hashlib
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import typer

from api.cli.output.console import say
from api.cli.output.transfer import size_of, transfer_bars
from interp.config.settings import is_loopback
from interp.domain.errors import FileMissingError, InputError
from interp.domain.spec import CorpusSpec, DictionarySpec, JobSpec, SubjectSpec

if TYPE_CHECKING:
    from glossator import Client

# A refusal of a path; another machine's server has no such file.
NOT_SEEN = frozenset({"path-refused", "file-missing"})
ASKED_ABOVE_BYTES = 100 << 20
# Files of a model's folder beside its weights, and configs beside a dictionary's single file of weights.
SUBJECT_SUFFIXES = frozenset({".json", ".safetensors", ".bin", ".model", ".txt", ".jinja", ".gguf"})
CONFIGS = frozenset({"cfg.json", "config.json", "config.yaml", "hyperparams.json"})
MOST_FILES = 10_000
LISTED = 3


@dataclass(frozen=True, slots=True)
class Parcel:
    """Files to send as one upload.

    It is a file (`names` is None), or some files of a folder, of which the job names `inner` or all.
    """

    path: Path
    names: tuple[str, ...] | None
    inner: str = ""

    @property
    def nbytes(self) -> int:
        files = [self.path] if self.names is None else [self.path / name for name in self.names]
        return sum(file.stat().st_size for file in files)

    @property
    def line(self) -> str:
        """Return what is sent, for a person."""
        if self.names is None:
            return f"{self.path} ({size_of(self.nbytes)})"
        some = ", ".join(self.names[:LISTED]) + (", ..." if len(self.names) > LISTED else "")
        return f"{self.path} ({len(self.names):,} files, {size_of(self.nbytes)}: {some})"


def submit(client: "Client", spec: JobSpec, idempotency_key: str, yes: bool) -> dict[str, Any]:
    """Submit a job, with its files where the server cannot read them."""
    from glossator import ApiError

    if not is_loopback(urlsplit(client.url).hostname or ""):
        spec = upload(client, spec, yes)
    try:
        return client.submit_job(spec.model_dump(mode="json"), idempotency_key)
    except ApiError as error:
        if error.code not in NOT_SEEN or not parcels(spec):
            raise
        say(f"The server cannot read the job's files: {error.what}")
    return client.submit_job(upload(client, spec, yes).model_dump(mode="json"), idempotency_key)


def upload(client: "Client", spec: JobSpec, yes: bool) -> JobSpec:
    """Return the job on uploads of its local files.

    Each is sent unless the server has it. Raises InputError when a person says no.
    """
    found = parcels(spec)
    known = {parcel: uri for parcel in set(found.values()) if (uri := _known(client, parcel))}
    missing = sorted({parcel for parcel in found.values() if parcel not in known}, key=lambda parcel: str(parcel.path))
    if missing:
        _ask(client, missing, yes)
        with transfer_bars() as bars:
            for parcel in missing:
                bar = bars.add_task(parcel.path.name, total=parcel.nbytes)
                known[parcel] = _send(client, parcel, lambda sent, bar=bar: bars.update(bar, completed=sent))  # type: ignore[misc]  # a default
    uris = {text: f"{known[parcel]}/{parcel.inner}".rstrip("/") for text, parcel in found.items()}
    return _renamed(spec, uris)


def parcels(spec: JobSpec) -> dict[str, Parcel]:
    """Return what to send for each local path of a job; raises FileMissingError and InputError."""
    found = {one.dictionary.source: _of_dictionary(one.dictionary) for one in spec.each if _is_local(one.dictionary.source)}
    if _is_local(spec.corpus.path):
        found[spec.corpus.path] = _of_corpus(spec.corpus)
    if _is_local(spec.subject.model):
        found.setdefault(spec.subject.model, _of_subject(spec.subject))
    return found


def _is_local(text: str) -> bool:
    return Path(text).is_absolute() and os.path.exists(text)  # noqa: PTH110 - any text


def _of_dictionary(spec: DictionarySpec) -> Parcel:
    from interp.dictionary.downloads import CONFIGS as CONFIG_SUFFIXES
    from interp.dictionary.downloads import INNER, INNER_FILE, WEIGHTS

    path = Path(spec.source)
    if path.is_dir():
        names = [name for name in _names(path) if Path(name).suffix in CONFIG_SUFFIXES | WEIGHTS]
        return _folder(path, [*names, *([f"{INNER}/{INNER_FILE}"] if (path / INNER / INNER_FILE).is_file() else [])])
    beside = [name for name in _names(path.parent) if name in CONFIGS]
    # A cross-layer transcoder's layer has two files.
    pair = path.name.replace("W_enc_", "W_dec_")
    names = sorted({path.name, *beside, *([pair] if (path.parent / pair).is_file() else [])})
    return Parcel(path, None) if len(names) == 1 else Parcel(path.parent, tuple(names), path.name)


def _of_subject(spec: SubjectSpec) -> Parcel:
    path = Path(spec.model)
    return _folder(path, [name for name in _names(path) if Path(name).suffix in SUBJECT_SUFFIXES]) if path.is_dir() else Parcel(path, None)


def _of_corpus(spec: CorpusSpec) -> Parcel:
    """Return the files of a corpus, without links that lead out of its folder."""
    from interp.corpus.corpus_files import list_local
    from interp.security import allowed_files
    from interp.security.allowed_files import Roots

    path = Path(spec.path)
    with allowed_files.within(Roots((os.path.realpath(path),), allowed_files.SYSTEM)):
        listing = list_local(spec)
    return _folder(path, [file.name for file in listing.files]) if path.is_dir() else Parcel(path, None)


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))


def _folder(path: Path, names: Sequence[str]) -> Parcel:
    if not names:
        raise FileMissingError(f"{path} holds no file to send.", cure="Check the path, and `include` and `exclude` of a corpus.")
    if len(names) > MOST_FILES:
        raise InputError(
            f"{path} holds {len(names):,} files to send.",
            why=f"An upload has {MOST_FILES:,} at most.",
            cure="Put the texts into one .jsonl file, or choose fewer with `include` and `exclude`.",
        )
    return Parcel(path, tuple(names))


def _known(client: "Client", parcel: Parcel) -> str | None:
    """Return the URI of an upload with the same content, or None."""
    digest = _digest(parcel)
    return next((row["uri"] for row in client.list_files(digest=digest) if row["name"] == parcel.path.name), None)


def _digest(parcel: Parcel) -> str:
    """Return the digest that the server gives to the parcel's files."""
    if parcel.names is None:
        return _sha256(parcel.path)
    files = [(name, parcel.path / name) for name in parcel.names]
    lines = sorted(f"{name}\0{file.stat().st_size}\0{_sha256(file)}\n".encode() for name, file in files)
    return hashlib.sha256(b"".join(lines)).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _ask(client: "Client", missing: Sequence[Parcel], yes: bool) -> None:
    """Say what is sent, and ask a person about much of it.

    Raises InputError for a no.
    """
    total = sum(parcel.nbytes for parcel in missing)
    say(f"Sending {size_of(total)} to {client.url}:")
    for parcel in missing:
        say(f"  {parcel.line}")
    if yes or total <= ASKED_ABOVE_BYTES:
        return
    if not sys.stdin.isatty() or not typer.confirm("Send it?", err=True):
        raise InputError("Nothing was sent.", why=f"{size_of(total)} are more than {size_of(ASKED_ABOVE_BYTES)}.", cure="Give --yes to send it.")


def _send(client: "Client", parcel: Parcel, progress: Callable[[int], object]) -> str:
    uri: str = client.upload_file(parcel.path, parcel.names, progress)["uri"]
    return uri


def _renamed(spec: JobSpec, uris: dict[str, str]) -> JobSpec:
    dictionaries = [one.dictionary.model_copy(update={"source": uris.get(one.dictionary.source, one.dictionary.source)}) for one in spec.each]
    subject = spec.subject.model_copy(update={"model": uris.get(spec.subject.model, spec.subject.model)})
    corpus = spec.corpus.model_copy(update={"path": uris.get(spec.corpus.path, spec.corpus.path)})
    return spec.with_dictionaries(dictionaries).model_copy(update={"subject": subject, "corpus": corpus})
