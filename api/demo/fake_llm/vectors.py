"""Embeddings without a model: hashed bags of words, so that texts with the same words are near."""

import base64
import re
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from api.demo.fake_llm.draws import draw, pick

WORD = re.compile(r"[^\W_]+|[^\w\s]")
SIGN_WEIGHT, COMMON_WEIGHT = 0.3, 0.2
COMMON = frozenset(
    ("a", "an", "and", "are", "as", "at", "be", "by", "for", "from", "in", "is", "it", "of", "on", "or", "that", "the", "this", "to", "was", "with")
)


@lru_cache(maxsize=65536)
def _place(word: str, width: int) -> tuple[int, float]:
    weight = SIGN_WEIGHT if not word[:1].isalnum() else COMMON_WEIGHT if word in COMMON else 1.0
    return pick(width, "place", word), weight if draw("sign", word) < 0.5 else -weight


def embedding(text: str, width: int) -> NDArray[np.float32]:
    """float32 [width] of unit length; the first axis alone for a text without words."""
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
    """As the API sends it: `float` numbers, or `base64` of little-endian float32."""
    return base64.b64encode(vector.astype("<f4").tobytes()).decode() if form == "base64" else vector.tolist()
