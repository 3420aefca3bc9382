"""Define the interfaces of explainers, and their input."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from interp.domain.evidence import Contexts, FeatureEvidence, Split
from interp.domain.explanation import Explanation
from interp.domain.spec import ExplainerSpec
from interp.domain.vocabulary import Vocabulary
from interp.explain.proposal import TriedRound
from interp.llm.base import Model


@dataclass(frozen=True, slots=True)
class TokenChanges:
    """Tokens that become likelier, and less likely, where a feature's direction is added.

    The strongest change first. `why` says why there are none.
    """

    up: tuple[str, ...]
    down: tuple[str, ...]
    why: str | None = None


@dataclass(frozen=True, slots=True)
class ExplainerInput:
    """All data of one feature that an explainer may read, without test contexts.

    `window_density` is the share of the explain split's windows in which it fires; None where that is not known. `rounds` are the texts that the
    explainer itself had tried on the subject, if it does; `changes` were measured on explain documents, where an explainer needs them.
    """

    feature: int
    contexts: Contexts
    promoted: tuple[str, ...]
    suppressed: tuple[str, ...]
    is_dead: bool
    window_density: float | None = None
    rounds: tuple[TriedRound, ...] = ()
    changes: TokenChanges | None = None

    @classmethod
    def of(cls, evidence: FeatureEvidence, vocabulary: Vocabulary) -> "ExplainerInput":
        return cls(
            feature=evidence.feature,
            contexts=evidence.contexts.of(Split.EXPLAIN),
            promoted=tuple(vocabulary.text(effect.token) for effect in evidence.promoted),
            suppressed=tuple(vocabulary.text(effect.token) for effect in evidence.suppressed),
            is_dead=evidence.statistics.is_dead,
            window_density=evidence.statistics.window_density(Split.EXPLAIN) if evidence.statistics.windows_seen[Split.EXPLAIN] else None,
        )

    def obstacle(self) -> str | None:
        """Return why the feature cannot be explained from contexts, or None."""
        if self.is_dead:
            return "The feature never fired on the corpus."
        if not self.contexts.fires().any():
            return "The feature fires in no explain context, so there is nothing to explain it from."
        return None


class Explainer(Protocol):
    """An explainer without a language model, store, clock or global state."""

    name: str
    version: int

    def explain(self, items: Sequence[ExplainerInput], vocabulary: Vocabulary, seed: int) -> list[Explanation]:
        """Return one explanation per input, in the same order."""
        ...


@dataclass(frozen=True, slots=True)
class ExplainContext:
    """The vocabulary, seed and models of an explainer that calls a language model.

    `judge` is the explainer's model where the job has no judge. `embedder` is None where the job names no embedding model.
    """

    vocabulary: Vocabulary
    seed: int
    model: Model
    judge: Model
    embedder: Model | None = None


class LlmExplainer:
    """An explainer that calls language models, and has no other side effect."""

    name: str
    version = 2

    def __init__(self, spec: ExplainerSpec) -> None:
        self.spec = spec

    async def explain(self, item: ExplainerInput, context: ExplainContext) -> Explanation:
        """Return the explanation, or a failure for a failed call. Raises JobPausedError."""
        raise NotImplementedError
