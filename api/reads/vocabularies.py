"""Vocabularies of subjects, kept while they are used."""

from collections import OrderedDict
from threading import Lock

from interp.domain.vocabulary import Vocabulary
from interp.store.db.engine import Session
from interp.store.listings import feature_detail

VOCABULARIES = 8


class Vocabularies:
    """The vocabularies of the last few subjects, unpacked once. A subject's id is its digest, so none ever goes stale."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Vocabulary] = OrderedDict()
        self._lock = Lock()

    def of(self, session: Session, subject_id: str) -> Vocabulary:
        """The vocabulary of a subject. Endpoints run in threads: two may unpack the same one at once, which costs time and nothing else."""
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
