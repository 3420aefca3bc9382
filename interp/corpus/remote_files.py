"""Files of a corpus elsewhere: a dataset of the Hugging Face Hub, or a bucket."""

import os
import re
from collections.abc import Callable
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from interp.corpus.corpus_files import CorpusFile, CorpusListing
from interp.domain.cleaning import one_line
from interp.domain.errors import CorpusError
from interp.domain.spec import CorpusSpec
from interp.security import allowed_files
from interp.security.globs import Globs

HUB = re.compile(r"hf://datasets/([A-Za-z0-9._-]+(?:/[A-Za-z0-9._-]+)?)(?:@([A-Za-z0-9._/-]+?))?")
SHOWN = 300  # characters of a Hub's error
BLOCK_BYTES = 16 << 20  # fetched at once; a request that breaks off is made again
EVERYTHING = ("**/*",)


def list_remote(spec: CorpusSpec, most: int | None = None) -> CorpusListing:
    """List the first `most` files of a remote corpus in the order of their names.

    Raises PathRefusedError, FileMissingError and CorpusError.
    """
    files = SCHEMES[check_place(spec.path)](spec)
    return CorpusListing(tuple(islice(files, most)), {}, complete=most is None or len(files) <= most)


def check_place(path: str) -> str:
    """Return the scheme of a corpus elsewhere; nothing is asked. Raises PathRefusedError and CorpusError."""
    scheme = path.partition("://")[0].lower()
    if scheme not in SCHEMES:
        known = ", ".join(f"{one}://" for one in SCHEMES)
        raise CorpusError(f"{one_line(scheme, SHOWN)}:// is no place of a corpus.", cure=f"Known: {known}, or a local path.")
    if scheme == "hf":
        _dataset_of(path)
    elif not allowed_files.current().permit_url(path):
        raise allowed_files.bucket_refused(path)
    return scheme


def _dataset_of(path: str) -> re.Match[str]:
    match = HUB.fullmatch(path)
    if match is None or {".", ".."} & set(match[1].split("/")):
        raise CorpusError(f"{one_line(path, SHOWN)} names no dataset.", cure="Write hf://datasets/organisation/name, perhaps with @revision.")
    return match


def _hub_files(spec: CorpusSpec) -> list[CorpusFile]:
    """Return the files of a Hub dataset, at the commit that its revision is now."""
    from huggingface_hub import HfApi, HfFileSystem

    from interp.subject import hub
    from interp.subject.hub_errors import hub_errors

    match = _dataset_of(spec.path)
    hub.guard_hub()
    with hub_errors(spec.path, CorpusError):
        commit = HfApi().dataset_info(match[1], revision=match[2]).sha
        files = HfFileSystem(skip_instance_cache=True, block_size=BLOCK_BYTES)
        root = f"datasets/{match[1]}@{commit}"
        if spec.split or spec.subset or spec.include == EVERYTHING:
            names = _of_split(match[1], str(commit), spec)
            found = {name: files.info(name) for name in names}
        else:
            found = _matching(files.find(root, detail=True), root, spec)
    return [_file(files, path, root, info, str(info.get("blob_id") or commit)) for path, info in sorted(found.items())]


def _of_split(name: str, commit: str, spec: CorpusSpec) -> list[str]:
    """Return the paths of a split's files by the rules of the package `datasets`."""
    from datasets import load_dataset_builder

    _guard_patterns()
    split = spec.split or "train"
    if os.path.lexists(name):
        raise allowed_files.refused(name)  # the package prefers a folder of the working directory to a name of the Hub
    try:
        files = load_dataset_builder(name, spec.subset, revision=commit).config.data_files or {}
    except (ValueError, FileNotFoundError, RuntimeError) as cause:
        raise CorpusError(
            f"{name} cannot be read as a dataset.", why=one_line(str(cause), SHOWN), cure="Set `subset`, or choose files with `include`."
        ) from cause
    if split not in files:
        raise CorpusError(f"{name} has no split {split!r}.", why=f"It has {', '.join(sorted(map(str, files))[:10])}.", cure="Set `split`.")
    return [str(path).removeprefix("hf://") for path in files[split]]


@cache
def _guard_patterns() -> None:
    """Make the package `datasets` refuse patterns of a dataset's card that lead out of it.

    It would look for them wherever they lead: on the server's network and disk, and in buckets with the operator's credentials.
    """
    from datasets import data_files

    resolve = data_files.resolve_pattern

    def within(pattern: str, base_path: str, *arguments: Any, **options: Any) -> list[str]:
        inner = pattern.removeprefix(f"{base_path}/")
        if not base_path.startswith("hf://datasets/") or "::" in inner or ":/" in inner or inner.startswith(("/", "~")) or ".." in inner.split("/"):
            raise CorpusError(
                f"{one_line(pattern, SHOWN)} leads out of the dataset whose card names it.",
                why="Files of a dataset are read from its own repository alone.",
                cure="Choose files of the repository with `include`.",
            )
        found: list[str] = resolve(pattern, base_path, *arguments, **options)
        return found

    data_files.resolve_pattern = within


def _bucket_files(spec: CorpusSpec) -> list[CorpusFile]:
    """Return the files below a prefix of a bucket that the operator has named."""
    import fsspec

    try:
        files, root = fsspec.core.url_to_fs(spec.path, use_listings_cache=False, default_block_size=BLOCK_BYTES)
        found = _matching(files.find(root, detail=True), root, spec)
    except ImportError as cause:
        raise CorpusError("This server cannot read buckets.", why=str(cause), cure="Install what does: pip install 'glossator[s3]'.") from cause
    except Exception as cause:  # each driver has its own errors
        raise CorpusError(
            f"{one_line(spec.path, SHOWN)} cannot be listed.",
            why=one_line(f"{type(cause).__name__}: {cause}", SHOWN),
            cure="Check name and credentials.",
        ) from cause
    return [_file(files, path, root, info, str(info.get("ETag", ""))) for path, info in sorted(found.items())]


def _matching(found: Any, root: str, spec: CorpusSpec) -> dict[str, dict[str, Any]]:
    include, exclude = Globs(spec.include), Globs(spec.exclude)
    names = {path: path.removeprefix(root).lstrip("/") or Path(path).name for path in found}
    return {path: info for path, info in found.items() if include.matches(names[path]) and not exclude.matches(names[path])}


def _file(files: Any, path: str, root: str, info: dict[str, Any], version: str) -> CorpusFile:
    name = path.removeprefix(root).lstrip("/") or Path(path).name
    return CorpusFile(Path(path), name, int(info["size"]), 0, is_alone=path == root, remote=files, version=version)


SCHEMES: dict[str, Callable[[CorpusSpec], list[CorpusFile]]] = {"hf": _hub_files, "s3": _bucket_files}
