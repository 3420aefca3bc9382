"""List the files of a corpus, wherever it is."""

from dataclasses import replace

from interp.corpus.corpus_files import CorpusListing, list_local
from interp.domain.spec import CorpusSpec
from interp.security import allowed_files, uploads


def list_files(spec: CorpusSpec, most: int | None = None) -> CorpusListing:
    """List the first `most` entries of a corpus in the order of their names.

    Raises PathRefusedError, FileMissingError, and CorpusError for a place that cannot be listed.
    """
    if uploads.is_upload(spec.path):
        return _uploaded(spec, most)
    if "://" in spec.path:
        from interp.corpus.remote_files import list_remote  # imports the Hub's client

        return list_remote(spec, most)
    return list_local(spec, most)


def _uploaded(spec: CorpusSpec, most: int | None) -> CorpusListing:
    """List an uploaded corpus; its files' times are those of copies, and say nothing."""
    roots = uploads.roots_of(spec.path)
    with allowed_files.within(roots):
        found = list_local(spec, most, uploads.local(spec.path))
    return replace(found, files=tuple(replace(file, roots=roots, changed_ns=0) for file in found.files))
