"""Where the files that stages hand to one another lie."""

from collections.abc import Iterator
from pathlib import Path

from interp.settings import Settings


def corpora(settings: Settings) -> Path:
    """The folder of tokenised corpora, by their digest. They are kept: the next job on the same text reads them."""
    return settings.artifacts / "corpora"


def partial(settings: Settings, evidence_set: str, job_id: str, number: int) -> Path:
    """The partial evidence of one collect chunk. By job, since two jobs may ask for different features of one evidence set."""
    return settings.artifacts / "partials" / evidence_set / job_id / f"{number}.safetensors"


def partial_folders(settings: Settings) -> Iterator[tuple[str, Path]]:
    """The id of each job that has partial evidence lying, with its folder."""
    for folder in (settings.artifacts / "partials").glob("*/*"):
        yield folder.name, folder
