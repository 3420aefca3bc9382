"""What a scorer is, and what it gives back."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from interp.evidence import Contexts, FeatureEvidence, Split, Statistics
from interp.explain.base import Explanation
from interp.llm.base import Ability, Model
from interp.spec import ScorerSpec
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
    """The same items answered with other features' explanations. `lift` is the mean paired difference own minus null.

    `p_value` is one-sided (own is better), by rank among the nulls; None with `reason` where it is not defined. `p_method` names how it was made.
    `p_paired` needs no other feature: better than each null, by randomisation over documents. `lift_reason`: why the lift has no interval.
    `features` are whose explanations were borrowed, `values` their figures (`interp.score.compare.Rivals`).
    """

    value: float | None
    lift: float | None
    lift_interval: Interval | None
    p_value: float | None
    features: tuple[int, ...]
    reason: str | None = None
    values: tuple[float | None, ...] = ()
    lift_reason: str | None = None
    p_method: str | None = None
    p_paired: float | None = None
    p_paired_reason: str | None = None


@dataclass(frozen=True, slots=True)
class ControlResult:
    """The same score under one control: `empty`, `baseline`, `repeat`, `judge_swap` or `gold`.

    `value` is the control's own figure: of no explanation, of the pattern explanation judged alike, agreement of the answers with themselves
    (Cohen's kappa), with the second judge's, the share of known answers that came out right. `lift` is the own figure minus the control's where both
    are of one kind (`empty`, `baseline`), on the same items. `details` has what else there is to say, counts for one.
    """

    name: str
    value: float | None
    lift: float | None = None
    lift_interval: Interval | None = None
    reason: str | None = None
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Score:
    """One figure for one explanation, with all that is needed to trust or doubt it.

    Undefined is `value=None` with `reason`; a value without an interval has a `reason`, too.
    """

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
    controls: tuple[ControlResult, ...] = ()
    metrics: dict[str, float | None] = field(default_factory=dict)
    items: tuple[Item, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Foil:
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
    foils: tuple[Foil, ...] = ()
    pool: Contexts | None = None

    @classmethod
    def of(
        cls,
        evidence: FeatureEvidence,
        explanation: Explanation,
        nulls: Sequence[Explanation],
        baseline: Explanation | None = None,
        foils: Sequence[Foil] = (),
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
class ScoreDesk:
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

    async def score(self, item: ScorerInput, desk: ScoreDesk) -> Score:
        """The score. A CallFailed is counted on its items; nothing answered is an undefined score. Raises JobMustPause.

        `provenance["calls"]` lists the keys of all calls, by purpose: `{"detection": [...], "detection/null": [...]}`.
        """
        ...
