"""Seeds for one question from a job's seed."""

import hashlib


def seed_of(*parts: object) -> int:
    """A seed of 63 bits, the same for the same parts, unlike for any others."""
    text = "\x1f".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1
