"""Format contexts as texts for prompts, and fence them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from interp.domain.evidence import Contexts
from interp.domain.vocabulary import Vocabulary
from interp.llm.prompt_text import after_left, escaped, fence, mark, mark_levels, marked, nonce_of, pieces

LEVELS = 10
# A token is marked at this share of its window's largest activation, so that weak windows have marks (Paulo et al., arXiv 2410.13928).
MARKED = 0.3
AROUND = 10  # tokens on either side of the strongest in an excerpt: windows of 21


def activations(contexts: Contexts, row: int) -> NDArray[np.float32]:
    """Return the activations float32 [length] of one window, never negative."""
    return np.maximum(contexts.activations[row, : int(contexts.lengths[row])].astype(np.float32), 0)


def levels(values: NDArray[np.float32], largest: float) -> NDArray[np.int64]:
    """Return levels 0-10, floor(10 a / max), as in Bills et al. 2023."""
    scaled: NDArray[np.int64] = np.minimum(np.floor(LEVELS * values / max(largest, 1e-9)), LEVELS).astype(np.int64)
    return scaled


def strong_window(contexts: Contexts, row: int, vocabulary: Vocabulary) -> str:
    """Return a window after its left context, with marked tokens from 0.3 of its maximum."""
    return after_left(contexts, row, vocabulary, marked(contexts, row, vocabulary, MARKED * float(activations(contexts, row).max())))


def level_window(contexts: Contexts, row: int, vocabulary: Vocabulary, largest: float) -> str:
    """Return a window as `strong_window`, with levels of `largest` at the marked tokens."""
    values = activations(contexts, row)
    flags = (values > contexts.levels[row]) & (values >= MARKED * values.max())
    marks = [level if flag else None for flag, level in zip(flags.tolist(), levels(values, largest).tolist(), strict=True)]
    return after_left(contexts, row, vocabulary, mark_levels(pieces(contexts, row, vocabulary), marks))


def excerpt(contexts: Contexts, row: int, vocabulary: Vocabulary, threshold: float) -> str:
    """Return the marked text around a window's strongest token, which is always marked."""
    values, strings = activations(contexts, row), pieces(contexts, row, vocabulary)
    peak = int(values.argmax())
    part = slice(max(0, peak - AROUND), peak + AROUND + 1)
    flags = (values > contexts.levels[row]) & (values >= min(threshold, float(values.max())))
    text = mark(strings[part], flags[part])
    return after_left(contexts, row, vocabulary, text) if peak < AROUND else text


def token_at(strings: Sequence[str], place: int) -> str:
    """Return a token's piece, or the next one where it is an incomplete character."""
    return strings[place] or next((string for string in strings[place:] if string), "")


def level_list(tokens: Sequence[tuple[str, int]]) -> str:
    """Return one token per line, `token<TAB>level`."""
    return "\n".join(f"{escaped(token)}\t{level}" for token, level in tokens)


def token_list(tokens: Sequence[str]) -> str:
    """Return one distinct token per line, in order, without parts of characters."""
    return "\n".join(dict.fromkeys(escaped(token) for token in tokens if token.strip("\ufffd")))


def fence_all(groups: Sequence[tuple[str, Sequence[tuple[str, str]]]]) -> list[str]:
    """Fence groups (kind, [(id, text)]) of one prompt with one unused nonce."""
    nonce = nonce_of(text for _, pairs in groups for _, text in pairs)
    return [fence(pairs, nonce, kind) for kind, pairs in groups]


def counted(texts: Sequence[str]) -> list[tuple[str, str]]:
    """Return texts with their numbers from 1 as ids."""
    return [(str(number), text) for number, text in enumerate(texts, start=1)]
