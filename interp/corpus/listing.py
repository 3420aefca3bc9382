"""List the files of a corpus, wherever it is."""

from interp.corpus.corpus_files import CorpusListing, list_local
from interp.domain.spec import CorpusSpec


def list_files(spec: CorpusSpec, most: int | None = None) -> CorpusListing:
    """List the first `most` entries of a corpus in the order of their names.

    Raises PathRefusedError, FileMissingError, and CorpusError for a place that cannot be listed.
    """
    if "://" in spec.path:
        from interp.corpus.remote_files import list_remote  # imports the Hub's client

        return list_remote(spec, most)
    return list_local(spec, most)
