"""Fetch what a job names elsewhere, before its files are checked.

The processes that check files reach no network and have no token. A worker therefore fetches first, in the chunk `check`.
"""

from collections.abc import Callable

from interp.dictionary import sources
from interp.domain.spec import JobSpec
from interp.subject import location


def needs_worker(spec: JobSpec) -> bool:
    """Return whether checking the job's files needs the network."""
    return sources.is_elsewhere(spec.dictionary.source) or reads_remote_corpus(spec) or not location.is_at_hand(spec.subject)


def reads_remote_corpus(spec: JobSpec) -> bool:
    return "://" in spec.corpus.path


def fetch(spec: JobSpec, progress: Callable[[float], None] = lambda _share: None) -> JobSpec:
    """Fetch the dictionary and the subject's small files; return the spec with the dictionary's version.

    `progress` gets the share of the dictionary's bytes. Raises PathRefusedError, FileMissingError, SubjectError and DictionaryError.
    """
    if not location.is_at_hand(spec.subject):
        location.fetch_small_files(spec.subject)
    return spec.model_copy(update={"dictionary": sources.fetch(spec.dictionary, progress)})
