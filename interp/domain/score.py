"""Scores with their items, intervals, nulls and controls."""

from dataclasses import dataclass, field
from typing import Any


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
    `features` are whose explanations were borrowed, `values` their figures (`interp.score.controls.comparison.NullFigures`).
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
