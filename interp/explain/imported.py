"""Take labels that others wrote: people, other tools, other methods."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from interp.domain.cleaning import lines
from interp.domain.explanation import Explanation
from interp.domain.vocabulary import Vocabulary
from interp.explain.base import ExplainerInput

NO_LABEL = "No label of this feature was imported."
# On explanations and their scores: what cannot be known of a label that was made elsewhere.
UNKNOWN_SPLIT = "The label was made elsewhere: whether its author saw texts of the test split, on which it is scored, cannot be known."


@dataclass(frozen=True, slots=True)
class ForeignLabel:
    """A label from elsewhere, with what is known of its making."""

    text: str
    provenance: Mapping[str, Any] = field(default_factory=dict)


class Imported:
    """`imported`: labels that were made elsewhere, scored like any other."""

    name = "imported"
    version = 1

    def __init__(self, labels: Mapping[int, ForeignLabel]) -> None:
        self.labels = labels

    def explain(self, items: Sequence[ExplainerInput], vocabulary: Vocabulary, seed: int) -> list[Explanation]:  # noqa: ARG002
        return [self._one(item.feature) for item in items]

    def _one(self, feature: int) -> Explanation:
        found = self.labels.get(feature)
        text = "" if found is None else " ".join(lines(found.text).split())
        if found is None or not text:
            return Explanation(feature, self.name, None, failure=NO_LABEL)
        return Explanation(feature, self.name, text, provenance={**found.provenance, "test_split": UNKNOWN_SPLIT})
