"""The best explanation is by a total order.

Neither the order of writing nor a worse newcomer changes it.
"""

from dataclasses import astuple, dataclass, replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interp.score import best, registry
from interp.score.best import ORDER, BestSoFar


@dataclass(frozen=True)
class Pair:
    """An explanation and a score of it."""

    feature: int = 0
    explanation: int = 1
    scorer: str | None = "detection"
    value: float | None = 0.5
    shrunken: float | None = None
    lift: float | None = None
    q_value: float | None = None
    p_value: float | None = None


figures = st.sampled_from([None, -1.0, 0.0, 0.25, 0.5, 1.0])
pairs = st.builds(Pair, st.integers(0, 2), st.integers(1, 5), st.sampled_from([None, "unknown", *ORDER]), *[figures] * 5)


def best_of(*found: Pair) -> list[Pair]:
    """One pair per feature; equal pairs stand for one another."""
    columns = zip(*map(astuple, found), strict=True) if found else [[]] * 8
    chosen = best.best(best.scored(*columns))
    rows = zip(*(getattr(chosen, name).tolist() for name in chosen.__slots__), strict=True)
    return [Pair(of, made, ORDER[rank] if rank < len(ORDER) else None, *map(_none, rest)) for of, made, rank, *rest in rows]


def _none(value: float) -> float | None:
    return None if np.isnan(value) else value


def test_every_scorer_has_its_place() -> None:
    assert sorted(ORDER) == registry.names()


BEST_FIRST = (
    Pair(explanation=9, value=0.5, shrunken=0.8, lift=0.1),
    Pair(explanation=4, value=0.9, shrunken=0.7, lift=0.3),
    Pair(explanation=3, value=0.9, shrunken=0.7, lift=0.2),
    Pair(explanation=5, value=0.9, shrunken=0.7, lift=0.2),
    Pair(explanation=2, value=0.9, shrunken=0.7),
    Pair(explanation=1, value=0.6, lift=9.0),
    Pair(explanation=8, scorer="fuzz", value=1.0, shrunken=1.0, lift=1.0),
    Pair(explanation=7, scorer="simulation", value=1.0),
    Pair(explanation=0, scorer=None, value=None),
    Pair(explanation=6, scorer="detection", value=None, lift=1.0),
)


@pytest.mark.parametrize(("better", "worse"), list(pairwise(BEST_FIRST)))
def test_scorer_then_shrunken_value_then_lift_then_age(better: Pair, worse: Pair) -> None:
    assert [pair.explanation for pair in best_of(worse, better)] == [better.explanation]


@given(st.lists(pairs, max_size=12), st.randoms(use_true_random=False), st.integers(1, 4))
def test_the_best_depends_on_no_order_and_no_portion(found: list[Pair], random: object, portion: int) -> None:
    shuffled = list(found)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    running = BestSoFar()
    for start in range(0, len(shuffled), portion):
        running.add(best.scored(*zip(*map(astuple, shuffled[start : start + portion]), strict=True)))
    expected = best_of(*found)
    assert running.best().explanations.tolist() == [pair.explanation for pair in expected]


@given(st.lists(pairs, min_size=1, max_size=8), pairs)
def test_a_newcomer_changes_the_best_only_by_being_it(found: list[Pair], newcomer: Pair) -> None:
    newcomer = replace(newcomer, explanation=100)
    before, after = best_of(*found), best_of(*found, newcomer)
    for pair in before:
        now = next(other for other in after if other.feature == pair.feature)
        assert now == pair or now.explanation == 100
