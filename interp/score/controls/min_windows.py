"""Decide which scores have enough windows for a comparison with nulls."""

import re
from collections.abc import Mapping
from typing import Any, Literal

from interp.domain.score import NullResult

# Firing and silent windows that a lift needs. With fewer, one window changes balanced accuracy by more than 0.1.
MIN_WINDOWS = 5
# For features that are seldom silent: it compares activations, and needs no silent windows.
FITS = "simulation"
REASON = re.compile(r"(\d+) firing and (\d+) silent windows were answered;", re.ASCII)
Scarce = Literal["firing", "silent"]


def scarce_kind(firing: int, silent: int) -> Scarce | None:
    """Return the kind with too few answered windows, firing first.

    None where there are enough, or no window was answered.
    """
    if not firing + silent or min(firing, silent) >= MIN_WINDOWS:
        return None
    return "firing" if firing < MIN_WINDOWS else "silent"


def with_enough(null: NullResult | None, firing: int, silent: int) -> NullResult | None:
    """Return the null, without lift and p values where windows are too few.

    Too few is fewer than `MIN_WINDOWS` answered windows of a kind. Such a score is not ranked by lift, and gets no q value. Its own figure and counts
    stay.
    """
    kind = scarce_kind(firing, silent)
    if null is None or kind is None:
        return null
    why = f"{firing} firing and {silent} silent windows were answered; a lift needs {MIN_WINDOWS} of each."
    if kind == "silent":
        why += f" A feature that fires in nearly every window is better judged by `{FITS}`, or with a higher firing level."
    return NullResult(null.value, None, None, None, null.features, why, lift_reason=why, p_paired_reason=why)


def scarce_kind_of(reason: str | None) -> Scarce | None:
    """Return the scarce kind that a null's reason names; None for other reasons."""
    match = REASON.match(reason or "")
    return None if match is None else scarce_kind(int(match[1]), int(match[2]))


def too_few(reasons: Mapping[str | None, int]) -> dict[str, Any] | None:
    """Count the scores with too few windows of a kind; None where there are none.

    `fits` names the scorer that fits, None where only firing windows are too few: every scorer needs them.
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
