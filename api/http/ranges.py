"""Parse the range and the conditions of a request for a file (RFC 9110)."""

import re
from dataclasses import dataclass

from starlette.datastructures import Headers

from interp.domain.errors import RangeInvalidError

ONE = re.compile(r"bytes=\s*([0-9]{0,18})\s*-\s*([0-9]{0,18})\s*", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a file, half-open, and whether it was asked for as a part."""

    start: int
    stop: int
    is_part: bool


def span_of(headers: Headers, size: int, etag: str) -> Span:
    """Return the part that a request asks for; raises RangeInvalidError for one outside the file.

    The whole file is the answer to anything but one range, and where `If-Range` names another file.
    """
    whole = Span(0, size, is_part=False)
    found = ONE.fullmatch(headers.get("range", ""))
    condition = headers.get("if-range")
    if found is None or (not found[1] and not found[2]) or (condition is not None and condition.strip() != etag):
        return whole
    first, last = found[1], found[2]
    start = int(first) if first else max(size - int(last), 0)
    stop = min(int(last) + 1, size) if first and last else size
    if first and last and int(last) < int(first):
        return whole
    if start >= size or (not first and int(last) == 0):
        raise RangeInvalidError(f"The file has {size:,} bytes.", cure="Ask for bytes that it has, or without Range.", size=size)
    return Span(start, stop, is_part=True)


def is_known(headers: Headers, etag: str) -> bool:
    """Return whether `If-None-Match` names the file: the client has it."""
    known = headers.get("if-none-match", "")
    return known.strip() == "*" or etag in [one.strip().removeprefix("W/") for one in known.split(",")]
