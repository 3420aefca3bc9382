"""Experiments on nulls: twins among them, unanswered items, p values from a feature's own nulls, and lifts without an interval."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from benches.truth.planted import item, matched, named
from benches.truth.world import World
from interp.collect.neighbours import nearest
from interp.domain.evidence import Neighbour
from interp.domain.score import Score
from interp.domain.spec import CollectionSpec, ScorerSpec
from interp.judge.verdicts import AnswerStatus, Verdicts
from interp.score import registry
from interp.score.items.nulls import choose_nulls, twins_of
from interp.score.items.sampling import sample
from interp.score.items.test_set import TestSet
from interp.score.scorers.binary_metrics import BalancedAccuracy

Line = dict[str, Any]
NULLS, WIDTH, LIKENESS = 20, 256, 0.6


def twins(pairs: int = 500, seed: int = 0) -> Line:
    """Each feature has a twin: as often active, a label as long, a decoder direction of cosine 0.6. How often is it a null?"""
    random = np.random.default_rng(seed)
    base, noise = random.standard_normal((2, pairs, WIDTH)) / np.sqrt(WIDTH)
    directions = np.empty((2 * pairs, WIDTH), dtype=np.float32)
    directions[::2], directions[1::2] = base, LIKENESS * base + np.sqrt(1 - LIKENESS**2) * noise
    features = list(range(2 * pairs))
    found, cosines = nearest(torch.from_numpy(directions), torch.arange(2 * pairs), CollectionSpec().neighbours)
    listed = [[Neighbour(*pair) for pair in zip(*row, strict=True)] for row in zip(found.tolist(), cosines.tolist(), strict=True)]
    densities, lengths = np.repeat(10 ** random.uniform(-4, -1, pairs), 2), np.repeat(random.integers(10, 200, pairs), 2)
    shares = {}
    for case, never in (("all", None), ("apart", {feature: twins_of(near) for feature, near in zip(features, listed, strict=True)})):
        chosen = choose_nulls(features, densities, lengths, NULLS, seed, never)
        shares[case] = np.mean([feature ^ 1 in nulls for feature, nulls in zip(features, chosen, strict=True)])
    return {"bench": "twins", "twin_null_share": shares["apart"], "without_a_bound": shares["all"], "nulls": NULLS, "runs": 2 * pairs}


def abstention(world: World, seeds: int, nulls: int = 2) -> Line:
    """Explanations of equal skill, right about nine of ten easy windows and half of the hard ones; the own one is unsure about these."""
    lifts, unpaired = [], []
    for seed in range(seeds):
        for feature in named(world):
            found = item(world, feature, world.meanings[feature], seed=seed)
            test_set = sample(TestSet.of(found.contexts, found.statistics), 20, 20, seed, feature)
            random = np.random.default_rng((seed, feature, 7))
            is_hard = random.random(len(test_set)) < 0.5
            is_right = random.random((1 + nulls, len(test_set))) < np.where(is_hard, 0.5, 0.9)
            said = np.where(is_right, test_set.truth, ~test_set.truth)
            answered = np.ones_like(said)
            answered[0, is_hard] = False
            measure = BalancedAccuracy(test_set, Verdicts(said, np.where(answered, AnswerStatus.ANSWERED, AnswerStatus.FAILED)))
            own = measure.figure()
            lifts.append(own.value - measure.null_figures(own, nulls).values.mean())
            unpaired.append(own.value - measure.measured(slice(1, None), answered[1:]).values.mean())
    error = 1.96 * float(np.std(lifts)) / np.sqrt(len(lifts))
    return {
        "bench": "abstention",
        "abstention_lift": np.mean(lifts),
        "noise": error,
        "on_what_each_answered": np.mean(unpaired),
        "runs": len(lifts),
    }


def paired(world: World, swaps: int) -> Iterator[Line]:
    """Swapped explanations and right ones: how often is the p value of a feature's own at most 0.05, and which lifts lack an interval?"""
    features = [feature for feature in named(world) if world.meanings[feature].rule is not None]
    for nulls in (2, NULLS):
        swapped, right = [], []
        for swap in range(swaps):
            for feature, others in matched(world, features, nulls + 1, swap).items():
                borrowed = np.random.default_rng((swap, feature)).permutation(others).tolist()
                swapped.append(item(world, feature, world.meanings[borrowed[0]], borrowed[1:], seed=swap))
                right.append(item(world, feature, world.meanings[feature], borrowed[1:], seed=swap))
        for name in ("detection", "simulation"):
            scorer = registry.get(ScorerSpec(name=name))
            found = scorer.score(swapped, world.vocabulary, 0)
            p, power = (_paired_p(scores) for scores in (found, scorer.score(right, world.vocabulary, 0)))
            yield {
                "bench": "paired",
                "case": f"{name}, {nulls} nulls",
                "paired_false_positive_rate": np.mean(p <= 0.05),
                "p_at_most_0.01": np.mean(p <= 0.01),
                "right_ones_at_most_0.05": np.mean(power <= 0.05),
                "undefined": len(found) - len(p),
                "lifts_without_interval": np.mean([_lacks(score, False) for score in found]),
                "lifts_without_interval_or_reason": np.mean([_lacks(score, True) for score in found]),
                "runs": len(found),
            }


def _paired_p(scores: list[Score]) -> np.ndarray:
    return np.array([score.null.p_paired for score in scores if score.null is not None and score.null.p_paired is not None])


def _lacks(score: Score, unexplained: bool) -> bool:
    null = score.null
    return null is not None and null.lift is not None and null.lift_interval is None and not (unexplained and null.lift_reason)
