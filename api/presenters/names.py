"""What runs and corpora are called."""

from interp.store.db.tables import DictionaryRow, RunRow


def run_name(run: RunRow, dictionary: DictionaryRow) -> str:
    """The run's address."""
    return f"{dictionary.name}/{run.number}"


def corpus_name(run: RunRow) -> str:
    """The last part of the corpus's path; the start of its digest where it has none."""
    path = str(run.corpus.get("path") or "").rstrip("/")
    return path.rpartition("/")[2] or str((run.identity.get("corpus") or {}).get("digest", "unknown"))[:12]
