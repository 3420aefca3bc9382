"""Make a job's paths absolute, for any worker, and check them against the server's roots."""

import os
from pathlib import Path
from typing import Any

from interp.domain.errors import InputError
from interp.domain.spec import LONGEST_PATH, DictionarySpec, JobSpec
from interp.security import allowed_files, uploads
from interp.security.allowed_files import Roots

# The settings that name a file or folder: (section, field).
FIELDS = (("subject", "model"), ("dictionary", "source"), ("corpus", "path"))


def paths_of(spec: JobSpec) -> tuple[Path, ...]:
    """Return the job's absolute paths: the roots of a service for this job alone."""
    named = (spec.subject.model, spec.corpus.path, *(one.dictionary.source for one in spec.each))
    return tuple(path for path in map(Path, named) if path.is_absolute())


def absolute(content: dict[str, Any], base: Path) -> dict[str, Any]:
    """Return a job's content, maybe incomplete, with existing paths under `base` absolute; Hub names stay."""
    located = {section: _absolute(content[section], field, base) for section, field in FIELDS if section in content}
    several = content.get("dictionaries")
    if isinstance(several, list):
        located["dictionaries"] = [_absolute(one, "source", base) for one in several]
    return content | located


def _absolute(values: Any, field: str, base: Path) -> Any:
    is_named = isinstance(values, dict) and isinstance(values.get(field), str)
    return values | {field: found(values[field], base)} if is_named else values


def found(text: str, base: Path) -> str:
    """Return the absolute path of `text` under `base`; `text` itself if no such file.

    Links are not resolved: the link's name may tell the format where the target's does not.
    """
    path = base / allowed_files.expand(text)
    return without_steps_up(path) if os.path.exists(path) else text  # noqa: PTH110 - unlike Path.exists, it takes names that no file can have


def without_steps_up(path: Path) -> str:
    """Return the absolute path as text; links are resolved only in paths with `..`."""
    return os.path.realpath(path) if ".." in path.parts else str(path.absolute())


def located(spec: JobSpec, base: Path, roots: Roots) -> JobSpec:
    """Return the spec with absolute paths, each inside the roots.

    A model's name on the Hub and an upload's stay. Nothing outside the roots is read, so that the answer does not reveal what exists. Raises
    PathRefusedError, InputError for a path that is too long or names no upload, and CorpusError and DictionaryError for places that are none.
    """
    # It imports NumPy, which a command that submits does not need.
    from interp.corpus import remote_files
    from interp.subject.location import looks_like_path

    uploads.named_in(spec)
    model = spec.subject.model
    if not uploads.is_upload(model) and (looks_like_path(model) or _is_inside(model, base, roots)):
        model = _inside(model, base, roots)
    corpus = spec.corpus
    if "://" not in corpus.path:
        corpus = corpus.model_copy(update={"path": _inside(corpus.path, base, roots)})
    elif not uploads.is_upload(corpus.path):
        with allowed_files.within(roots):
            remote_files.check_place(corpus.path)
    dictionaries = [_dictionary(one.dictionary, base, roots) for one in spec.each]
    return spec.with_dictionaries(dictionaries).model_copy(update={"subject": spec.subject.model_copy(update={"model": model}), "corpus": corpus})


def _dictionary(spec: DictionarySpec, base: Path, roots: Roots) -> DictionarySpec:
    """Return the spec with an absolute path, or with a name's place on the Hub.

    A name for which a file lies in the working directory is the path of that file. Raises FileMissingError for unknown names, and DictionaryError.
    """
    # It imports NumPy, too.
    from interp.dictionary import sources

    if uploads.is_upload(spec.source):
        return spec
    if sources.is_elsewhere(spec.source):
        named = sources.resolve(spec)
        with allowed_files.within(roots):
            sources.check_place(named.source)
        return named
    return spec.model_copy(update={"source": _inside(spec.source.removeprefix(sources.LOCAL), base, roots)})


def _inside(text: str, base: Path, roots: Roots) -> str:
    path = base / allowed_files.expand(text)
    if not roots.permit_path(path):
        raise allowed_files.refused(text)
    found = without_steps_up(path)
    if len(found) > LONGEST_PATH:
        raise InputError(f"A path of {len(found):,} characters is too long.", why=f"A path has {LONGEST_PATH:,} at most.", cure="Give a shorter one.")
    return found


def _is_inside(text: str, base: Path, roots: Roots) -> bool:
    """Return whether the text names an existing file or folder inside the roots."""
    path = base / text
    return roots.permit_path(path) and os.path.exists(path)  # noqa: PTH110
