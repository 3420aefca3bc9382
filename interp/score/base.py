"""What a scorer is, and what it gives back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from interp.domain.evidence import Contexts, FeatureEvidence, Split, Statistics
from interp.domain.explanation import Explanation
from interp.domain.score import Score
from interp.domain.spec import ScorerSpec
from interp.domain.vocabulary import Vocabulary
from interp.llm.base import Ability, Model


@dataclass(frozen=True, slots=True)
class Distractor:
    """Another feature's test contexts, for scorers that make the judge choose."""

    feature: int
    contexts: Contexts


@dataclass(frozen=True, slots=True)
class ScorerInput:
    """All that a scorer may see of a feature: test contexts alone, the exact counts, and the explanation under test.

    `baseline` is the `pattern` explanation of the same feature where the job asks for that control and there is one. `pool` are test windows drawn at
    random, the same for all features of a job; their activations are other features' and say nothing of this one.
    """

    feature: int
    contexts: Contexts
    statistics: Statistics
    explanation: Explanation
    nulls: tuple[Explanation, ...]
    baseline: Explanation | None = None
    foils: tuple[Distractor, ...] = ()
    pool: Contexts | None = None

    @classmethod
    def of(
        cls,
        evidence: FeatureEvidence,
        explanation: Explanation,
        nulls: Sequence[Explanation],
        baseline: Explanation | None = None,
        foils: Sequence[Distractor] = (),
        pool: Contexts | None = None,
    ) -> "ScorerInput":
        return cls(evidence.feature, evidence.contexts.of(Split.TEST), evidence.statistics, explanation, tuple(nulls), baseline, tuple(foils), pool)


class Scorer(Protocol):
    """One way of scoring with the executable judge. Pure: no store, no clock, no global state."""

    name: str
    version: int

    def score(self, items: Sequence[ScorerInput], vocabulary: Vocabulary, seed: int) -> list[Score]:
        """One score an input, in the same order."""
        ...


@dataclass(frozen=True, slots=True)
class ScoreContext:
    """What a scorer that asks a language model works with. `controls` are those of the job that this scorer is to make itself
    (`empty`, `baseline`, `repeat`, `judge_swap`, `gold`); nulls come with the input."""

    vocabulary: Vocabulary
    seed: int
    judge: Model
    second_judge: Model | None = None
    embedder: Model | None = None
    controls: frozenset[str] = frozenset()
    control_share: float = 0.1
    gold_items: int = 6


class LlmScorer(Protocol):
    """One way of scoring with a language model. Pure but for the calls it makes through the desk's models."""

    name: str
    version: int
    metric: str
    needs: frozenset[Ability]
    needs_foils: bool
    spec: ScorerSpec

    async def score(self, item: ScorerInput, desk: ScoreContext) -> Score:
        """The score. A CallFailed is counted on its items; nothing answered is an undefined score. Raises JobMustPause.

        `provenance["calls"]` lists the keys of all calls, by purpose: `{"detection": [...], "detection/null": [...]}`.
        """
        ...
