"""JSON texts and numbers of exports."""

from json import JSONEncoder
from typing import Any

import numpy as np

from interp.domain.cleaning import escaped

# Made once: it takes longer to make than to write a small value.
COMPACT = JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def decimal(value: float) -> float | None:
    """Return the shortest decimal of the same float32; None for what is no number."""
    return float(str(np.float32(value))) if np.isfinite(value) else None


def json_text(value: Any) -> str:
    """Return a value as compact JSON, with control characters as escapes."""
    return escaped(COMPACT.encode(value))
