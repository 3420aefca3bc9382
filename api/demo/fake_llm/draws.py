"""Chance that is the same every time: draws from a hash of what they are for."""

from hashlib import blake2b


def draw(*parts: object) -> float:
    """A number in [0, 1), uniform over different parts, equal for equal ones."""
    text = "\x1f".join(map(str, parts)).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=8).digest()) / 2**64


def pick(count: int, *parts: object) -> int:
    """A place in 0..count-1."""
    return int(draw(*parts) * count)
