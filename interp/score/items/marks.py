"""Choose the tokens of a window that stand between marks: those at which the feature fires, or as many at which it does not."""

import numpy as np
from numpy.typing import NDArray

from interp.domain.evidence import Contexts
from interp.domain.vocabulary import Vocabulary
from interp.llm.prompt_text import after_left, mark, pieces

Flags = NDArray[np.bool_]

# Tokens are marked that fire at this share of the window's own maximum or more: the weak tail after a strong token is not what a label speaks of.
MARK_SHARE = 0.3


def right_marks(contexts: Contexts, row: int) -> Flags:
    """Return the real tokens of the window at which the feature fires without the weak tail, bool [n]."""
    values = contexts.activations[row, : int(contexts.lengths[row])].astype(np.float32)
    marks: Flags = (values > contexts.levels[row]) & (values >= MARK_SHARE * values.max(initial=0.0))
    return marks


def wrong_marks(contexts: Contexts, row: int, vocabulary: Vocabulary, pattern: Flags, random: np.random.Generator) -> Flags:
    """Return tokens at which the feature is silent, bool [n], where `pattern` (right marks of another window) has its marks.

    A place that is taken, special, active or beyond the window moves to the nearest one that is free, drawn among equals: as many marks, at places
    spread as the right ones are, so that neither number nor place tells right from wrong. There are fewer where so many tokens are not silent.
    """
    strings = pieces(contexts, row, vocabulary)
    values = contexts.activations[row, : len(strings)].astype(np.float32)
    free = np.array([bool(string) for string in strings], dtype=np.bool_) & (values <= contexts.levels[row])
    marks = np.zeros(len(strings), dtype=np.bool_)
    for place in np.flatnonzero(pattern):
        candidates = np.flatnonzero(free)
        if not len(candidates):
            break
        distances = np.abs(candidates - place)
        chosen = random.choice(candidates[distances == distances.min()])
        marks[chosen], free[chosen] = True, False
    return marks


def marked_text(contexts: Contexts, row: int, vocabulary: Vocabulary, marks: Flags) -> str:
    """Return the window's text with these marks after its left context, as prompts show it."""
    return after_left(contexts, row, vocabulary, mark(pieces(contexts, row, vocabulary), marks))
