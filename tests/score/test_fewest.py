"""Too few windows of a kind: the figure and its counts stay, the comparison with nulls goes, with a reason."""

import pytest

from interp.score.base import Interval, NullResult
from interp.score.fewest import FEWEST_EACH, with_enough

NULL = NullResult(0.5, 0.4, Interval(0.3, 0.5, 0.95, "m"), 0.01, (1, 2), values=(0.5, 0.5), p_paired=0.02)


@pytest.mark.parametrize(("firing", "silent"), [(FEWEST_EACH, FEWEST_EACH - 1), (FEWEST_EACH - 1, 40), (40, 1), (40, 0)])
def test_no_lift_and_no_p_of_too_few(firing: int, silent: int) -> None:
    found = with_enough(NULL, firing, silent)
    assert found is not None
    assert found.value == NULL.value
    assert (found.lift, found.lift_interval, found.p_value, found.p_paired, found.values) == (None, None, None, None, ())
    assert found.reason is not None
    assert f"{firing} firing and {silent} silent windows" in found.reason
    assert ("simulation" in found.reason) == (silent < firing), "a feature that is rarely silent has another scorer that fits"


def test_enough_changes_nothing() -> None:
    assert with_enough(NULL, FEWEST_EACH, FEWEST_EACH) is NULL
    assert with_enough(None, 0, 0) is None
