"""Classes of a vocabulary's tokens, and a user's own list of tokens as one more."""

import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from interp.domain.errors import InputError
from interp.domain.vocabulary import Vocabulary
from interp.explain.pattern.properties import CLASSES

# Tests of these names in `interp.explain.pattern.properties`, which rules use too: a single capital is neither upper case nor capitalised.
TESTED = ("upper", "capitalised", "digits", "punctuation", "space_before", "newline")
OTHER, OWN = "other", "own"


@dataclass(frozen=True)
class TokenClasses:
    """C classes of V tokens; they overlap: ` The` is of two.

    names  upper, capitalised, digits, punctuation, space_before, newline, other (none of the six, or a part of a character), and own, where the user
           gave a list
    mask   bool `[C, V]`, by class and token id; special tokens are in `own` at most
    """

    names: tuple[str, ...]
    mask: NDArray[np.bool_]

    def __getitem__(self, name: str) -> NDArray[np.bool_]:
        """Return the mask bool `[V]` of one class; raises ValueError for an unknown name."""
        own: NDArray[np.bool_] = self.mask[self.names.index(name)]
        return own


def token_classes(vocabulary: Vocabulary, own: Sequence[str] = ()) -> TokenClasses:
    """Return the classes of a vocabulary's tokens; some microseconds a token.

    `own` are texts of whole tokens, as `vocabulary.text` gives them, leading space included. Raises InputError where one is no token.
    """
    mask = np.zeros((len(TESTED) + 1, len(vocabulary)), dtype=np.bool_)
    for token, text in enumerate(vocabulary.wholes):
        if text:
            bare = text.strip()
            mask[:-1, token] = [CLASSES[name].holds(text, bare) for name in TESTED]
        mask[-1, token] = text != "" and not mask[:-1, token].any()
    names = (*TESTED, OTHER)
    if not own:
        return TokenClasses(names, mask)
    return TokenClasses((*names, OWN), np.concatenate([mask, _listed(vocabulary, own)[None]]))


def _listed(vocabulary: Vocabulary, own: Sequence[str]) -> NDArray[np.bool_]:
    listed = set(own)
    if missing := sorted(listed.difference(vocabulary.strings)):
        raise InputError(
            f"{missing[0]!r} is no token of the subject.",
            why=f"{len(missing)} of the {len(listed)} texts of the list are not whole tokens.",
            cure="List texts of single tokens, with their leading space where they have one.",
        )
    return np.array([text in listed for text in vocabulary.strings], dtype=np.bool_)


def concept_classes(vocabulary: Vocabulary, own: Sequence[str] = ()) -> TokenClasses:
    """Return the classes of `token_classes`, and of scripts where there are several.

    Raises InputError where a text of `own` is no token.
    """
    found, scripts = token_classes(vocabulary, own), script_classes(vocabulary)
    if len(scripts.names) < 2:
        return found
    return TokenClasses((*found.names, *scripts.names), np.concatenate([found.mask, scripts.mask]))


def script_classes(vocabulary: Vocabulary, least: int = 8) -> TokenClasses:
    """Return a class for each script (`latin`, `cyrillic`) with at least so many tokens.

    A token is of a script if it has letters and all are of it: the first word of their Unicode names. Special tokens and parts of characters are of
    none.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for token, text in enumerate(vocabulary.wholes):
        scripts = {_script(character) for character in text or "" if character.isalpha()}
        if len(scripts) == 1:
            members[scripts.pop()].append(token)
    names = tuple(sorted(name for name, tokens in members.items() if len(tokens) >= least))
    mask = np.zeros((len(names), len(vocabulary)), dtype=np.bool_)
    for place, name in enumerate(names):
        mask[place, members[name]] = True
    return TokenClasses(names, mask)


@lru_cache(maxsize=1 << 14)
def _script(character: str) -> str:
    return unicodedata.name(character, "unnamed").split(maxsplit=1)[0].split("-")[0].lower()
