"""Verdict of a health report: each headline figure beside that of random directions.

With the control `random_dictionary` the other figure is the control's, whose features fire as often. Without it, it is what stands beside in the
report itself: an ablation, random directions, permuted labels.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from interp.domain.check_report import Figure
from interp.stats.intervals import Bounds, wilson

# Critical value of a 95% interval.
NORMAL = 1.96
Verdict = Literal["better", "worse", "higher", "lower", "not told apart", "not compared"]
CONTROL, NO_CONTROL = "random directions", "The job had no control random_dictionary."
NONE = "Neither has one."
NOT_MEASURED = "It was not measured."
EXACT = "Both are counted, not sampled: there is no error to estimate."
Report = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class VerdictLine:
    """A headline figure `trained`, the `control` one beside it, and which is better.

    `against` says what the control is. `difference` is trained - control, with its 95% interval from `low` to `high` or the reason (`why`) that there
    is none. `verdict` is "not told apart" where the interval has 0 in it, and "higher" or "lower" of a figure for which neither is better.
    """

    figure: str
    trained: float | None
    control: float | None
    against: str
    difference: float | None
    low: float | None
    high: float | None
    verdict: Verdict
    why: str | None
    sentence: str


@dataclass(frozen=True, slots=True)
class Headline:
    """A figure of the report that the verdict has a line for.

    `better` is 1 where higher is better, -1 where lower is, else 0. `take` finds it in a report, `beside` what stands beside it; `against` says what
    that is. `is_count` of a number of features or pairs.
    """

    title: str
    better: int
    take: Callable[[Report], Figure]
    beside: Callable[[Report], Figure] | None = None
    against: str = ""
    is_count: bool = False


def verdict(report: Report, control: Report | None = None, scores: Mapping[str, Any] | None = None) -> list[VerdictLine]:
    """Return a line for each headline figure of a report as it is stored.

    `control` is the report of the dictionary of random directions, `scores` the summary's comparison with it, by scorer. Figures of both reports are
    of the same tokens: where these make both high together, the interval of two independent errors is too wide. Counts are compared as two Poisson
    counts: the share of one in their sum, which is half where rates are equal, has Wilson's interval (Przyborowski and Wilenski, Biometrika 31,
    1940). Scores are paired by feature (`interp.analysis.random_control`).
    """
    lines = [_line(headline, report, control) for headline in HEADLINES]
    return lines + ([_not_compared("score", None, NO_CONTROL)] if scores is None else [_score(name, found) for name, found in scores.items()])


def _line(of: Headline, report: Report, control: Report | None) -> VerdictLine:
    own = of.take(report)
    take, where, against = (of.take, control, CONTROL) if control is not None else (of.beside, report, of.against)
    if own.value is None or take is None or where is None:
        return _not_compared(of.title, own.value, own.why or NO_CONTROL)
    other = take(where)
    if other.value is None:
        return _not_compared(of.title, own.value, f"Of {against}: {other.why}")
    bounds = _of_counts(own.value, other.value) if of.is_count else _independent(own, other)
    return _told(of.title, of.better, own.value, other.value, against, bounds, None if bounds else NONE if of.is_count else EXACT)


def _score(name: str, found: Mapping[str, Any]) -> VerdictLine:
    """Return the line of a scorer's values, paired by feature."""
    if found["difference"] is None or found["interval"] is None:
        return _not_compared(f"{name} score", None, found["why"])
    own = None if found["median"] is None or found["lift"] is None else found["median"] + found["lift"]
    bounds = (found["interval"][0], found["interval"][1])
    return _told(f"median {name} score", 1, own, found["median"], CONTROL, bounds, None, found["difference"])


def _independent(own: Figure, other: Figure) -> Bounds | None:
    errors = [of.standard_error for of in (own, other) if of.standard_error is not None]
    if not errors or own.value is None or other.value is None:
        return None
    half, difference = NORMAL * sum(error**2 for error in errors) ** 0.5, own.value - other.value
    return difference - half, difference + half


def _of_counts(own: float, other: float) -> Bounds | None:
    if not (total := own + other):
        return None
    low, high = wilson(own / total, total, NORMAL)
    return (2 * low - 1) * total, (2 * high - 1) * total


