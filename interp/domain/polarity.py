"""Addresses of features of both signs: the negative side of feature 123 is written `123-`."""

from typing import Literal

Polarity = Literal["positive", "both"]

# What a person or program may write for a feature.
ADDRESS = r"^[0-9]{1,10}-?$"


def address(index: int, n_features: int, polarity: str) -> str:
    """Return how a feature is written; `n_features` counts both sides."""
    each = n_features // 2
    return f"{index - each}-" if polarity == "both" and index >= each else str(index)


def number(written: str, n_features: int, polarity: str) -> int | None:
    """Return the number of an `ADDRESS`; None for a negative side that the dictionary lacks."""
    if not written.endswith("-"):
        return int(written)
    return n_features // 2 + int(written[:-1]) if polarity == "both" else None
