"""Features as a user names them: `all`, ranges with both ends, or numbers."""

from collections.abc import Sequence

# Ten digits at most: no feature has more.
NUMBER = r"\s*[0-9]{1,10}\s*"
RANGES = rf"^(all|{NUMBER}(-{NUMBER})?(,{NUMBER}(-{NUMBER})?)*)$"


def ranges_of(features: str | Sequence[int]) -> list[tuple[int, int]] | None:
    """Return half-open, sorted, disjoint ranges, or None for all; raises ValueError."""
    if features == "all":
        return None
    if isinstance(features, str):
        pairs = [part.split("-") for part in features.replace(" ", "").split(",")]
        spans = [(int(pair[0]), int(pair[-1]) + 1) for pair in pairs]
    else:
        spans = [(index, index + 1) for index in features]
    merged: list[tuple[int, int]] = []
    for start, stop in sorted(spans):
        if stop <= start:
            raise ValueError(f"the range {start}-{stop - 1} runs backwards")
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], stop))
        else:
            merged.append((start, stop))
    return merged