def _told(
    title: str, better: int, own: float | None, other: float | None, against: str, bounds: Bounds | None, why: str | None, mean: float | None = None
) -> VerdictLine:
    """Return the line of a comparison.

    `mean` is a paired difference, which need not be that of the two figures.
    """
    difference = mean if mean is not None else (own or 0) - (other or 0)
    low, high = bounds or (difference, difference)
    ends = bounds or (None, None)
    sign = 1 if low > 0 else -1 if high < 0 else 0
    found: Verdict = "not told apart"
    if sign:
        found = ("higher" if sign > 0 else "lower") if not better else "better" if sign == better else "worse"
    what = "paired difference" if mean is not None else "difference"
    shown = f" (95% {low:+.4g} to {high:+.4g})" if bounds else ""
    sentence = f"{title[0].upper()}{title[1:]} is {_shown(own)}, and {_shown(other)} of {against}: {what} {difference:+.4g}{shown}."
    return VerdictLine(title, own, other, against, difference, ends[0], ends[1], found, why, sentence)


def _not_compared(title: str, own: float | None, why: str | None) -> VerdictLine:
    known = "" if own is None else f" is {_shown(own)}, and"
    why = why or NOT_MEASURED
    return VerdictLine(title, own, None, "", None, None, None, "not compared", why, f"{title[0].upper()}{title[1:]}{known} is not compared. {why}")


def _shown(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4g}"


def _at(*place: str) -> Callable[[Report], Figure]:
    """Return what reads the figure, or count, at a place of a report."""

    def take(report: Report) -> Figure:
        found: Any = report
        for name in place:
            if isinstance(found, Mapping) and found.get("why"):
                return Figure(None, why=str(found["why"]))
            found = found.get(name) if isinstance(found, Mapping) else None
        if isinstance(found, int | float):
            return Figure(float(found))
        return Figure(found["value"], found["standard_error"], found["why"]) if isinstance(found, Mapping) else Figure(None, why=NOT_MEASURED)

    return take


def _fixed(value: float) -> Callable[[Report], Figure]:
    return lambda _report: Figure(value)


def _nearest(name: str) -> Callable[[Report], Figure]:
    """Return what reads the mean cosine to the nearest feature: `mean` or `random_mean`."""
    return lambda report: next((_at(name)(one) for one in report["geometry"]["nearest"] if one["rank"] == 1), Figure(None, why=NOT_MEASURED))


def _excess(report: Report) -> Figure:
    """Return the mean cosine to the nearest feature over that of random directions."""
    own, random = _nearest("mean")(report), _nearest("random_mean")(report)
    if own.value is None or random.value is None:
        return Figure(None, why=own.why or random.why)
    errors = [of.standard_error for of in (own, random) if of.standard_error is not None]
    return Figure(own.value - random.value, sum(error**2 for error in errors) ** 0.5 if errors else None)


def _probing(probe: str, *place: str) -> Callable[[Report], Figure]:
    """Return what averages a probe's figure over the classes of tokens that have one.

    Classes are of the same documents, so that the error of the mean is at most the mean of the errors, which it is given as.
    """

    def take(report: Report) -> Figure:
        probes = [one for concept in report["concepts"]["concepts"] for one in concept["probes"] if one["probe"] == probe]
        found = [figure for one in probes if (figure := _at(*place)(one)).value is not None]
        if not found:
            return Figure(None, why="No class of tokens has such a probe.")
        mean = sum(figure.value or 0 for figure in found) / len(found)
        return Figure(mean, sum(figure.standard_error or 0 for figure in found) / len(found))

    return take


HEADLINES: Sequence[Headline] = (
    Headline("L0", 0, _at("activity", "l0")),
    Headline("loss recovered", 1, _at("reconstruction", "splicing", "score"), _fixed(0), "zeros in place of the activations"),
    Headline("loss recovered over the mean", 1, _at("reconstruction", "splicing", "score_mean"), _fixed(0), "the mean in place of the activations"),
    Headline("nats lost", -1, _at("reconstruction", "splicing", "nats_lost")),
    Headline("KL", -1, _at("reconstruction", "splicing", "kl"), _at("reconstruction", "splicing", "kl_mean"), "the mean in place of the activations"),
    Headline("FVU", -1, _at("reconstruction", "error", "fvu"), _fixed(1), "the mean in place of the activations"),
    Headline("number of dead features", -1, _at("activity", "dead", "count"), is_count=True),
    Headline("cosine to the nearest feature over random directions", 0, _excess, _fixed(0), "random directions"),
    Headline("AUROC of the best feature", 1, _probing("single", "auroc"), _probing("single", "null", "mean"), "permuted labels"),
    Headline("AUROC of 16 features", 1, _probing("sparse-16", "auroc"), _probing("sparse-16", "null", "mean"), "permuted labels"),
    Headline("number of composites", 0, _at("cofiring", "composite_count"), is_count=True),
    Headline("number of implied features", 0, _at("cofiring", "implied_count"), is_count=True),
    Headline("number of splits", -1, _at("cofiring", "splits", "count"), is_count=True),
)
