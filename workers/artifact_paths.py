"""Name the objects of the artifact store: tokenised corpora and partial evidence of jobs.

corpora/<digest>/                            kept for later jobs on the same text; its `used` is the time when a chunk last read it
partials/<job>/levels                        the firing levels of the job's prepare chunk, if any
partials/<job>/biases                        the encoder biases of a random dictionary, of the same chunk
partials/<job>/<stage>-<number>.safetensors  the output of a collect or combine chunk; unused once its features are merged

partials/<job>/firing-<number>-<kind>        what a collect chunk counted for a health report

uploads/<digest>-<random>                    the content of uploaded files, kept while an upload has it

exports/<export>                             the file of an export, until it expires

batches/<batch>.jsonl, .results.jsonl        questions for a runner without a server, and its answers (`interp.llm.transports.batch_files`)

Those of the job's second dictionary end in `-1`, those of the third in `-2`.
"""

from functools import lru_cache

from interp.config.settings import Settings
from interp.domain.lifecycle import Stage
from interp.files.artifact_store import CORPORA, EXPORTS, PARTIALS, UPLOADS, Store


@lru_cache(maxsize=8)
def store_of(settings: Settings) -> Store:
    """Return the settings' artifact store, or raise ArtifactsUnreachableError."""
    return Store.of(settings.artifacts_url, settings.artifact_options, settings.home / "cache")


def partials(job_id: str) -> str:
    """Return the name of a job's partial evidence, needed until it is merged."""
    return f"{PARTIALS}/{job_id}"


def partial(job_id: str, stage: Stage, number: int, place: int = 0) -> str:
    """Return the name of one chunk's partial evidence, by job, as jobs' features differ."""
    return f"{partials(job_id)}/{stage}-{number}{_of(place)}.safetensors"


def firing_counts(job_id: str, number: int, place: int = 0) -> str:
    """Return the stem of the names of what a collect chunk counted of firings."""
    return f"{partials(job_id)}/firing-{number}{_of(place)}"


def levels(job_id: str, place: int = 0) -> str:
    """Return the name of the firing levels of a dictionary's features."""
    return f"{partials(job_id)}/levels{_of(place)}"


def biases(job_id: str, place: int = 0) -> str:
    """Return the name of the encoder biases of a random dictionary."""
    return f"{partials(job_id)}/biases{_of(place)}"


def _of(place: int) -> str:
    return f"-{place}" if place else ""


def corpus(digest: str) -> str:
    """Return the name of a tokenised corpus."""
    return f"{CORPORA}/{digest}"


def used(digest: str) -> str:
    """Return the name of the file whose time is a corpus' last use."""
    return f"{corpus(digest)}/used"


def upload(name: str) -> str:
    """Return the name of the content of uploaded files."""
    return f"{UPLOADS}/{name}"


def export(export_id: str) -> str:
    """Return the name of the file of an export."""
    return f"{EXPORTS}/{export_id}"
