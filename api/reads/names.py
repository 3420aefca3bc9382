"""Format the names of runs and corpora, and activations."""

from interp.store.db.tables import DictionaryRow, RunRow


def run_name(run: RunRow, dictionary: DictionaryRow) -> str:
    return f"{dictionary.name}/{run.number}"


def corpus_name(run: RunRow) -> str:
    """Return the last part of the corpus' path; else the start of its digest."""
    path = str(run.corpus.get("path") or "").rstrip("/")
    return path.rpartition("/")[2] or str((run.identity.get("corpus") or {}).get("digest", "unknown"))[:12]


def exact(value: float) -> float:
    """Return the shortest decimal of the same float32, which keeps comparisons with levels."""
    if not value:
        return 0.0  # most activations
    # Imported here: listings whose features all fire above 0 need no NumPy.
    import numpy as np

    return float(str(np.float32(value)))
