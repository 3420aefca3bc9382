"""Compare explainers by scorers on the features that all of them have a score of."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial, reduce
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from interp.analysis.random_control import FEWEST_PAIRS, ByFeature, PairedDifference, paired_difference
from interp.analysis.significance import SIGNIFICANT
from interp.stats.intervals import t_quantile

# Features of a pair that are drawn, and those that are listed.
MOST_SAMPLED, MOST_LARGEST = 2_000, 20
NO_BASELINE = "No score has the control `baseline`, which compares with `pattern` on the same items."
Key = tuple[str, str]
Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LeagueScores:
    """One explainer's scores by one scorer, [S], features ascending.

    features int64; values, lifts, q_values float64. `over_pattern` float64 is the low end of the interval of the lift over the rule. NaN is none.
    """

    features: Integers
    values: Floats
    lifts: Floats
    q_values: Floats
    over_pattern: Floats

    @classmethod
    def of(cls, parts: Sequence[Floats]) -> "LeagueScores":
        """Return the scores of parts [n, 5] in any order."""
        rows = np.concatenate(parts)
        columns = rows[np.argsort(rows[:, 0], kind="stable")].T
        return cls(columns[0].astype(np.int64), *columns[1:])

    def among(self, features: Integers) -> "LeagueScores":
        """Return the scores of some of the features."""
        mask = np.isin(self.features, features, assume_unique=True)
        return LeagueScores(*(getattr(self, column.name)[mask] for column in fields(self)))


@dataclass(frozen=True, slots=True)
class Entry:
    """One explainer by one scorer.

    features          features with a score; `common`: those that every explainer of the scorer has one of, on which the figures are
    mean              of the values, with its 95% interval: mean ± t s / sqrt(n) over features (Student 1908)
    mean_lift         of the lifts over null
    better_than_null  share of the features with q <= 0.05 among those with a q value
    better_than_pattern  share of the features whose lift over `pattern` has an interval above 0, among those that have one; else `why`
    """

    explainer: Key
    features: int
    common: int
    mean: float | None
    interval: tuple[float, float] | None
    mean_lift: float | None
    better_than_null: float | None
    better_than_pattern: float | None
    why: str | None


@dataclass(frozen=True, slots=True)
class Difference:
    """Mean paired difference between two explainers' values over features, first minus second.

    largest  the features whose two values differ most, the most first
    sample   every `step`-th of the features that have both values, ascending
    """

    first: Key
    second: Key
    found: PairedDifference
    largest: Sequence[int]
    sample: Sequence[int]
    step: int


@dataclass(frozen=True, slots=True)
class Division:
    """All explainers by one scorer with the same settings and judge; the best first."""

    scorer: Key
    metric: str
    entries: Sequence[Entry]
    differences: Sequence[Difference]


@dataclass
class Table:
    """Scores by scorer and explainer, as they are read.

    A million features have millions of scores: they are kept as arrays, 40 bytes each.
    """

    parts: dict[tuple[Key, Key], list[Floats]] = field(default_factory=dict)
    metrics: dict[Key, str] = field(default_factory=dict)

    def add(self, rows: Iterable[Sequence[Any]]) -> None:
        """Add rows of `interp.store.results.league.scores`."""
        found: dict[tuple[Key, Key], list[tuple[Any, ...]]] = {}
        for feature, explainer, family, scorer, digest, metric, value, lift, q_value, over_pattern in rows:
            self.metrics[scorer, digest] = metric
            of = (scorer, digest), (explainer, family)
            found.setdefault(of, []).append((feature, value, lift, q_value, over_pattern))
        for of, part in found.items():
            self.parts.setdefault(of, []).append(np.array(part, dtype=np.float64))

    def divisions(self) -> list[Division]:
        """Return the table by scorer, those of most explainers first."""
        by_scorer: dict[Key, dict[Key, LeagueScores]] = {}
        for (scorer, explainer), parts in self.parts.items():
            by_scorer.setdefault(scorer, {})[explainer] = LeagueScores.of(parts)
        found = [division(scorer, self.metrics[scorer], by) for scorer, by in by_scorer.items()]
        return sorted(found, key=lambda one: (-len(one.entries), one.scorer))


def division(scorer: Key, metric: str, by_explainer: Mapping[Key, LeagueScores]) -> Division:
    """Return the entries and differences of one scorer."""
    common = reduce(partial(np.intersect1d, assume_unique=True), (own.features for own in by_explainer.values()))
    entries = [_entry(name, own, common) for name, own in by_explainer.items()]
    entries.sort(key=lambda entry: (-(entry.mean if entry.mean is not None else -np.inf), entry.explainer))
    values = {name: ByFeature(own.features, own.values) for name, own in by_explainer.items()}
    pairs = combinations([entry.explainer for entry in entries], 2)
    return Division(scorer, metric, entries, [_difference(one, other, values[one], values[other]) for one, other in pairs])


def _difference(first: Key, second: Key, own: ByFeature, others: ByFeature) -> Difference:
    both, here, there = np.intersect1d(own.features, others.features, assume_unique=True, return_indices=True)
    order = np.lexsort((both, -np.abs(own.values[here] - others.values[there])))
    step = max(1, -(-len(both) // MOST_SAMPLED))
    return Difference(first, second, paired_difference(own, others), both[order[:MOST_LARGEST]].tolist(), both[::step].tolist(), step)


def _entry(name: Key, own: LeagueScores, common: Integers) -> Entry:
    shared = own.among(common)
    compared = _known(shared.over_pattern)
    return Entry(
        explainer=name,
        features=len(own.features),
        common=len(shared.features),
        mean=_mean(shared.values),
        interval=_interval(shared.values),
        mean_lift=_mean(_known(shared.lifts)),
        better_than_null=_mean(_known(shared.q_values) <= SIGNIFICANT),
        better_than_pattern=_mean(compared > 0),
        why=None if len(compared) else NO_BASELINE,
    )


def _known(values: Floats) -> Floats:
    return values[~np.isnan(values)]


def _mean(values: NDArray[Any]) -> float | None:
    return float(values.mean()) if len(values) else None


def _interval(values: Floats) -> tuple[float, float] | None:
    if len(values) < FEWEST_PAIRS:
        return None
    half = t_quantile(0.95, len(values) - 1) * float(values.std(ddof=1)) / len(values) ** 0.5
    return float(values.mean()) - half, float(values.mean()) + half
