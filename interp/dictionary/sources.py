"""Sources of dictionaries: local files, and names and URLs that are fetched to local files."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from interp.dictionary import downloads, registry
from interp.dictionary.downloads import Fetched, Progress
from interp.domain.cleaning import one_line
from interp.domain.errors import DictionaryError, FileMissingError
from interp.domain.spec import DictionarySpec
from interp.files.atomic import writing
from interp.security import allowed_files, uploads
from interp.security.allowed_files import Roots

LOCAL = "file://"
FETCH: dict[str, Callable[[DictionarySpec, Progress], Fetched]] = {
    "hf": downloads.from_hub,
    "s3": downloads.from_bucket,
    "wandb": downloads.from_wandb,
}
PLACES = {"hf": downloads.hub_place, "s3": downloads.bucket_place, "wandb": downloads.wandb_place}
RECORD = TypeAdapter(Fetched)
LARGEST_RECORD = 1 << 20
SHOWN = 200


def is_elsewhere(source: str) -> bool:
    """Return whether the text is no local path or upload.

    A file goes before a Neuronpedia id.
    """
    if uploads.is_upload(source):
        return False
    if registry.NEURONPEDIA_ID.fullmatch(source):
        return not os.path.lexists(source)
    return registry.is_name(source) or ("://" in source and not source.startswith(LOCAL))


def resolve(spec: DictionarySpec) -> DictionarySpec:
    """Return the spec with a name's place on the Hub; raises FileMissingError and DictionaryError."""
    if not is_elsewhere(spec.source):
        return spec
    found = registry.resolve(spec)
    _scheme(found.source)
    return found


def check_place(source: str) -> None:
    """Raise DictionaryError or PathRefusedError for a text that no fetch would take; nothing is asked."""
    PLACES[_scheme(source)](source)


def fetch(spec: DictionarySpec, progress: Progress = lambda _share: None) -> DictionarySpec:
    """Fetch what the source names, and return the spec with the version that came.

    A local source stays as it is. `progress` gets the share of bytes that have come. Raises PathRefusedError, FileMissingError and DictionaryError.
    """
    spec = resolve(spec)
    if not is_elsewhere(spec.source):
        return spec
    if (known := _recorded(spec)) and known.source == spec.source:
        return spec  # this version is here
    scheme = _scheme(spec.source)
    if not downloads.may_ask(scheme):
        check_place(spec.source)
        raise FileMissingError(
            f"{one_line(spec.source, SHOWN)} is not on this machine yet.",
            why="This process asks no other host.",
            cure="Submit the job: a worker fetches the dictionary. Or give a local path; if HF_HUB_OFFLINE is set, unset it.",
        )
    fetched = FETCH[scheme](spec, progress)
    for source in {spec.source, fetched.source}:
        with writing(_record_of(source, spec)) as file:
            file.write(RECORD.dump_json(fetched))
    return spec.model_copy(update={"source": fetched.source})


@contextmanager
def reading(spec: DictionarySpec) -> Iterator[tuple[Path, Roots | None]]:
    """Yield a dictionary's local folder or file, readable within the block.

    Beside it come the roots of the block, None for local sources. Raises the errors of `fetch`.
    """
    if uploads.is_upload(spec.source):
        uploaded = uploads.roots_of(spec.source)
        with allowed_files.within(uploaded):
            yield uploads.local(spec.source), uploaded
        return
    spec = resolve(spec)
    if not is_elsewhere(spec.source):
        yield Path(allowed_files.expand(spec.source.removeprefix(LOCAL))), None
        return
    scheme = _scheme(spec.source)
    if scheme == "s3":
        downloads.check_bucket(spec.source)
    known = _recorded(spec)
    is_usable = known is not None and (known.source == spec.source or not downloads.may_ask(scheme))
    fetched = known if is_usable else _recorded(fetch(spec))
    if fetched is None:
        raise DictionaryError(f"{one_line(spec.source, SHOWN)} was fetched and is gone.", cure="Keep HF_HOME while jobs run.")
    roots = Roots((fetched.root,), allowed_files.SYSTEM)
    with allowed_files.within(roots):
        yield Path(fetched.path), roots


def _scheme(source: str) -> str:
    scheme = source.partition("://")[0].lower()
    if scheme not in FETCH:
        raise DictionaryError(
            f"{scheme[:40]}:// is no place of a dictionary.",
            cure=f"Known: {', '.join(f'{known}://' for known in FETCH)}, saelens:RELEASE/ID, a Neuronpedia id or a local path.",
        )
    return scheme


def _recorded(spec: DictionarySpec) -> Fetched | None:
    """Return what was last fetched of the source, if all of it is still there."""
    try:
        content = _record_of(spec.source, spec).read_bytes()[:LARGEST_RECORD]
        found = RECORD.validate_json(content)
    except (OSError, ValidationError):
        return None
    return found if all(Path(file).is_file() for file in found.files) else None


def _record_of(source: str, spec: DictionarySpec) -> Path:
    """Return the file that lists a version's local files; neurons take fewer than others."""
    key = json.dumps([source, spec.format == "neurons"])
    return downloads.copies() / f"{hashlib.sha256(key.encode()).hexdigest()}.json"
