"""A cache of subjects' vocabularies."""

from collections import OrderedDict
from threading import Lock

from interp.domain.vocabulary import Vocabulary
from interp.store.db.engine import Session
from interp.store.listings import feature_detail

VOCABULARIES = 8


class Vocabularies:
    """A cache of the vocabularies of the last few subjects. A subject's id is its digest, so no entry becomes stale."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Vocabulary] = OrderedDict()
        self._lock = Lock()

    def of(self, session: Session, subject_id: str) -> Vocabulary:
        """Return the vocabulary of a subject. Two threads may decode the same one at once, which costs time alone."""
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
