"""Name the objects of the artifact store: tokenised corpora and partial evidence of jobs.

corpora/<digest>/                            kept for later jobs on the same text; its `used` is the time when a chunk last read it
partials/<job>/levels                        the firing levels of the job's prepare chunk, if any
partials/<job>/<stage>-<number>.safetensors  the output of a collect or combine chunk; unused once its features are merged
"""

from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache

from interp.config.settings import Settings
from interp.domain.lifecycle import Stage
from interp.files.artifact_store import CORPORA, PARTIALS, Store

USED = "used"


def store_of(settings: Settings) -> Store:
    """Return the settings' artifact store, always the same object, or raise ArtifactsUnreachableError."""
    return _opened(settings)


def partial(job_id: str, stage: Stage, number: int) -> str:
    """Return the name of one chunk's partial evidence, by job, as jobs' features differ."""
    return f"{PARTIALS}/{job_id}/{stage}-{number}.safetensors"


def levels(job_id: str) -> str:
    """Return the name of the firing levels of a job's features."""
    return f"{PARTIALS}/{job_id}/levels"


def jobs_with_partials(store: Store) -> list[str]:
    """Return the jobs that have partial evidence, by one listing for any number of files."""
    return store.names(PARTIALS)


def delete_partials(store: Store, job_id: str) -> None:
    """Delete a job's partial evidence, which its merge chunks (or a retry) would need."""
    store.delete(f"{PARTIALS}/{job_id}")


def corpora(store: Store) -> Iterator[tuple[str, datetime | None]]:
    """Yield each tokenised corpus' digest and last use (UTC; None: never)."""
    for digest in store.names(CORPORA):
        yield digest, store.touched(f"{CORPORA}/{digest}/{USED}")


def note_use(store: Store, digest: str) -> None:
    """Record that a chunk reads this corpus now."""
    store.touch(f"{CORPORA}/{digest}/{USED}")


def delete_corpus(store: Store, digest: str) -> None:
    """Delete a tokenised corpus, which the chunks of no open job may need."""
    store.delete(f"{CORPORA}/{digest}")


@lru_cache(maxsize=8)
def _opened(settings: Settings) -> Store:
    return Store.of(settings.artifacts_url, settings.artifact_options, settings.home / "cache")
