"""Paths of a job: made absolute where they stand, because a worker may run elsewhere."""

import os
from pathlib import Path
from typing import Any

from interp.domain.spec import JobSpec
from interp.security import allowed_files

# The settings that name a file or folder: (section, field).
FIELDS = (("subject", "model"), ("dictionary", "source"), ("corpus", "path"))


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
    path = base / allowed_files.expand(text)
    return without_steps_up(path) if os.path.exists(path) else text  # noqa: PTH110 - unlike Path.exists, it takes names that no file can have


def without_steps_up(path: Path) -> str:
    """The absolute path as text. Links stay links, but for a path with `..`, whose meaning hangs on them."""
    return os.path.realpath(path) if ".." in path.parts else str(path.absolute())
