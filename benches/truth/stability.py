"""Measure whether planted variance components of scores are recovered, and how often their intervals hold them."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from interp.stats.variance_components import CONDITION, FEATURE, RESIDUAL, CrossedStudy, Figure

Line = dict[str, Any]
Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, tuple[int, ...]], Floats]

FEATURES = (20, 50, 200)
# Levels of each factor. Variances of feature, feature x factor (A, B, C), residual, and of each factor and the condition.
DESIGNS: tuple[tuple[tuple[int, ...], tuple[float, ...], float, float, float], ...] = (
    ((2, 2, 2), (0.002, 0.002, 0.004), 0.010, 0.004, 0.0005),
    ((3, 2), (0.0, 0.001), 0.004, 0.012, 0.0005),
    ((4,), (), 0.010, 0.006, 0.0005),
)
NAMES = ("judge", "seed", "draw")


def _lognormal(random: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    spread = 0.8
    draws = np.exp(spread * random.standard_normal(shape))
    found: Floats = (np.exp(spread**2 / 2) - draws) / np.sqrt((np.exp(spread**2) - 1) * np.exp(spread**2))
    return found


# Effects of variance 1, by tail: kurtosis 3, 1.8, 9, and 17 with a long tail of low scores.
TAILS: dict[str, Draw] = {
    "normal": lambda random, shape: random.standard_normal(shape),
    "uniform": lambda random, shape: random.uniform(-np.sqrt(3), np.sqrt(3), shape),
    "t5": lambda random, shape: random.standard_t(5, shape) * np.sqrt(3 / 5),
    "lognormal": _lognormal,
}


def coverage(runs: int) -> Iterator[Line]:
    """Give a line for each tail and number of features: the worst and the mean share of intervals that hold the truth, over designs and components.

    Besides: what all features share under a condition, whose effects are normal throughout; the reliability of one score; the mean estimate over
    the truth, of the components that are not 0.
    """
    for number, (tail, draw) in enumerate(TAILS.items()):
        for features in FEATURES:
            holds: dict[tuple[int, str], list[bool]] = {}
            shares: dict[tuple[int, str], list[float]] = {}
            for place, design in enumerate(DESIGNS):
                random = np.random.default_rng((number, features, place))
                for _ in range(runs):
                    for name, found, truth in _once(random, draw, features, design):
                        holds.setdefault((place, name), []).append(_holds(found, truth))
                        if truth > 0:
                            shares.setdefault((place, name), []).append(found.value / truth)
            yield _line(tail, features, holds, shares) | {"runs": runs}


def _line(tail: str, features: int, holds: dict[tuple[int, str], list[bool]], shares: dict[tuple[int, str], list[float]]) -> Line:
    covered = {name: float(np.mean(each)) for name, each in holds.items()}
    own = {name: share for name, share in covered.items() if name[1] in (FEATURE, RESIDUAL) or name[1].startswith(f"{FEATURE} x")}
    common = [share for name, share in covered.items() if name not in own and name[1] != "reliability"]
    reliable = [share for name, share in covered.items() if name[1] == "reliability"]
    worst = min(own.items(), key=lambda item: item[1])[0]
    recovered = [float(np.mean(each)) for name, each in shares.items() if name in own]
    return {
        "bench": "stability",
        "tail": tail,
        "features": features,
        "interval_coverage": float(np.mean(list(own.values()))),
        "worst": own[worst],
        "worst_component": "{} of design {}".format(*reversed(worst)),
        "reliability_coverage": float(np.mean(reliable)),
        "reliability_worst": min(reliable),
        "condition_coverage": float(np.mean(common)),
        "estimate_over_truth_least": min(recovered),
        "estimate_over_truth_most": max(recovered),
    }


def _once(random: np.random.Generator, draw: Draw, features: int, design: Any) -> Iterator[tuple[str, Figure, float]]:
    """Draw a table of scores, and give each figure of it with the truth."""
    counts, parts, own, rest, common = design
    levels = np.array(list(np.ndindex(*counts)))
    scores = np.sqrt(own) * draw(random, (features, 1)) + np.sqrt(rest) * draw(random, (features, len(levels)))
    scores = scores + np.sqrt(common) * random.standard_normal(len(levels))
    for place, part in enumerate(parts):
        scores += (np.sqrt(part) * draw(random, (features, counts[place])))[:, levels[:, place]]
        scores += (np.sqrt(common) * random.standard_normal(counts[place]))[levels[:, place]]
    study = CrossedStudy(scores, levels, NAMES[: len(counts)])
    truth = {FEATURE: own, RESIDUAL: rest, CONDITION: common} | {f"{FEATURE} x {NAMES[place]}": part for place, part in enumerate(parts)}
    truth |= dict.fromkeys(study.factors, common)
    # Unclipped, so that the mean over runs shows a bias; an end below 0 is reported as 0.
    for name in study.raw:
        yield name, study.combination({name: 1.0}), truth[name]
    for component in study.condition_components():
        yield component.name, Figure(component.estimate, component.low, component.high), truth[component.name]
    errors = study.error_weights({})
    yield "reliability", study.reliability(errors), own / (own + sum(weight * truth[name] for name, weight in errors.items()))


def _holds(found: Figure, truth: float) -> bool:
    """Return whether the reported interval, of which no end is below 0, holds the truth."""
    return found.low is not None and found.high is not None and max(0.0, found.low) <= truth <= max(0.0, found.high)
