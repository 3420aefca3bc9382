"""Paths of a job: made absolute where they stand, because a worker may run elsewhere."""

import os
from pathlib import Path
from typing import Any

from interp import files
from interp.files import Roots
from interp.spec import JobSpec
from interp.subject.location import looks_like_path

# The settings that name a file or folder: (section, field).
FIELDS = (("subject", "model"), ("dictionary", "source"), ("corpus", "path"))


def located(spec: JobSpec, base: Path, roots: Roots) -> JobSpec:
    """The spec with its paths absolute, each inside the roots; a name of the Hub stays one.

    Outside them nothing is looked at, so that the answer is the same whether something is there or not. Raises PathRefused.
    """
    model = spec.subject.model
    if looks_like_path(model) or _is_inside(model, base, roots):
        model = _inside(model, base, roots)
    return spec.model_copy(
        update={
            "subject": spec.subject.model_copy(update={"model": model}),
            "dictionary": spec.dictionary.model_copy(update={"source": _inside(spec.dictionary.source, base, roots)}),
            "corpus": spec.corpus.model_copy(update={"path": _inside(spec.corpus.path, base, roots)}),
        }
    )


def paths_of(spec: JobSpec) -> tuple[Path, ...]:
    """The absolute paths among a job's: the roots of a service that is there for this job alone."""
    named = (Path(str(getattr(getattr(spec, section), field))) for section, field in FIELDS)
    return tuple(path for path in named if path.is_absolute())


def absolute(spec: JobSpec, base: Path) -> JobSpec:
    """The spec with every path that exists under `base` made absolute; what is no path (a model's name on the Hub) stays as it is."""
    sections = {
        section: getattr(spec, section).model_copy(update={field: found(getattr(getattr(spec, section), field), base)}) for section, field in FIELDS
    }
    return spec.model_copy(update=sections)


def absolute_content(content: dict[str, Any], base: Path) -> dict[str, Any]:
    """The same for a job that is not yet complete, as it was read from a file."""
    for section, field in FIELDS:
        values = content.get(section)
        if isinstance(values, dict) and isinstance(values.get(field), str):
            content = content | {section: values | {field: found(values[field], base)}}
    return content


def found(text: str, base: Path) -> str:
    """The absolute path of what `text` names under `base`, or the text itself when there is no such file.

    Links stay as they are: a name that says what a file is may be a link to one that does not.
    """
    path = base / files.expand(text)
    return _without_steps_up(path) if os.path.exists(path) else text  # noqa: PTH110 - unlike Path.exists, it takes names that no file can have


def _inside(text: str, base: Path, roots: Roots) -> str:
    path = base / files.expand(text)
    if not roots.permit_path(path):
        raise files.refused(text)
    return _without_steps_up(path)


def _is_inside(text: str, base: Path, roots: Roots) -> bool:
    """Whether the text names something inside the roots."""
    path = base / text
    return roots.permit_path(path) and os.path.exists(path)  # noqa: PTH110


def _without_steps_up(path: Path) -> str:
    return os.path.realpath(path) if ".." in path.parts else str(path.absolute())
