"""Make seeded draws, tokens that join to the text, and embeddings of hashed words."""

import base64
import math
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

TOKEN = re.compile(r" ?[^\W\d_]{1,12}|\d{1,3}|\s|[^\w\s]|_|.", re.DOTALL)
BYTES_A_TOKEN = 4
TOKENS_A_MESSAGE = 3

# Alternative tokens at any place.
JUNK = (" the", "\n", " a", "_", " I", "-", "~", "…", " of", " so", "?", " in", "/", " and", ":", " to", "&", "=", " as", "%")
SURE = 0.999

Odds = tuple[tuple[str, float], ...]

WORD = re.compile(r"[^\W_]+|[^\w\s]")
SIGN_WEIGHT, COMMON_WEIGHT = 0.3, 0.2
COMMON = frozenset(
    ("a", "an", "and", "are", "as", "at", "be", "by", "for", "from", "in", "is", "it", "of", "on", "or", "that", "the", "this", "to", "was", "with")
)


def draw(*parts: object) -> float:
    """Return a uniform number in [0, 1), equal for equal parts."""
    text = "\x1f".join(map(str, parts)).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=8).digest()) / 2**64


def pick(count: int, *parts: object) -> int:
    """Return a number in 0..count-1."""
    return int(draw(*parts) * count)


def split(text: str) -> list[str]:
    return TOKEN.findall(text)


def prompt_tokens(messages: Sequence[str]) -> int:
    """Return about a token per four bytes and three per message, realistic for English."""
    return sum(-(-len(text.encode("utf-8", "surrogatepass")) // BYTES_A_TOKEN) + TOKENS_A_MESSAGE for text in messages)


def chat_logprobs(tokens: Sequence[str], odds: Mapping[int, Odds], top: int) -> list[dict[str, Any]]:
    """Return `choices[0].logprobs.content`; `odds` holds the probabilities by a token's place in the text."""
    content, place = [], 0
    for token in tokens:
        known = odds.get(place)
        alternatives = _ranked(token, known if known is not None else ((token, SURE),))
        own = next(chance for name, chance in alternatives if name == token)
        entry = _entry(token, own)
        entry["top_logprobs"] = [_entry(name, chance) for name, chance in alternatives[:top]]
        content.append(entry)
        place += len(token)
    return content


def _ranked(token: str, odds: Odds) -> list[tuple[str, float]]:
    """Return the given probabilities with junk for the rest of 1, likeliest first."""
    given = list(odds) if any(name == token for name, _ in odds) else [(token, SURE), *odds]
    left = max(1.0 - sum(chance for _, chance in given), 1e-6)
    taken = {name for name, _ in given}
    junk = [(name, left * 0.5 ** (rank + 1)) for rank, name in enumerate(name for name in JUNK if name not in taken)]
    return sorted(given + junk, key=lambda pair: -pair[1])


def _entry(token: str, chance: float) -> dict[str, Any]:
    return {"token": token, "logprob": math.log(max(chance, 1e-9)), "bytes": list(token.encode("utf-8", "surrogatepass"))}


@lru_cache(maxsize=65536)
def _place(word: str, width: int) -> tuple[int, float]:
    weight = SIGN_WEIGHT if not word[:1].isalnum() else COMMON_WEIGHT if word in COMMON else 1.0
    return pick(width, "place", word), weight if draw("sign", word) < 0.5 else -weight


def embedding(text: str, width: int) -> NDArray[np.float32]:
    """Return float32 [width] of unit length; the first axis for texts without words."""
    vector = np.zeros(width, dtype=np.float32)
    for word in WORD.findall(text.casefold()):
        place, weight = _place(word, width)
        vector[place] += weight
    length = float(np.linalg.norm(vector))
    if length == 0:
        vector[0] = length = 1.0
    unit: NDArray[np.float32] = vector / np.float32(length)
    return unit


def encoded(vector: NDArray[np.float32], form: str) -> list[float] | str:
    """Return `float` numbers, or `base64` of little-endian float32, as the API does."""
    return base64.b64encode(vector.astype("<f4").tobytes()).decode() if form == "base64" else vector.tolist()
