"""Name the objects of the artifact store: tokenised corpora and partial evidence of jobs.

corpora/<digest>/                            kept for later jobs on the same text; its `used` is the time when a chunk last read it
partials/<job>/levels                        the firing levels of the job's prepare chunk, if any
partials/<job>/<stage>-<number>.safetensors  the output of a collect or combine chunk; unused once its features are merged
"""

from functools import lru_cache

from interp.config.settings import Settings
from interp.domain.lifecycle import Stage
from interp.files.artifact_store import CORPORA, PARTIALS, Store


@lru_cache(maxsize=8)
def store_of(settings: Settings) -> Store:
    """Return the settings' artifact store, or raise ArtifactsUnreachableError."""
    return Store.of(settings.artifacts_url, settings.artifact_options, settings.home / "cache")


def partials(job_id: str) -> str:
    """Return the name of a job's partial evidence, needed until it is merged."""
    return f"{PARTIALS}/{job_id}"


def partial(job_id: str, stage: Stage, number: int) -> str:
    """Return the name of one chunk's partial evidence, by job, as jobs' features differ."""
    return f"{partials(job_id)}/{stage}-{number}.safetensors"


def levels(job_id: str) -> str:
    """Return the name of the firing levels of a job's features."""
    return f"{partials(job_id)}/levels"


def corpus(digest: str) -> str:
    """Return the name of a tokenised corpus."""
    return f"{CORPORA}/{digest}"


def used(digest: str) -> str:
    """Return the name of the file whose time is a corpus' last use."""
    return f"{corpus(digest)}/used"
