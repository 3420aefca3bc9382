"""Choose the tokens of a window to mark: firing ones, or silent ones."""

import numpy as np
from numpy.typing import NDArray

from interp.domain.evidence import Contexts
from interp.domain.vocabulary import Vocabulary
from interp.llm.prompt_text import after_left, mark, pieces

Flags = NDArray[np.bool_]

# Tokens at this share of the window's maximum or more are marked: a label does not describe the weak tail after a strong token.
MARK_SHARE = 0.3


def right_marks(contexts: Contexts, row: int) -> Flags:
    """Return the firing tokens of the window without the weak tail, bool [n]."""
    values = contexts.activations[row, : int(contexts.lengths[row])].astype(np.float32)
    marks: Flags = (values > contexts.levels[row]) & (values >= MARK_SHARE * values.max(initial=0.0))
    return marks


def wrong_marks(contexts: Contexts, row: int, vocabulary: Vocabulary, pattern: Flags, random: np.random.Generator) -> Flags:
    """Return silent tokens at the places of `pattern`, another window's right marks, bool [n].

    A place that is taken, special, active or beyond the window moves to the nearest free one, drawn among equals. So neither number nor place of the
    marks tells right from wrong. There are fewer marks where too few tokens are silent.
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
    """Return the window's marked text after its left context, as in prompts."""
    return after_left(contexts, row, vocabulary, mark(pieces(contexts, row, vocabulary), marks))
