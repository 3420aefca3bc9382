"""Describe rules on strings of characters by characters, classes and words.

With a vocabulary of single characters, rules consist of the last two or three characters. A list of such fragments is unreadable. The characters at
which the feature fires, and whole words of the explain contexts, are readable. The sentence depends on an outline, the predictions do not.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from interp.explain.pattern.candidate_table import CandidateTable, Rows

Mask = NDArray[np.bool_]
Weights = NDArray[np.float64]

MOST_LISTED = 3
MOST_WORDS = 3
# Number of strongest places that are searched for words.
PLACES_READ = 150
# Beta of the F score: recall of firings weighs more than precision.
BETA = 1.3
# Least gain of score per listed character, per class, and per listed character before.
ITEM_COST, CLASS_COST, BEFORE_COST = 0.02, 0.02, 0.02
# A list after a list is hard to read.
PRODUCT_COST = 0.1
# Least share of the ends of a listed string of two characters at which the feature fires.
PAIR_HITS = 0.4
CLASSES: dict[str, Callable[[str], bool]] = {
    "digits": str.isdigit,
    "vowels": lambda character: character.lower() in "aeiou",
    "capital letters": str.isupper,
    "consonants": lambda character: character.isalpha() and character.lower() not in "aeiou",
    "letters": str.isalpha,
}
# Conditions on the character before, in the words of a label.
WITHIN = "within two letters after"
BEFORE_CLASSES: dict[str, Callable[[str], bool]] = {
    "at the start of a word": lambda character: not character.isalnum() and character != "'",
    "right after a vowel": CLASSES["vowels"],
    "right after a consonant": CLASSES["consonants"],
}


@dataclass(frozen=True, slots=True)
class Outline:
    """The description of a rule's places that fits best.

    `last`: the characters at which the feature fires, or strings of two at whose end it fires, by weight; where empty, `noun` names their class.
    `before`: characters that precede them, `place` how near (where empty: right before), or what is there where no character is listed. `words`:
    words of explain contexts around such places. `share`: the share of the activation at described places. `hits`: the share of described places at
    which the feature fires.
    """

    last: tuple[str, ...]
    before: tuple[str, ...]
    words: tuple[str, ...]
    noun: str
    place: str
    share: float
    hits: float

    def to_json(self) -> dict[str, Any]:
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Outline":
        last, before, words = (tuple(map(str, content[name])) for name in ("last", "before", "words"))
        return cls(last, before, words, str(content["noun"]), str(content["place"]), float(content["share"]), float(content["hits"]))


@dataclass(frozen=True, slots=True)
class _Part:
    """Half of a description: characters or a class, where it holds, its cost."""

    listed: tuple[str, ...]
    name: str
    holds: Mask
    cost: float


def outline_of(table: CandidateTable, rows: Rows) -> Outline:
    """Return the description with the best F score (van Rijsbergen, 1979) less its cost."""
    places = replace(table, cells=table.cells[rows], target=table.target[rows], documents=table.documents[rows])
    total = max(float(places.target.sum()), 1e-9)
    best: tuple[float, float, float, _Part, _Part] | None = None
    befores, alone = list(_befores(places)), [_anywhere(places)]
    for last in (*_lasts(places), *_pairs(places)):
        for before in alone if any(len(text) > 1 for text in last.listed) else befores:
            described = last.holds & before.holds
            share = float(places.target[described].sum()) / total
            hits = float((places.target[described] > 0).mean()) if described.any() else 0.0
            score = (1 + BETA**2) * share * hits / max(share + BETA**2 * hits, 1e-9) - last.cost - before.cost
            score -= PRODUCT_COST if len(last.listed) > 1 and len(before.listed) > 1 else 0.0
            if best is None or score > best[0]:
                best = (score, share, hits, last, before)
    assert best is not None
    _, share, hits, last, before = best
    fires = np.flatnonzero(last.holds & before.holds & (places.target > 0))
    return Outline(last.listed, before.listed, _words(places, fires), last.name, before.name, round(share, 2), round(hits, 2))


def _lasts(places: CandidateTable) -> Iterator[_Part]:
    ids = places.windows.ids.ravel()[places.cells]
    yield from _listed(ids, places.target, places.windows.properties.strings, ITEM_COST)
    yield from _classes(ids, CLASSES, places.windows.properties.strings)


def _befores(places: CandidateTable) -> Iterator[_Part]:
    yield _anywhere(places)
    ids = places.windows.at(-1).ravel()[places.cells]
    strings = (*places.windows.properties.strings, "")
    yield from _classes(ids, BEFORE_CLASSES, strings)
    further = places.windows.at(-2).ravel()[places.cells]
    # The start of a word has a class of its own.
    weights = np.where(np.array([text.isspace() for text in strings])[ids], 0.0, places.target)
    parts = list(_listed(ids, weights, strings, BEFORE_COST))
    for part in parts:
        near = np.array([text in part.listed for text in strings])[further]
        yield _Part(part.listed, WITHIN, part.holds | near, part.cost + CLASS_COST)
    yield from parts


def _anywhere(places: CandidateTable) -> _Part:
    return _Part((), "", np.ones(len(places.cells), dtype=np.bool_), 0.0)


def _pairs(places: CandidateTable) -> Iterator[_Part]:
    """Yield the one to three heaviest strings of two characters with frequent firing ends."""
    strings = (*places.windows.properties.strings, "")
    size = len(strings)
    codes, inverse = np.unique(places.windows.at(-1).ravel()[places.cells] * size + places.windows.ids.ravel()[places.cells], return_inverse=True)
    weights = np.bincount(inverse, weights=places.target)
    hits = np.bincount(inverse, weights=(places.target > 0).astype(np.float64)) / np.bincount(inverse)
    ordered = np.argsort(-np.where(hits >= PAIR_HITS, weights, 0.0), kind="stable")[:MOST_LISTED].tolist()
    texts = [strings[int(codes[pair]) // size] + strings[int(codes[pair]) % size] for pair in ordered]
    for count in range(1, len(ordered) + 1):
        # Starts of words and spaces are described by the character before.
        if all(len(text) == 2 and text[0].isalnum() and not text[1].isspace() for text in texts[:count]):
            yield _Part(tuple(texts[:count]), "", np.isin(inverse, ordered[:count]), ITEM_COST * count)


def _listed(ids: NDArray[np.int64], wanted: Weights, strings: tuple[str, ...], cost: float) -> Iterator[_Part]:
    """Yield the one, two and three heaviest characters."""
    weights = np.bincount(ids, weights=wanted, minlength=len(strings))
    ordered = [token for token in np.argsort(-weights, kind="stable")[:MOST_LISTED].tolist() if weights[token] > 0 and strings[token]]
    for count in range(1, len(ordered) + 1):
        yield _Part(tuple(strings[token] for token in ordered[:count]), "", np.isin(ids, ordered[:count]), cost * count)


def _classes(ids: NDArray[np.int64], classes: dict[str, Callable[[str], bool]], strings: tuple[str, ...]) -> Iterator[_Part]:
    for name, holds in classes.items():
        wanted = np.array([holds(text) for text in strings], dtype=np.bool_)
        yield _Part((), name, wanted[ids], CLASS_COST)


def _words(places: CandidateTable, fires: NDArray[np.intp]) -> tuple[str, ...]:
    """Return words around the strongest places, different last characters first.

    Words of several documents are preferred. A sign or a space belongs to the word before it. Words that the window cuts are left out.
    """
    windows = places.windows
    sums: defaultdict[tuple[str, str], float] = defaultdict(float)
    documents: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
    for place in fires[np.argsort(-places.target[fires], kind="stable")[:PLACES_READ]].tolist():
        window, column = divmod(int(places.cells[place]), windows.shape[1])
        pieces = [windows.properties.strings[token] if token < windows.properties.size else "" for token in windows.ids[window].tolist()]
        word = _word(pieces, column)
        if word is not None:
            key = (pieces[column].lower(), word)
            sums[key] += float(places.target[place])
            documents[key].add(int(places.documents[place]))
    several = [key for key in sums if len(documents[key]) > 1]
    ordered = sorted(several or sums, key=lambda key: (-sums[key], key))
    first = {key[0]: key for key in reversed(ordered)}.values()
    chosen: list[str] = []
    for _, word in (*sorted(first, key=ordered.index), *ordered):
        if len(chosen) < MOST_WORDS and not any(word in other or other in word for other in chosen):
            chosen.append(word)
    return tuple(chosen)


def _word(pieces: list[str], column: int) -> str | None:
    """Return the uncut word at a place, or before a sign there, or None."""

    def inside(at: int) -> bool:
        return pieces[at].isalnum() or (pieces[at] == "'" and 0 < at < len(pieces) - 1 and pieces[at - 1].isalpha() and pieces[at + 1].isalpha())

    low, high = column, column
    while low > 0 and inside(low - 1):
        low -= 1
    while high < len(pieces) and inside(high):
        high += 1
    cut = low == 0 or high == len(pieces)
    word = "".join(pieces[low:high]).lower()
    return None if cut or not word else word
