"""Encode and decode opaque cursors, which continue a listing.

A cursor holds a position and a digest of the listing's filters and order, so that a cursor of another listing is refused. It is not a secret: a
forged cursor only chooses where a page begins.
"""

import base64
import binascii
import hashlib
import json
from typing import Annotated, Any

from pydantic import Field, StringConstraints, TypeAdapter, ValidationError

from interp.domain.errors import InputError

VERSION = 1
# PostgreSQL takes no NUL character in text.
WITHOUT_NUL = r"^[^\x00]*$"

# Parts of a place, within the ranges of the database's columns: a forged cursor must not cause a database error.
FeatureIndex = Annotated[int, Field(ge=0, lt=2**31)]
RowId = Annotated[int, Field(ge=0, lt=2**63)]
Count = RowId
Figure = Annotated[float, Field(allow_inf_nan=False)]
Words = Annotated[str, StringConstraints(pattern=WITHOUT_NUL)]


class CursorInvalidError(InputError, code="cursor-invalid", title="The cursor does not fit this listing"): ...


def encode(listing: dict[str, Any], place: tuple[Any, ...] | None) -> str | None:
    """Return the cursor after `place` in a listing (filters, order); None on the last page."""
    if place is None:
        return None
    content = json.dumps([VERSION, _fingerprint(listing), *place], separators=(",", ":"), default=str)
    return base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")


def decode(listing: dict[str, Any], cursor: str, shape: TypeAdapter[Any]) -> Any:
    """Return the place in a cursor of this listing, validated by `shape`; raises CursorInvalidError."""
    try:
        content = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
        version, fingerprint, *place = content
        # JSON has no tuples and times: strict JSON mode accepts exactly the types that `encode` writes.
        found = shape.validate_json(json.dumps(place), strict=True)
    except (binascii.Error, UnicodeDecodeError, TypeError, ValueError, ValidationError) as error:
        raise CursorInvalidError("The cursor cannot be read.", cure="Use `next_cursor` of the page before, unchanged.") from error
    if version != VERSION or fingerprint != _fingerprint(listing):
        raise CursorInvalidError(
            "The cursor belongs to another listing.",
            why="Its filters or its order are not those of this request.",
            cure="Repeat the filters and the order of the first page, or start again without a cursor.",
        )
    return found


def _fingerprint(listing: dict[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(listing, sort_keys=True, default=str).encode(), digest_size=6).hexdigest()
