"""What an explainer is, and what it gives back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from interp.domain.evidence import Contexts, FeatureEvidence, Split
from interp.domain.explanation import Explanation
from interp.domain.spec import ExplainerSpec
from interp.domain.vocabulary import Vocabulary
from interp.llm.base import Ability, Model


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
    """One way of writing labels without a language model. Pure: no store, no clock, no global state."""

    name: str
    version: int

    def explain(self, items: Sequence[ExplainerInput], vocabulary: Vocabulary, seed: int) -> list[Explanation]:
        """One explanation an input, in the same order."""
        ...


@dataclass(frozen=True, slots=True)
class ExplainContext:
    """What an explainer that asks a language model works with. `judge` answers its own checks (the explainer's model when the job has no judge);
    `embedder` is None where the job names no embedding model."""

    vocabulary: Vocabulary
    seed: int
    model: Model
    judge: Model
    embedder: Model | None = None


class LlmExplainer(Protocol):
    """One way of having labels written by a language model. Pure but for the calls it makes through the desk's models."""

    name: str
    version: int
    needs: frozenset[Ability]
    spec: ExplainerSpec

    async def explain(self, item: ExplainerInput, desk: ExplainContext) -> Explanation:
        """The explanation, or the reason why there is none (a CallFailed becomes a failure). Raises JobMustPause."""
        ...
