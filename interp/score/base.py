"""What a scorer is, and what it gives back."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from interp.evidence import Contexts, FeatureEvidence, Split, Statistics
from interp.explain.base import Explanation
from interp.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class Interval:
    """A two-sided interval. `method` names how it was made, as docs/scores.md explains it."""

    low: float
    high: float
    level: float
    method: str


@dataclass(frozen=True, slots=True)
class Item:
    """One question that a judge was asked, and the answer.

    `context` is the context's identity, `truth` what is so, `prediction` what the judge said (None: it failed or abstained, see `failure`).
    For detection truth and prediction are 0/1; for simulation they are the Pearson inputs' summary and `detail` has the tokens' values.
    """

    context: str
    kind: str
    truth: float
    prediction: float | None
    failure: str | None = None
    detail: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class NullResult:
    """The same items answered with other features' explanations. `lift` is the paired difference own minus null.

    `p_value` is one-sided (own is better); None with `reason` where it is not defined. `features` are whose explanations were borrowed.
    """

    value: float | None
    lift: float | None
    lift_interval: Interval | None
    p_value: float | None
    features: tuple[int, ...]
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """One figure for one explanation, with all that is needed to trust or doubt it. Undefined is `value=None` with `reason`."""

    feature: int
    explainer: str
    scorer: str
    metric: str
    value: float | None
    interval: Interval | None
    reason: str | None
    answered: int
    failed: int
    abstained: int
    null: NullResult | None
    metrics: dict[str, float | None] = field(default_factory=dict)
    items: tuple[Item, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ScorerInput:
    """All that a scorer may see of a feature: test contexts alone, the exact counts, and the explanation under test."""

    feature: int
    contexts: Contexts
    statistics: Statistics
    explanation: Explanation
    nulls: tuple[Explanation, ...]

    @classmethod
    def of(cls, evidence: FeatureEvidence, explanation: Explanation, nulls: Sequence[Explanation]) -> "ScorerInput":
        return cls(evidence.feature, evidence.contexts.of(Split.TEST), evidence.statistics, explanation, tuple(nulls))


class Scorer(Protocol):
    """One way of scoring. Pure: no store, no clock, no global state."""

    name: str
    version: int

    def score(self, items: Sequence[ScorerInput], vocabulary: Vocabulary, seed: int) -> list[Score]:
        """One score an input, in the same order."""
        ...
