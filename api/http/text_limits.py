"""Find texts and numbers of a request that cannot be stored, logged or answered.

The check comes before the request is parsed into a model. A lone surrogate (half of a character, which JSON escapes allow) has no UTF-8 form.
PostgreSQL and file systems refuse NUL. NaN and infinities are not JSON.
"""

import json
import math
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn
from urllib.parse import unquote_to_bytes

from api.schemas.service import FieldError

MAX_NESTING = 64
MAX_TARGET_BYTES = 16 * 1024
# A body of four megabytes may hold a million and a half of empty lists, whose walk takes seconds of every other request.
MAX_CONTAINERS, MAX_VALUES = 50_000, 700_000
MAX_INTEGER = 2**63
MAX_ERRORS = 10
# Characters that a header may not hold: C0 controls except the tab, DEL, and C1 controls.
CONTROLS = {*range(9), *range(10, 32), *range(127, 160)}

SURROGATE = "holds half of a character (a lone surrogate), which is no text"
NUL = "holds a NUL character"
ENCODING = "is not UTF-8"
NUMBER = "is no finite number"


class _NotFiniteError(ValueError):
    """NaN or an infinity, which JSON does not have."""


def wrong_in_head(path: bytes, query: bytes, headers: Iterable[tuple[bytes, bytes]]) -> list[FieldError]:
    """Return the errors of the address and the headers of a request."""
    if len(path) + len(query) > MAX_TARGET_BYTES:
        return [FieldError(field="path", message=f"is longer than {MAX_TARGET_BYTES:,} bytes, with the query")]
    found = [("path", _wrong_bytes(unquote_to_bytes(path)))]
    found += [("query", _wrong_bytes(unquote_to_bytes(part))) for part in query.split(b"&")]
    found += [(f"header.{_name(name)}", _wrong_header(name) or _wrong_header(value)) for name, value in headers]
    return [FieldError(field=field, message=message) for field, message in found if message][:MAX_ERRORS]


def wrong_in_body(body: bytes) -> list[FieldError]:
    """Return the errors of a JSON body; invalid JSON is left to the parser."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        return [FieldError(field="body", message=ENCODING)]
    if "\0" in text:
        return [FieldError(field="body", message=NUL)]
    if body.count(b"[") + body.count(b"{") > MAX_CONTAINERS:
        return [FieldError(field="body", message=f"holds more than {MAX_CONTAINERS:,} lists and objects")]
    if body.count(b",") > MAX_VALUES:
        return [FieldError(field="body", message=f"holds more than {MAX_VALUES:,} values")]
    try:
        content = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError:
        return []
    except _NotFiniteError as error:
        return [FieldError(field="body", message=str(error))]
    except RecursionError:
        return [FieldError(field="body", message=_too_deep())]
    except ValueError:
        return [FieldError(field="body", message="holds a number of too many digits")]
    found: list[FieldError] = []
    for path, message in _wrong_values(content):
        found.append(FieldError(field=printable_path(path), message=message))
        if len(found) == MAX_ERRORS:
            break
    return found


def printable_path(path: tuple[str | int, ...]) -> str:
    """Return a path such as `body.corpus.include.0` as printable ASCII."""
    return ".".join(str(part).encode("ascii", "backslashreplace").decode().replace("\0", "\\x00")[:60] for part in ("body", *path))


def _wrong_values(content: Any) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield refused texts and numbers of a JSON value, of any depth, with their paths."""
    waiting: list[tuple[tuple[str | int, ...], Any]] = [((), content)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, dict):
            items: Iterable[tuple[str | int, Any]] = value.items()
            yield from ((path, f"a name of it {wrong}") for wrong in map(_wrong_text, value) if wrong)
        elif isinstance(value, list):
            items = enumerate(value)
        else:
            items = ()
            if wrong := _wrong_scalar(value):
                yield path, wrong
        for name, item in items:
            if isinstance(item, dict | list):
                if len(path) >= MAX_NESTING:
                    yield path, _too_deep()
                    return
                waiting.append(((*path, name), item))
            elif wrong := _wrong_scalar(item):
                yield (*path, name), wrong


def _wrong_scalar(value: Any) -> str:
    if isinstance(value, str):
        return _wrong_text(value)
    if isinstance(value, int):
        return "" if -MAX_INTEGER <= value < MAX_INTEGER else "is an integer of more than 64 bits"
    return NUMBER if isinstance(value, float) and not math.isfinite(value) else ""


def _wrong_text(text: str) -> str:
    if "\0" in text:
        return NUL
    if text.isascii():
        return ""
    try:
        text.encode()
    except UnicodeEncodeError:
        return SURROGATE
    return ""


def _wrong_bytes(content: bytes) -> str:
    if b"\0" in content:
        return NUL
    try:
        content.decode()
    except UnicodeDecodeError:
        return ENCODING
    return ""


def _wrong_header(value: bytes) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = value.decode("latin-1")
    return "holds a control character" if not CONTROLS.isdisjoint(map(ord, text)) else ""


def _name(header: bytes) -> str:
    return header.decode("ascii", "backslashreplace").encode("unicode_escape").decode()[:60]


def _refuse_constant(name: str) -> NoReturn:
    raise _NotFiniteError(f"holds {name}, which JSON has not")


def _too_deep() -> str:
    return f"is nested more than {MAX_NESTING} deep"
