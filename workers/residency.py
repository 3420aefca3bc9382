"""Models that stay open between chunks, so that a worker loads each once."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from interp.dictionary.module import Dictionary, open_dictionary
from interp.errors import WidthMismatch
from interp.identity import dictionary_digest, subject_digest
from interp.spec import JobSpec
from interp.subject.base import Subject, open_subject
from interp.subject.location import read_config, subject_name

Model = TypeVar("Model")


class Shelf(Generic[Model]):
    """The models used last, by what decides them; the one used longest ago goes first. Not for several threads at once."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._models: OrderedDict[Any, Model] = OrderedDict()

    def get(self, key: Any, load: Callable[[], Model]) -> Model:
        """The model under the key, loaded when it is not there. The old one goes before the new one is loaded."""
        if key not in self._models:
            while len(self._models) >= self._room:
                self._models.popitem(last=False)
            self._models[key] = load()
        self._models.move_to_end(key)
        return self._models[key]


@dataclass(frozen=True)
class Models:
    """A subject and a dictionary that fit each other, on the subject's device."""

    subject: Subject
    dictionary: Dictionary


SUBJECTS: Shelf[Subject] = Shelf(room=1)
DICTIONARIES: Shelf[Dictionary] = Shelf(room=2)


def models_of(spec: JobSpec) -> Models:
    """The job's models, from the shelves if they are there with the same content. Raises what opening raises, and WidthMismatch."""
    model = subject_name(spec.subject, read_config(spec.subject))
    named = (spec.dictionary.model_dump_json(), model, dictionary_digest(spec.dictionary))
    dictionary = DICTIONARIES.get(named, lambda: open_dictionary(spec.dictionary, model))
    key = (spec.subject.model_dump_json(), subject_digest(spec.subject), dictionary.hook_point)
    subject = SUBJECTS.get(key, lambda: open_subject(spec.subject, dictionary.hook_point))
    if subject.width != dictionary.width:
        raise WidthMismatch(
            f"{dictionary.name} reads {dictionary.width} numbers a token, {subject.name} has {subject.width} at {subject.hook_point}.",
            cure="Check that the dictionary was trained on this subject, at this hook point.",
            dictionary_width=dictionary.width,
            subject_width=subject.width,
        )
    return Models(subject, dictionary)
