"""Downloads of the configs and weights of one dictionary, and no more of its place."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from interp.domain.cleaning import one_line
from interp.domain.errors import DictionaryError, FileMissingError, GlossatorError
from interp.domain.spec import DictionarySpec
from interp.files.atomic import new_folder, writing
from interp.security import allowed_files
from interp.security.sandbox_server import WITHOUT_NETWORK

Progress = Callable[[float], None]

SEGMENT, REVISION = r"(?!\.{1,2}(?:[/@#]|$))[A-Za-z0-9._:=+~-]+", r"[A-Za-z0-9][A-Za-z0-9._-]*"
HUB = re.compile(rf"hf://({SEGMENT}/{SEGMENT})(?:@({REVISION}))?((?:/{SEGMENT})*?)/?(?:@({REVISION}))?")
BUCKET = re.compile(rf"(s3://[^#]+?)/?(?:#({REVISION}))?")
WANDB = re.compile(rf"wandb://({SEGMENT}/{SEGMENT}/{SEGMENT})(?:/({SEGMENT}))?(?:#({REVISION}))?")
COMMIT = re.compile(r"[0-9a-f]{40}")

CONFIGS = frozenset({".json", ".yaml", ".yml"})
WEIGHTS = frozenset({".safetensors", ".npz", ".npy", ".pt", ".pth", ".bin"})
# Llama Scope's weights lie in a folder of their own below the config's.
INNER, INNER_FILE = "checkpoints", "final.safetensors"
CONFIG_BYTES = 64 << 20
MOST_ENTRIES, MOST_WEIGHTS = 10_000, 128
SHOWN, LISTED = 300, 8
BLOCK_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Fetched:
    """A dictionary's local files: its folder or file `path`, readable inside `root`.

    `source` names this version of it: a commit of the Hub, or a digest of what a place says of its files.
    """

    source: str
    root: str
    path: str
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Remote:
    """A file elsewhere; `copy` writes it to a path, and reports bytes."""

    path: str
    size: int
    stamp: str
    copy: Callable[[Path, Callable[[int], object]], object]


def from_hub(spec: DictionarySpec, progress: Progress) -> Fetched:
    """Fetch from a model repository of the Hub into its cache; raises FileMissingError and DictionaryError."""
    from huggingface_hub import HfApi, constants, hf_hub_download

    from interp.subject import hub
    from interp.subject.hub_errors import hub_errors

    match = hub_place(spec.source)
    repo, inner = match[1], match[3].strip("/")
    revision = match[2] or match[4]
    hub.guard_hub()
    with hub_errors(spec.source, DictionaryError):
        api = HfApi()
        commit = revision if revision and COMMIT.fullmatch(revision) else str(api.model_info(repo, revision=revision).sha)
        if not COMMIT.fullmatch(commit):
            raise DictionaryError(f"The Hub names no commit of {repo}.", cure="Try again later.")
        wanted = _of_repository(api, repo, commit, inner, spec)
        report = _Counter(sum(entry.size for entry in wanted), progress)
        for entry in wanted:
            before = report.done
            hf_hub_download(repo, entry.path, revision=commit, tqdm_class=_bar(report.add))
            report.set(before + entry.size)
    cache = Path(os.path.realpath(constants.HF_HUB_CACHE)) / f"models--{repo.replace('/', '--')}"
    path = cache / "snapshots" / commit / inner
    files = tuple(str(cache / "snapshots" / commit / entry.path) for entry in wanted)
    return Fetched(f"hf://{repo}@{commit}{'/' if inner else ''}{inner}", str(cache), str(path), files)


def from_bucket(spec: DictionarySpec, progress: Progress) -> Fetched:
    """Copy from a bucket that the operator has named; raises PathRefusedError, FileMissingError and DictionaryError."""
    import fsspec

    match = bucket_place(spec.source)
    url = match[1]
    with _errors(url, "pip install 'glossator[s3]'"):
        files, root = fsspec.core.url_to_fs(url, use_listings_cache=False, default_block_size=BLOCK_BYTES)
        top = files.info(root)
        is_file = top["type"] == "file"
        folder = str(PurePosixPath(root).parent) if is_file else root
        found = list(islice(files.ls(folder, detail=True), MOST_ENTRIES))
        if any(entry["type"] == "directory" and entry["name"].rstrip("/").endswith(f"/{INNER}") for entry in found):
            found += files.ls(f"{folder}/{INNER}", detail=True)
        entries = [
            _Remote(entry["name"], int(entry["size"] or 0), str(entry.get("ETag", "")), _from_file(files, entry["name"]))
            for entry in found
            if entry["type"] == "file"
        ]
        wanted = _wanted(entries, root if is_file else None, folder, spec)
        if not wanted:
            raise _nothing(url, [PurePosixPath(entry["name"]).name for entry in found])
        return _copied(url, match[2], wanted, root, progress)


def from_wandb(spec: DictionarySpec, progress: Progress) -> Fetched:
    """Copy a file of a run of Weights & Biases; raises FileMissingError and DictionaryError.

    Without a file's name it is the last `samples_N.pt` (e2e_sae), or the only file of weights.
    """
    match = wandb_place(spec.source)
    run = match[1]
    with _errors(spec.source, "pip install 'glossator[wandb]'"):
        import wandb

        found = list(islice(wandb.Api(timeout=60).run(run).files(), MOST_ENTRIES))
        weights = [file for file in found if PurePosixPath(str(file.name)).suffix in WEIGHTS and re.fullmatch(SEGMENT, str(file.name))]
        samples = sorted((int(number[1]), file.name) for file in weights if (number := re.fullmatch(r"samples_(\d{1,15})\.pt", str(file.name))))
        name = match[2] or (samples[-1][1] if samples else weights[0].name if len(weights) == 1 else None)
        chosen = [file for file in weights if file.name == name]
        if not chosen:
            raise _nothing(spec.source, [str(file.name) for file in found])
        files = [_Remote(str(file.name), int(file.size), str(file.md5), _from_run(file)) for file in chosen]
        return _copied(f"wandb://{run}/{name}", match[3], files, str(name), progress)


def hub_place(source: str) -> re.Match[str]:
    """Return the parts of a place on the Hub; raises DictionaryError."""
    match = HUB.fullmatch(source)
    if match is None or (match[2] and match[4]) or match[1].split("/")[0] in ("datasets", "spaces", "models"):
        raise _no_place(source, "hf://organisation/repository@revision/path")
    return match


def bucket_place(source: str) -> re.Match[str]:
    """Return the parts of a place in a bucket; raises DictionaryError and PathRefusedError."""
    match = BUCKET.fullmatch(source)
    if match is None:
        raise _no_place(source, "s3://bucket/folder")
    check_bucket(source)
    return match


def wandb_place(source: str) -> re.Match[str]:
    """Return the parts of a run's place; raises DictionaryError."""
    match = WANDB.fullmatch(source)
    if match is None:
        raise _no_place(source, "wandb://entity/project/run")
    return match


