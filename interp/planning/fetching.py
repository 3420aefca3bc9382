"""Fetch what a job names elsewhere, before its files are checked.

The processes that check files reach no network and have no token. A worker therefore fetches first, in the chunk `check`.
"""

from collections.abc import Callable

from interp.dictionary import sources
from interp.domain.spec import JobSpec
from interp.security import uploads
from interp.subject import location
from interp.subject.gguf.folder import convert_once, is_gguf

# Share of the conversion of a subject's GGUF file.
CONVERTED = 0.5


def needs_worker(spec: JobSpec) -> bool:
    """Return whether checking the job's files needs the network, or a conversion."""
    return (
        not all(uploads.folder_of(upload_id).is_dir() for upload_id in uploads.named_in(spec))
        or any(sources.is_elsewhere(one.dictionary.source) for one in spec.each)
        or reads_remote_corpus(spec)
        or is_gguf(spec.subject.model)
        or not location.is_at_hand(spec.subject)
    )


def reads_remote_corpus(spec: JobSpec) -> bool:
    return "://" in spec.corpus.path and not uploads.is_upload(spec.corpus.path)


def fetch(spec: JobSpec, progress: Callable[[float], None] = lambda _share: None) -> JobSpec:
    """Fetch dictionaries and the subject's small files; return the spec with the versions that came.

    A subject's GGUF file is converted. `progress` gets the share of that, and of the dictionaries' bytes. Raises PathRefusedError, FileMissingError,
    SubjectError, DictionaryError and DiskFullError.
    """
    before = CONVERTED if is_gguf(spec.subject.model) else 0.0
    if before:
        convert_once(spec.subject.model, lambda share: progress(before * share))
    if not location.is_at_hand(spec.subject):
        location.fetch_small_files(spec.subject)
    each = [one.dictionary for one in spec.each]
    return spec.with_dictionaries([sources.fetch(one, _part(progress, before, place, len(each))) for place, one in enumerate(each)])


def _part(progress: Callable[[float], None], before: float, place: int, count: int) -> Callable[[float], None]:
    return lambda share: progress(before + (1 - before) * (place + share) / count)
