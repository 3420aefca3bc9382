"""Paths of a submitted job: each made absolute, and held against the server's roots."""

import os
from pathlib import Path

from api.jobs.paths import without_steps_up
from interp.domain.errors import InputError
from interp.domain.spec import LONGEST_PATH, JobSpec
from interp.security import allowed_files
from interp.security.allowed_files import Roots
from interp.subject.location import looks_like_path


def located(spec: JobSpec, base: Path, roots: Roots) -> JobSpec:
    """The spec with its paths absolute, each inside the roots; a name of the Hub stays one.

    Outside them nothing is looked at, so that the answer is the same whether something is there or not.

    Raises PathRefused, and InputError for a path that is too long.
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


def _inside(text: str, base: Path, roots: Roots) -> str:
    path = base / allowed_files.expand(text)
    if not roots.permit_path(path):
        raise allowed_files.refused(text)
    found = without_steps_up(path)
    if len(found) > LONGEST_PATH:
        raise InputError(f"A path of {len(found):,} characters is too long.", why=f"A path has {LONGEST_PATH:,} at most.", cure="Give a shorter one.")
    return found


def _is_inside(text: str, base: Path, roots: Roots) -> bool:
    """Whether the text names something inside the roots."""
    path = base / text
    return roots.permit_path(path) and os.path.exists(path)  # noqa: PTH110
