"""Leagues of two explainers whose true difference is known: intervals, signs and null differences of `interp.analysis.league`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from api.demo.fake_llm.readers import NoisyReader
from benches.truth.judges import InProcess, judge, oracle
from benches.truth.planted import DETECTION, item, matched, named, rates
from benches.truth.world import Meaning, World
from interp.analysis.league import Table

Line = dict[str, Any]
FEATURES = (10, 30, 100)
DIFFERENCES = (0.0, 0.02, 0.05)
# Windows of each kind that detection asks about, and the share of features that an explainer has no score of.
WINDOWS, MISSING = 20, 0.1
DRAWN = 400_000
# Shares of the features that the two explainers are wrong about, in the planted dictionary.
WRONG = ((0.3, 0.3), (0.15, 0.3))


@dataclass(frozen=True)
class Dictionary:
    """How scores of two explainers come about.

    A feature has one skill for both, `difficulty` apart from other features'; recall and specificity of each explainer are `spread` apart from it. A
    score is the balanced accuracy that a sample of windows gives.
    """

    name: str
    mean: float
    difficulty: float
    spread: float

    def true(self, random: np.random.Generator, features: int, difference: float) -> np.ndarray:
        """Return recalls and specificities of the two explainers, float64 [2, 2, F], cut to 0 and 1."""
        own = self.mean + self.difficulty * random.standard_normal(features)
        skills = own + self.spread * random.standard_normal((2, 2, features))
        skills[0] += difference
        rates: np.ndarray = np.clip(skills, 0, 1)
        return rates

    def difference(self, difference: float) -> float:
        """Return the mean difference over all features, of very many."""
        rates = self.true(np.random.default_rng(0), DRAWN, difference).mean(axis=1)
        return float((rates[0] - rates[1]).mean()) if difference else 0.0


# The last scores nearly all features right, so that most differences are 0 and a few are large.
DICTIONARIES = (Dictionary("middling", 0.75, 0.1, 0.07), Dictionary("alike", 0.75, 0.15, 0.0), Dictionary("easy", 1.0, 0.1, 0.1))


def lines(runs: int) -> Iterator[Line]:
    """Does the interval of the paired difference hold the true one, how often is its sign wrong, and how often is nothing called a difference?"""
    for number, dictionary in enumerate(DICTIONARIES):
        for features in FEATURES:
            line: Line = {"bench": "league", "case": f"{dictionary.name}, {features} features"}
            inside = []
            for difference in DIFFERENCES:
                true = dictionary.difference(difference)
                found = np.array([interval(dictionary, features, difference, np.random.default_rng((number, features, run))) for run in range(runs)])
                low, high = found.T
                inside.append(np.mean((low <= true) & (true <= high)))
                if difference:
                    line[f"sign_errors_{difference}"] = np.mean(high < 0)
                    line[f"found_{difference}"] = np.mean(low > 0)
                else:
                    line["null_false_positive_rate"] = np.mean((low > 0) | (high < 0))
            yield line | {"interval_coverage": np.mean(inside), "worst_of_differences": min(inside), "runs": runs * len(DIFFERENCES)}


def interval(dictionary: Dictionary, features: int, difference: float, random: np.random.Generator) -> tuple[float, float]:
    """Return the interval of two explainers whose scores are drawn."""
    hits = random.binomial(WINDOWS, dictionary.true(random, features, difference))
    return table_interval(hits.mean(axis=1) / WINDOWS, random.random((2, features)) >= MISSING)


def table_interval(values: np.ndarray, is_scored: np.ndarray) -> tuple[float, float]:
    """Return the table's interval of the first explainer's mean minus the second's, from values [2, F]; the widest where there is none."""
    table = Table()
    for name, own, some in zip(("first", "second"), values, is_scored, strict=True):
        table.add(
            (feature, name, "", "detection", "", "balanced_accuracy", float(own[feature]), None, None, None) for feature in np.flatnonzero(some)
        )
    ((found,),) = (division.differences for division in table.divisions())
    if found.found.interval is None:
        return -1.0, 1.0
    low, high = found.found.interval
    return (low, high) if found.first[0] == "first" else (-high, -low)


def on_planted(world: World, seeds: int, runs: int) -> Iterator[Line]:
    """The same with scores of the planted dictionary, of two explainers that are wrong about some features, by a judge who errs in 10%.

    Features are drawn from the dictionary with replacement. The true difference is that of the figures that the judge reaches on all test windows.
    """
    names = named(world)
    reader = NoisyReader(oracle(world), 0.9, 0.1)
    other = {feature: world.meanings[borrowed[0]] for feature, borrowed in matched(world, names, 1, 0).items()}
    labels = [[(feature, world.meanings[feature]) for feature in names], [(feature, other[feature]) for feature in names]]
    true = np.array([[np.mean(rates(reader, world, feature, label)) for feature, label in own] for own in labels])
    # Figures of right and of wrong labels, float64 [seeds, 2, F].
    scores = np.array([[_values(world, reader, own, seed) for own in labels] for seed in range(seeds)])
    for features in FEATURES:
        line: Line = {"bench": "league_planted", "case": f"{features} features"}
        inside = []
        for wrong in WRONG:
            random = np.random.default_rng(features)
            found = np.array([_drawn(scores, features, wrong, random) for _ in range(runs)])
            difference = float((wrong[1] - wrong[0]) * (true[0] - true[1]).mean())
            inside.append(np.mean((found[:, 0] <= difference) & (difference <= found[:, 1])))
            if difference:
                line |= {"difference": difference, "sign_errors": np.mean(found[:, 1] < 0), "found": np.mean(found[:, 0] > 0)}
            else:
                line["null_false_positive_rate"] = np.mean((found[:, 0] > 0) | (found[:, 1] < 0))
        yield line | {"interval_coverage": np.mean(inside), "runs": runs * len(WRONG)}


def _values(world: World, reader: NoisyReader, labels: list[tuple[int, Meaning]], seed: int) -> list[float]:
    scores = judge(InProcess(reader), DETECTION, [item(world, feature, label, seed=seed) for feature, label in labels], world.vocabulary, seed)
    return [score.value or 0.0 for score in scores]


def _drawn(scores: np.ndarray, features: int, wrong: tuple[float, float], random: np.random.Generator) -> tuple[float, float]:
    """Return the interval of explainers that are wrong about features of chance, of a sample of features."""
    seeds, places = random.integers(0, len(scores), features), random.integers(0, scores.shape[2], features)
    is_wrong = (random.random((2, features)) < np.array(wrong)[:, None]).astype(np.intp)
    values = scores[seeds, is_wrong, places]
    return table_interval(values, np.ones_like(values, dtype=np.bool_))
