"""Which scores have enough windows of either kind to be compared with their nulls."""

from interp.score.base import NullResult

# With fewer firing or silent windows than this, one window more or less moves balanced accuracy by more than .1.
FEWEST_EACH = 5


def with_enough(null: NullResult | None, firing: int, silent: int) -> NullResult | None:
    """The null as it is; without lift and p values, and with the reason, where fewer than `FEWEST_EACH` windows of a kind were answered.

    So such a score is in no ranking by lift, and gets no q value. Its own figure and its counts stay.
    """
    if null is None or min(firing, silent) >= FEWEST_EACH:
        return null
    why = f"{firing} firing and {silent} silent windows were answered; a lift needs {FEWEST_EACH} of each."
    if not silent or silent < firing:
        why += " A feature that fires in nearly every window is better judged by `simulation`, or with a higher firing level."
    return NullResult(null.value, None, None, None, null.features, why, lift_reason=why, p_paired_reason=why)
