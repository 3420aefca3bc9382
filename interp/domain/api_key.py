"""Make and read API keys: `gl_<id>_<secret>`, 8 and 64 hexadecimal digits.

A secret of 256 random bits cannot be guessed, so one SHA-256 of it is stored. Slow hashes protect only secrets that people choose, and would make
every request slow. The id is public: it finds the row and names the key in listings and in the audit log.
"""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass

PATTERN = re.compile(r"gl_([0-9a-f]{8})_[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A whole key; its text is shown once, when it is made."""

    id: str
    digest: str


def new_key() -> str:
    """Return a new random key."""
    return f"gl_{secrets.token_hex(4)}_{secrets.token_hex(32)}"


def parsed(text: str) -> ApiKey | None:
    """Return the id and the digest of a key's text; None for any other text."""
    found = PATTERN.fullmatch(text)
    return None if found is None else ApiKey(found[1], hashlib.sha256(text.encode()).hexdigest())


def same(digest: str, stored: str) -> bool:
    """Compare two digests in constant time."""
    return hmac.compare_digest(digest.encode(), stored.encode())
