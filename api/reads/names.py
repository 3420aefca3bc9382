"""Format the names of runs and corpora, and activations."""

from interp.domain.record import corpus_name as corpus_name_of
from interp.store.db.tables import DictionaryRow, RunRow


def run_name(run: RunRow, dictionary: DictionaryRow) -> str:
    return f"{dictionary.name}/{run.number}"


def corpus_name(run: RunRow) -> str:
    return corpus_name_of(run.corpus, run.identity)


def exact(value: float) -> float:
    """Return the shortest decimal of the same float32, which keeps comparisons with levels."""
    if not value:
        return 0.0  # most activations
    # Imported here: listings whose features all fire above 0 need no NumPy.
    import numpy as np

    return float(str(np.float32(value)))
