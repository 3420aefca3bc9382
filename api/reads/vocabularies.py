"""Cache the vocabularies of subjects."""

from collections import OrderedDict
from threading import Lock

from interp.domain.vocabulary import Vocabulary
from interp.store.db.engine import Session
from interp.store.listings import feature_detail

VOCABULARIES = 8


class Vocabularies:
    """A cache of the last vocabularies by subject id, a digest; entries never become stale."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Vocabulary] = OrderedDict()
        self._lock = Lock()

    def of(self, session: Session, subject_id: str) -> Vocabulary:
        """Return a subject's vocabulary; two threads may decode the same one at once."""
        with self._lock:
            found = self._known.get(subject_id)
        if found is None:
            found = Vocabulary.from_bytes(feature_detail.vocabulary_blob(session, subject_id))
        with self._lock:
            self._known[subject_id] = found
            self._known.move_to_end(subject_id)
            while len(self._known) > VOCABULARIES:
                self._known.popitem(last=False)
        return found
