"""Decide which scores have enough windows of either kind to be compared with their nulls."""

import re
from collections.abc import Mapping
from typing import Any, Literal

from interp.domain.score import NullResult

# Firing and silent windows that a lift needs: with fewer, one window more or less moves balanced accuracy by more than .1.
MIN_WINDOWS = 5
# Of features that are hardly ever silent: it compares activations, and needs no silent windows.
FITS = "simulation"
REASON = re.compile(r"(\d+) firing and (\d+) silent windows were answered;", re.ASCII)
Scarce = Literal["firing", "silent"]


def scarce_kind(firing: int, silent: int) -> Scarce | None:
    """Return the kind of windows of which too few were answered, firing ones where both are.

    None where there are enough, or nothing was answered at all.
    """
    if not firing + silent or min(firing, silent) >= MIN_WINDOWS:
        return None
    return "firing" if firing < MIN_WINDOWS else "silent"


def with_enough(null: NullResult | None, firing: int, silent: int) -> NullResult | None:
    """Return the null, without lift and p values and with the reason where fewer than `MIN_WINDOWS` windows of a kind were answered.

    Such a score is in no ranking by lift, and gets no q value. Its own figure and its counts stay.
    """
    kind = scarce_kind(firing, silent)
    if null is None or kind is None:
        return null
    why = f"{firing} firing and {silent} silent windows were answered; a lift needs {MIN_WINDOWS} of each."
    if kind == "silent":
        why += f" A feature that fires in nearly every window is better judged by `{FITS}`, or with a higher firing level."
    return NullResult(null.value, None, None, None, null.features, why, lift_reason=why, p_paired_reason=why)


def scarce_kind_of(reason: str | None) -> Scarce | None:
    """Return the kind of windows that a null's reason says were too few; None for any other reason."""
    match = REASON.match(reason or "")
    return None if match is None else scarce_kind(int(match[1]), int(match[2]))


def too_few(reasons: Mapping[str | None, int]) -> dict[str, Any] | None:
    """Count the scores with too few windows of a kind, from the nulls' reasons and how many scores have each; None where no score has.

    `fits` names the scorer that fits, None where firing windows alone are too few: no scorer does without them.
    """
    counts: dict[Scarce, int] = {"firing": 0, "silent": 0}
    for reason, scores in reasons.items():
        kind = scarce_kind_of(reason)
        if kind is not None:
            counts[kind] += scores
    if not any(counts.values()):
        return None
    return {
        "scores": sum(counts.values()),
        "needed": MIN_WINDOWS,
        "firing": counts["firing"],
        "silent": counts["silent"],
        "reason": f"Fewer than {MIN_WINDOWS} {' or '.join(kind for kind, scores in counts.items() if scores)} windows were answered.",
        "fits": FITS if counts["silent"] else None,
    }
