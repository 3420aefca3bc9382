"""What an explainer is, and what it gives back."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from interp.evidence import Contexts, FeatureEvidence, Split
from interp.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class Explanation:
    """A label with its provenance, or the reason why there is none. Exactly one of `text` and `failure` is set.

    `rule` is the executable form of the label, when it has one: JSON that `interp.explain.pattern` can run.
    `provenance` holds what made it: prompt digest, model, seed, settings, ids of the contexts shown.
    """

    feature: int
    explainer: str
    text: str | None
    failure: str | None = None
    rule: dict[str, Any] | None = None
    provenance: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ExplainerInput:
    """All that an explainer may see of a feature: explain contexts alone, so that a leak needs more than a slip."""

    feature: int
    contexts: Contexts
    promoted: tuple[str, ...]
    suppressed: tuple[str, ...]
    is_dead: bool

    @classmethod
    def of(cls, evidence: FeatureEvidence, vocabulary: Vocabulary) -> "ExplainerInput":
        return cls(
            feature=evidence.feature,
            contexts=evidence.contexts.of(Split.EXPLAIN),
            promoted=tuple(vocabulary.text(effect.token) for effect in evidence.promoted),
            suppressed=tuple(vocabulary.text(effect.token) for effect in evidence.suppressed),
            is_dead=evidence.statistics.is_dead,
        )


class Explainer(Protocol):
    """One way of writing labels. Pure: no store, no clock, no global state."""

    name: str
    version: int

    def explain(self, items: Sequence[ExplainerInput], vocabulary: Vocabulary, seed: int) -> list[Explanation]:
        """One explanation an input, in the same order."""
        ...
