"""Too few windows of a kind: the figure and its counts stay, the comparison with nulls goes, with a reason."""

import asyncio

import pytest

from interp.domain.score import Interval, NullResult
from interp.domain.spec import ScorerSpec
from interp.score import registry
from interp.score.base import ScoreContext
from interp.score.controls.min_windows import MIN_WINDOWS, too_few, with_enough
from tests.score.cat_feature import VOCABULARY, contexts_of, item_of
from tests.score.fake_model import FakeModel
from tests.score.test_graded_metrics import Reader
from tests.score.test_selection import ENOUGH

NULL = NullResult(0.5, 0.4, Interval(0.3, 0.5, 0.95, "m"), 0.01, (1, 2), values=(0.5, 0.5), p_paired=0.02)


@pytest.mark.parametrize(("firing", "silent"), [(MIN_WINDOWS, MIN_WINDOWS - 1), (MIN_WINDOWS - 1, 40), (40, 1), (40, 0)])
def test_no_lift_and_no_p_of_too_few(firing: int, silent: int) -> None:
    found = with_enough(NULL, firing, silent)
    assert found is not None
    assert found.value == NULL.value
    assert (found.lift, found.lift_interval, found.p_value, found.p_paired, found.values) == (None, None, None, None, ())
    assert found.reason is not None
    assert f"{firing} firing and {silent} silent windows" in found.reason
    assert ("simulation" in found.reason) == (silent < firing), "a feature that is rarely silent has another scorer that fits"


def test_enough_changes_nothing() -> None:
    assert with_enough(NULL, MIN_WINDOWS, MIN_WINDOWS) is NULL
    assert with_enough(None, 0, 0) is None


def test_nothing_answered_at_all_is_another_reason() -> None:
    assert with_enough(NULL, 0, 0) is NULL


# How few of a kind: two of the wrongly marked windows, four negatives, one call's four firing windows.
FEW = {
    "detection": {"negatives": 4},
    "fuzz": {"negatives": 4},
    "embedding": {"negatives": 4},
    "surprisal": {"negatives": 4},
    "selection": {"positives": 4},
}


@pytest.mark.parametrize("name", FEW)
def test_every_scorer_of_two_classes_has_the_rule(name: str) -> None:
    model = Reader() if name in ("embedding", "surprisal") else FakeModel(lambda asked: asked.prompt.typical)

    def null(**options: int) -> NullResult:
        context = ScoreContext(VOCABULARY, 0, model, None, model, frozenset(), 0.5)
        found = asyncio.run(registry.judged(ScorerSpec(name=name, **options)).score(item_of(contexts_of(ENOUGH)), context))
        assert found.value is not None
        assert found.null is not None
        return found.null

    assert null().lift is not None
    few = null(**FEW[name])
    assert (few.lift, few.p_paired, few.values) == (None, None, ())
    assert too_few({few.reason: 1}) is not None


def test_a_summary_counts_them_and_names_the_scorer_that_fits() -> None:
    reasons = {reason_of(20, 1): 3, reason_of(30, 0): 2, None: 7, "another": 4}
    found = too_few(reasons)
    assert found == {
        "scores": 5, "needed": MIN_WINDOWS, "firing": 0, "silent": 5, "reason": "Fewer than 5 silent windows were answered.", "fits": "simulation",
    }  # fmt: skip
    rare = too_few({reason_of(3, 40): 1, reason_of(4, 4): 1})
    assert rare is not None
    assert (rare["firing"], rare["silent"], rare["fits"]) == (2, 0, None)
    assert too_few({None: 3, "another": 1}) is None


def reason_of(firing: int, silent: int) -> str | None:
    found = with_enough(NULL, firing, silent)
    assert found is not None
    return found.reason
