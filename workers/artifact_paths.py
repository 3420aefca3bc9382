"""Names in the artifact store: tokenised corpora, and the partial evidence that stages of a job hand to one another.

corpora/<digest>/                            kept: the next job on the same text reads it. `used` in it says when a chunk last did
partials/<job>/levels                        the firing levels that the job's prepare chunk found, where there are any
partials/<job>/<stage>-<number>.safetensors  what a collect or combine chunk gave; nobody needs it once its features are merged
"""

from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache

from interp.config.settings import Settings
from interp.domain.lifecycle import Stage
from interp.files.artifact_store import CORPORA, PARTIALS, Store

USED = "used"


def store_of(settings: Settings) -> Store:
    """Return the artifact store of these settings, the same one each time, so that connections are kept. Raises ArtifactsUnreachableError."""
    return _opened(settings)


def partial(job_id: str, stage: Stage, number: int) -> str:
    """Return the name of one chunk's partial evidence. By job, since two jobs may ask for different features of one run."""
    return f"{PARTIALS}/{job_id}/{stage}-{number}.safetensors"


def levels(job_id: str) -> str:
    """Return the name of the firing levels of a job's features."""
    return f"{PARTIALS}/{job_id}/levels"


def jobs_with_partials(store: Store) -> list[str]:
    """Return the id of each job that has partial evidence. One listing, whatever the number of files."""
    return store.names(PARTIALS)


def delete_partials(store: Store, job_id: str) -> None:
    """Delete all partial evidence of a job. Its merge chunks need it; those of a job that is over only if it is retried."""
    store.delete(f"{PARTIALS}/{job_id}")


def corpora(store: Store) -> Iterator[tuple[str, datetime | None]]:
    """Yield the digest of each tokenised corpus, and when a chunk last read it (UTC; None: never)."""
    for digest in store.names(CORPORA):
        yield digest, store.touched(f"{CORPORA}/{digest}/{USED}")


def note_use(store: Store, digest: str) -> None:
    """Record that a chunk reads this corpus now."""
    store.touch(f"{CORPORA}/{digest}/{USED}")


def delete_corpus(store: Store, digest: str) -> None:
    """Delete a tokenised corpus that no running job reads: its collect and merge chunks would not find it."""
    store.delete(f"{CORPORA}/{digest}")


@lru_cache(maxsize=8)
def _opened(settings: Settings) -> Store:
    return Store.of(settings.artifacts_url, settings.artifact_options, settings.home / "cache")