def check_bucket(source: str) -> None:
    """Raise PathRefusedError for a bucket that the operator has not named."""
    url = source.partition("#")[0]
    if not allowed_files.current().permit_url(url):
        raise allowed_files.bucket_refused(url)


def may_ask(scheme: str) -> bool:
    """Return whether this process may ask the hosts of a scheme.

    Processes that check files ask none.
    """
    from huggingface_hub import constants

    return WITHOUT_NETWORK not in os.environ and not (scheme == "hf" and constants.HF_HUB_OFFLINE)


def copies() -> Path:
    """Return the folder of copies and records, in the Hub's folder for such files."""
    from huggingface_hub import cached_assets_path

    return cached_assets_path("glossator", "dictionaries")


def _of_repository(api: Any, repo: str, commit: str, inner: str, spec: DictionarySpec) -> list[_Remote]:
    """Return what to fetch of a folder or file of a repository."""
    from huggingface_hub import RepoFile

    is_file, folder = False, inner
    if inner:
        named = api.get_paths_info(repo, [inner], revision=commit)
        if not named:
            raise FileMissingError(
                f"{repo} has no {inner} at revision {commit[:12]}.", why="The Hub has the repository.", cure="Check path and revision."
            )
        is_file = isinstance(named[0], RepoFile)
        folder = str(PurePosixPath(inner).parent) if is_file else inner
        folder = "" if folder == "." else folder
    found = list(islice(api.list_repo_tree(repo, folder or None, revision=commit), MOST_ENTRIES))
    inside = f"{folder}/{INNER}".lstrip("/")
    if any(entry.path == inside and not isinstance(entry, RepoFile) for entry in found):
        found += islice(api.list_repo_tree(repo, inside, revision=commit), MOST_ENTRIES)
    entries = [_Remote(entry.path, int(entry.size), "", _never) for entry in found if isinstance(entry, RepoFile)]
    wanted = _wanted(entries, inner if is_file else None, folder, spec)
    if not wanted:
        raise _nothing(spec.source, [PurePosixPath(entry.path).name for entry in found])
    return wanted


