"""JSON objects that stand in a text, each found where it begins."""

import json
from collections.abc import Iterator
from typing import Any

FALSE_STARTS = 1000


def objects_in(text: str) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """(start, stop, object) of each JSON object of the text that stands in no other one, in order.

    Gives up after FALSE_STARTS braces that begin no object: a text of nothing but braces ends soon, too.
    """
    at, false_starts = text.find("{"), 0
    while at >= 0 and false_starts < FALSE_STARTS:
        try:
            found, end = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            end, false_starts = at + 1, false_starts + 1
        else:
            yield at, end, found
        at = text.find("{", end)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)
