"""Make a job's paths absolute, for any worker, and check them against the server's roots."""

import os
from pathlib import Path
from typing import Any

from interp.domain.errors import InputError
from interp.domain.spec import LONGEST_PATH, DictionarySpec, JobSpec
from interp.security import allowed_files
from interp.security.allowed_files import Roots

# The settings that name a file or folder: (section, field).
FIELDS = (("subject", "model"), ("dictionary", "source"), ("corpus", "path"))


def paths_of(spec: JobSpec) -> tuple[Path, ...]:
    """Return the job's absolute paths: the roots of a service for this job alone."""
    named = (Path(str(getattr(getattr(spec, section), field))) for section, field in FIELDS)
    return tuple(path for path in named if path.is_absolute())


def absolute(content: dict[str, Any], base: Path) -> dict[str, Any]:
    """Return a job's content, maybe incomplete, with existing paths under `base` absolute; Hub names stay."""
    for section, field in FIELDS:
        values = content.get(section)
        if isinstance(values, dict) and isinstance(values.get(field), str):
            content = content | {section: values | {field: found(values[field], base)}}
    return content


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

    A model's name on the Hub stays. Nothing outside the roots is read, so that the answer does not reveal what exists. Raises PathRefusedError, and
    InputError for a path that is too long.
    """
    # It imports NumPy, which a command that submits does not need.
    from interp.subject.location import looks_like_path

    model = spec.subject.model
    if looks_like_path(model) or _is_inside(model, base, roots):
        model = _inside(model, base, roots)
    return spec.model_copy(
        update={
            "subject": spec.subject.model_copy(update={"model": model}),
            "dictionary": _dictionary(spec.dictionary, base, roots),
            "corpus": spec.corpus if "://" in spec.corpus.path else spec.corpus.model_copy(update={"path": _inside(spec.corpus.path, base, roots)}),
        }
    )


def _dictionary(spec: DictionarySpec, base: Path, roots: Roots) -> DictionarySpec:
    """Return the spec with an absolute path, or with a name's place on the Hub.

    A name for which a file lies in the working directory is the path of that file. Raises FileMissingError for unknown names, and DictionaryError.
    """
    # It imports NumPy, too.
    from interp.dictionary import sources

    if sources.is_elsewhere(spec.source):
        return sources.resolve(spec)
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