def _wanted(entries: Sequence[_Remote], file: str | None, folder: str, spec: DictionarySpec) -> list[_Remote]:
    """Return the folder's configs and weights, or the file and the configs beside it."""
    configs = [entry for entry in entries if PurePosixPath(entry.path).suffix in CONFIGS and entry.size <= CONFIG_BYTES]
    if spec.format == "neurons":
        return [entry for entry in configs if PurePosixPath(entry.path).name == "config.json"]
    beside = {f"{folder}/{INNER}/{INNER_FILE}".lstrip("/")}
    named = {file, file and file.replace("W_enc_", "W_dec_")}  # the two files of a cross-layer transcoder's layer
    weights = [
        entry
        for entry in entries
        if PurePosixPath(entry.path).suffix in WEIGHTS
        and (entry.path in named if file else entry.path in beside or str(PurePosixPath(entry.path).parent) in (folder, folder or "."))
    ]
    if len(weights) > MOST_WEIGHTS:
        raise DictionaryError(
            f"{one_line(spec.source, SHOWN)} holds {len(weights)} files of weights.",
            why=f"A dictionary has {MOST_WEIGHTS} at most.",
            cure=f"Name one of them: {one_line(spec.source, SHOWN)}/{PurePosixPath(weights[0].path).name}",
        )
    return [*configs, *weights] if weights else []


def _copied(place: str, pin: str | None, files: Sequence[_Remote], top: str, progress: Progress) -> Fetched:
    """Copy files to a folder of their version, unless it is there."""
    facts = json.dumps(sorted((file.path, file.size, file.stamp) for file in files))
    stamp = hashlib.sha256(facts.encode()).hexdigest()[:16]
    if pin is not None and pin != stamp:
        raise DictionaryError(
            f"{one_line(place, SHOWN)} has changed.",
            why="Its files are not those that were there when the job was submitted.",
            cure="Submit the job again.",
        )
    folder = copies() / hashlib.sha256(place.encode()).hexdigest()[:32] / stamp
    if not folder.is_dir():
        report = _Counter(sum(file.size for file in files), progress)
        with new_folder(folder) as draft:
            for file in files:
                target = draft / file.path
                target.parent.mkdir(parents=True, exist_ok=True)
                file.copy(target, report.add)
                if target.stat().st_size != file.size:
                    raise DictionaryError(f"{one_line(file.path, SHOWN)} came incomplete.", cure="Try again later.")
    return Fetched(f"{place}#{stamp}", str(folder), str(folder / top), tuple(str(folder / file.path) for file in files))


def _from_file(files: Any, path: str) -> Callable[[Path, Callable[[int], object]], object]:
    def copy(target: Path, report: Callable[[int], object]) -> None:
        with files.open(path, "rb") as handle, writing(target) as out:
            while block := handle.read(BLOCK_BYTES):
                out.write(block)
                report(len(block))

    return copy


def _from_run(file: Any) -> Callable[[Path, Callable[[int], object]], object]:
    def copy(target: Path, report: Callable[[int], object]) -> None:
        file.download(root=str(target.parent), replace=True).close()
        report(int(file.size))

    return copy


def _never(_target: Path, _report: Callable[[int], object]) -> None:
    raise NotImplementedError  # huggingface_hub copies files of the Hub


class _Counter:
    """Bytes that have come, reported as a share."""

    def __init__(self, total: int, progress: Progress) -> None:
        self.done, self._total, self._progress = 0, max(total, 1), progress

    def add(self, nbytes: int) -> None:
        self.set(self.done + nbytes)

    def set(self, nbytes: int) -> None:
        self.done = nbytes
        self._progress(min(nbytes / self._total, 1.0))


def _bar(report: Callable[[int], object]) -> Any:
    """Return a class of progress bars for huggingface_hub that prints nothing."""
    from huggingface_hub.utils.tqdm import tqdm

    class Bar(tqdm):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options | {"disable": True})  # type: ignore[no-untyped-call]

        def update(self, n: float | None = 1) -> None:
            report(int(n or 0))

    return Bar


def _nothing(source: str, names: Sequence[str]) -> FileMissingError:
    shown = ", ".join(one_line(name, 60) for name in names[:LISTED])
    return FileMissingError(
        f"{one_line(source, SHOWN)} holds no weights.",
        why=f"It has {shown}{', ...' if len(names) > LISTED else ''}." if names else "It is empty.",
        cure="Name the folder or file of one dictionary.",
    )


def _no_place(source: str, form: str) -> DictionaryError:
    return DictionaryError(f"{one_line(source, SHOWN)} names no dictionary.", cure=f"Write {form}")


@contextmanager
def _errors(source: str, install: str) -> Iterator[None]:
    """Turn errors of drivers, each of which has its own, into a DictionaryError."""
    shown = one_line(source, SHOWN)
    try:
        yield
    except GlossatorError:
        raise
    except ImportError as cause:
        raise DictionaryError(f"This server cannot read {shown}.", why=one_line(str(cause), SHOWN), cure=f"Install what does: {install}.") from cause
    except FileNotFoundError as cause:
        raise FileMissingError(f"{shown} does not exist.", cure="Check the name.") from cause
    except Exception as cause:
        raise DictionaryError(
            f"{shown} cannot be fetched.", why=one_line(f"{type(cause).__name__}: {cause}", SHOWN), cure="Check name and credentials."
        ) from cause
