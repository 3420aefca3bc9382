"""Scores with their items, intervals, nulls and controls."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Interval:
    """A two-sided interval; `method` is a name of docs/scores.md."""

    low: float
    high: float
    level: float
    method: str


@dataclass(frozen=True, slots=True)
class Item:
    """One question to a judge, and the answer.

    `context` is the context's identity, `truth` the right answer, `prediction` the judge's (None: it failed or abstained, see `failure`). For
    detection both are 0/1. For simulation they summarise the inputs of Pearson's correlation, and `detail` has the tokens' values.
    """

    context: str
    kind: str
    truth: float
    prediction: float | None
    failure: str | None = None
    detail: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class NullResult:
    """Result of the same items answered with other features' explanations.

    `lift` is the mean paired difference own minus null; `lift_reason` says why it has no interval. `p_value` is one-sided (own is better), by rank
    among the nulls; None with `reason` where not defined. `p_method` names its method. `p_paired` needs no other feature: better than each null, by
    randomisation over documents. `features` gave the explanations; `values` are their figures (`interp.score.controls.comparison.NullFigures`).
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

    `value` is the control's own figure, in this order: the score of no explanation; the score of the pattern explanation, judged alike; the agreement
    of the answers with themselves (Cohen's kappa); their agreement with the second judge's; the share of gold items answered rightly. `lift` is the
    own figure minus the control's on the same items, where both are of one kind (`empty`, `baseline`). `details` has further figures, such as counts.
    """

    name: str
    value: float | None
    lift: float | None = None
    lift_interval: Interval | None = None
    reason: str | None = None
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Score:
    """One figure for one explanation, with its interval, null, controls and items.

    An undefined figure is `value=None` with `reason`. A value without an interval also has a `reason`.
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
