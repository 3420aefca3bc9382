"""A feature's contexts in the forms that prompts show them in: unfenced texts, for `interp.llm.prompt_text.fence`."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from interp.domain.evidence import Contexts
from interp.llm.prompt_text import escaped, fence, nonce_of

LEVELS = 10


def activations(contexts: Contexts, row: int) -> NDArray[np.float32]:
    """float32 [length] of one window, never negative."""
    return np.maximum(contexts.activations[row, : int(contexts.lengths[row])].astype(np.float32), 0)


def levels(values: NDArray[np.float32], largest: float) -> NDArray[np.int64]:
    """Whole levels 0-10: floor(10 a / max), as Bills et al. 2023 show neurons to the explainer."""
    scaled: NDArray[np.int64] = np.minimum(np.floor(LEVELS * values / max(largest, 1e-9)), LEVELS).astype(np.int64)
    return scaled


def token_at(strings: Sequence[str], place: int) -> str:
    """The piece of a token, for a list; where that is empty, the next: the whole character of a token that holds part of one."""
    return strings[place] or next((string for string in strings[place:] if string), "")


def level_list(strings: Sequence[str], values: Sequence[int]) -> str:
    """One token a line, `token<TAB>level`."""
    return "\n".join(f"{escaped(string)}\t{value}" for string, value in zip(strings, values, strict=True))


def token_list(tokens: Sequence[str]) -> str:
    """One token a line, each once, in order; tokens that are nothing but part of a character say nothing, and are left out."""
    return "\n".join(dict.fromkeys(escaped(token) for token in tokens if token.strip("\ufffd")))


def fence_all(groups: Sequence[tuple[str, Sequence[tuple[str, str]]]]) -> list[str]:
    """Several groups of one prompt, each (kind, [(id, text)]), fenced with one nonce that stands in none of their texts."""
    nonce = nonce_of(text for _, pairs in groups for _, text in pairs)
    return [fence(pairs, nonce, kind) for kind, pairs in groups]


def counted(texts: Sequence[str]) -> list[tuple[str, str]]:
    """Texts with their numbers from 1 as ids."""
    return [(str(number), text) for number, text in enumerate(texts, start=1)]
