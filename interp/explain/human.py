"""Labels that people write: no program explains in their place."""

from collections.abc import Sequence

from interp.domain.explanation import Explanation
from interp.domain.vocabulary import Vocabulary
from interp.explain.base import ExplainerInput


class Human:
    """Stands for people, whose labels reviews store; a job scores those that are there."""

    name = "human"
    version = 1

    def explain(self, items: Sequence[ExplainerInput], vocabulary: Vocabulary, seed: int) -> list[Explanation]:  # noqa: ARG002
        return [Explanation(item.feature, self.name, None, failure="Nobody has written a label.") for item in items]
