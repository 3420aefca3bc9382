"""Describe rules on strings of characters by a character, what stands before, and words.

With a vocabulary of single characters, rules consist of the last two or three characters. A list of such fragments is unreadable. One character and
one condition on what stands before it, with whole words of the explain contexts, are readable. The sentence depends on an outline, the predictions
do not.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from interp.explain.pattern.candidate_table import CandidateTable, Rows

Mask = NDArray[np.bool_]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

MOST_LISTED = 3
MOST_WORDS = 3
# Most strings of several characters before, and their length.
MOST_STRINGS, LONGEST = 2, 4
# Strings in fewer documents or firing places are chance.
FEWEST_DOCUMENTS, FEWEST_FIRINGS = 2, 3
# Beta of the F score: recall of the activation weighs more than precision.
BETA = 1.3
# Number of strongest places that are searched for words.
PLACES_READ = 150
# Least gain of score of one, two and three listed strings, of a condition, and of each further character of a string.
LIST_COSTS = (0.0, 0.03, 0.07, 0.14)
CLASS_COST, LENGTH_COST = 0.02, 0.01
# The same of a place that readers look for: two letters back, or near the input's beginning.
FAR_COST = 0.06
# The same of a class at which the feature fires: one character is easier to see.
NOUN_COST = 0.05
# Conditions on the characters before, in the words of a label.
WITHIN = "within two letters after"
STARTS = "at the start of a word"
INSIDE = "inside a word"
BEGINS = "in words that begin with"
BOUNDARY = " "
CLASSES: dict[str, Callable[[str], bool]] = {
    "digits": str.isdigit,
    "vowels": lambda character: character.lower() in "aeiou",
    "capital letters": str.isupper,
    "consonants": lambda character: character.isalpha() and character.lower() not in "aeiou",
    "letters": str.isalpha,
    "punctuation": lambda character: not character.isalnum() and not character.isspace(),
}
BEFORE_CLASSES: dict[str, Callable[[str], bool]] = {
    STARTS: lambda character: _is_boundary(character),
    INSIDE: lambda character: not _is_boundary(character),
    "right after a vowel": CLASSES["vowels"],
    "right after a consonant": CLASSES["consonants"],
}
ROWS = {f"within the input's first {end} characters": end for end in (2, 4, 8, 32)}


def _is_boundary(character: str) -> bool:
    return not character.isalnum() and character != "'"


@dataclass(frozen=True, slots=True)
class Outline:
    """The description of a rule's places that fits best.

    `last`: the characters at which the feature fires, by weight; where empty, `noun` names their class. `before`: strings that precede them, `place`
    how near (where empty: right before), or what is there where no string is listed. `words`: words of explain contexts around such places. `share`:
    the share of the activation at described places. `hits`: the share of described places at which the feature fires.
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


@dataclass(frozen=True)
class _Places:
    """Hold M tokens with their activations and weights.

    A weight is the number of the corpus's windows that the token's window stands for.

    ids      int64 [LONGEST + 1, M]  the token and those before it; V beyond the window
    strength, weight  float64 [M]
    """

    table: CandidateTable
    ids: Ints
    strength: Floats
    weight: Floats

    @cached_property
    def strings(self) -> tuple[str, ...]:
        """Return each token's character, the empty string for special tokens and beyond."""
        properties = self.table.windows.properties
        return (*("" if special else text for text, special in zip(properties.strings, properties.special[:-1], strict=True)), "")

    @cached_property
    def fires(self) -> Mask:
        fires: Mask = self.strength > 0
        return fires

    @cached_property
    def normal(self) -> Ints:
        """Return the ids with all that parts words as one, `[LONGEST + 1, M]`."""
        blank = self.table.windows.properties.strings.index(" ") if " " in self.table.windows.properties.strings else len(self.strings) - 1
        same = np.array([blank if _is_boundary(text) else token for token, text in enumerate(self.strings)])
        normal: Ints = same[self.ids]
        return normal

    @cached_property
    def before(self) -> dict[int, tuple[Ints, Rows]]:
        """Return the distinct strings of each length before a token, and each token's."""
        codes, found = np.zeros(len(self.strength), dtype=np.int64), {}
        for length in range(1, LONGEST + 1):
            codes = codes + self.normal[length] * len(self.strings) ** (length - 1)
            found[length] = np.unique(codes, return_inverse=True)
        return found

    @classmethod
    def of(cls, table: CandidateTable, rows: Rows, weight: Floats) -> "_Places":
        cells = table.cells[rows]
        places = replace(table, cells=cells, target=table.target[rows], documents=table.documents[rows])
        ids = np.stack([table.windows.at(-back).ravel()[cells] for back in range(LONGEST + 1)])
        target = places.target
        return cls(places, ids, np.where(target > 0, np.maximum(2 * target - 1, 1e-3), 0.0), weight)


def outline_of(table: CandidateTable, rows: Rows, weight: Floats, rule: Mask, rule_cost: float) -> Outline | None:
    """Return the description with the best F score (van Rijsbergen, 1979) less its cost.

    Recall is the share of the activation. `weight` [len(rows)] is the number of the corpus's windows that the token's window stands for. None where
    the rule itself, which holds at `rule` [len(rows)], is no worse at `rule_cost`.
    """
    places = _Places.of(table, rows, weight)
    best: tuple[float, float, float, _Part, _Part] | None = None
    for last in _lasts(places):
        for before in _befores(places, last):
            described = last.holds & before.holds
            # A list after a list reads as nonsense, and so does a class after a list.
            if not described.any() or (len(last.listed) != 1 and len(before.listed) > 1):
                continue
            share, hits = _quality(places, described)
            score = _f_score(share, hits) - last.cost - before.cost
            if best is None or score > best[0]:
                best = (score, share, hits, last, before)
    if best is None or best[0] <= _f_score(*_quality(places, rule)) - rule_cost:
        return None
    _, share, hits, last, before = best
    # Signs are seen without words, and words at the beginning of an input may be cut.
    shown = before.name not in ROWS and (before.listed or not last.listed or last.listed[0].isalnum())
    words = _words(places, np.flatnonzero(last.holds & before.holds & places.fires)) if shown else ()
    return Outline(last.listed, before.listed, words, last.name, before.name, round(share, 2), round(hits, 2))


def _quality(places: _Places, described: Mask) -> tuple[float, float]:
    """Return the described share of the activation, and the firing share of described places."""
    weight = places.weight[described]
    share = float(places.strength[described].sum()) / max(float(places.strength.sum()), 1e-9)
    return share, float(weight[places.fires[described]].sum()) / max(float(weight.sum()), 1e-9)


def _f_score(share: float, hits: float) -> float:
    return (1 + BETA**2) * share * hits / max(share + BETA**2 * hits, 1e-9)


def _lasts(places: _Places) -> Iterator[_Part]:
    ids = places.ids[0]
    weights = np.bincount(ids, weights=places.strength, minlength=len(places.strings))
    ordered = [token for token in np.argsort(-weights, kind="stable")[:MOST_LISTED].tolist() if weights[token] > 0 and places.strings[token]]
    for token in ordered:
        yield _Part((places.strings[token],), "", ids == token, LIST_COSTS[1])
    for count in range(2, len(ordered) + 1):
        yield _Part(tuple(places.strings[token] for token in ordered[:count]), "", np.isin(ids, ordered[:count]), LIST_COSTS[count])
    yield from _classes(ids, CLASSES, places.strings, NOUN_COST)


def _befores(places: _Places, last: _Part) -> Iterator[_Part]:
    """Yield conditions on what stands before, chosen for this last character."""
    yield _Part((), "", np.ones(len(places.strength), dtype=np.bool_), 0.0)
    yield from _classes(places.ids[1], BEFORE_CLASSES, places.strings, CLASS_COST)
    row = places.table.windows.row.ravel()[places.table.cells]
    for name, end in ROWS.items():
        yield _Part((), name, row <= end, FAR_COST)
    for part in _listed(places, last, 1):
        yield part
        if len(last.listed) > 1:
            continue
        near = np.array([text in part.listed for text in places.strings])[places.ids[2]]
        yield _Part(part.listed, WITHIN, part.holds | near, part.cost + FAR_COST)
    for length in range(2, LONGEST + 1):
        yield from _listed(places, last, length)


def _listed(places: _Places, last: _Part, length: int) -> Iterator[_Part]:
    """Yield the heaviest strings of `length` characters before `last`, that hit often."""
    codes, inverse = places.before[length]
    found = last.holds & places.fires
    total = np.bincount(inverse, weights=places.strength * last.holds, minlength=len(codes))
    fired = np.bincount(inverse, weights=places.weight * found, minlength=len(codes))
    hits = fired / np.maximum(np.bincount(inverse, weights=places.weight * last.holds, minlength=len(codes)), 1e-9)
    firings = np.bincount(inverse, weights=found, minlength=len(codes))
    pairs = np.unique(np.stack([inverse[found], places.table.documents[found]]), axis=1)
    documents = np.bincount(pairs[0], minlength=len(codes))
    kept = (documents >= FEWEST_DOCUMENTS) & (firings >= FEWEST_FIRINGS)
    texts: list[str] = []
    chosen: list[int] = []
    for code in np.argsort(-np.where(kept, total * hits, 0.0), kind="stable")[: MOST_STRINGS if length > 1 else MOST_LISTED].tolist():
        text = _text(int(codes[code]), length, places.strings)
        # The start of a word and its inside are told apart.
        if kept[code] and text is not None and (not texts or _begins(text) == _begins(texts[0])):
            texts.append(text)
            chosen.append(code)
            yield _Part(tuple(texts), "", np.isin(inverse, chosen), LIST_COSTS[len(texts)] + LENGTH_COST * (length - 1))


def _begins(text: str) -> bool:
    return text.startswith(BOUNDARY)


def _text(code: int, length: int, strings: tuple[str, ...]) -> str | None:
    """Return the string of a code; None where a word ends within it."""
    pieces: list[str] = []
    for _ in range(length):
        code, token = divmod(code, len(strings))
        pieces.insert(0, strings[token])
    if not all(pieces) or any(_is_boundary(piece) for piece in pieces[1:]) or (length == 1 and _is_boundary(pieces[0])):
        return None
    return "".join(pieces)


def _classes(ids: Ints, classes: dict[str, Callable[[str], bool]], strings: tuple[str, ...], cost: float) -> Iterator[_Part]:
    for name, holds in classes.items():
        wanted = np.array([text != "" and holds(text) for text in strings], dtype=np.bool_)
        yield _Part((), name, wanted[ids], cost)


def _words(places: _Places, fires: NDArray[np.intp]) -> tuple[str, ...]:
    """Return words around the strongest places, different last characters first.

    Words of several documents are preferred. A sign or a space belongs to the word before it. Words that the window cuts are left out.
    """
    table = places.table
    windows = table.windows
    sums: defaultdict[tuple[str, str], float] = defaultdict(float)
    documents: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
    for place in fires[np.argsort(-places.strength[fires], kind="stable")[:PLACES_READ]].tolist():
        window, column = divmod(int(table.cells[place]), windows.shape[1])
        pieces = [windows.properties.strings[token] if token < windows.properties.size else "" for token in windows.ids[window].tolist()]
        word = _word(pieces, column)
        if word is not None:
            key = (pieces[column].lower(), word)
            sums[key] += float(places.strength[place])
            documents[key].add(int(table.documents[place]))
    several = [key for key in sums if len(documents[key]) > 1]
    ordered = sorted(several or sums, key=lambda key: (-sums[key], key))
    first = {key[0]: key for key in reversed(ordered)}.values()
    chosen: list[str] = []
    for _, word in (*sorted(first, key=ordered.index), *ordered):
        if len(chosen) < MOST_WORDS and not any(word.lower() in other.lower() or other.lower() in word.lower() for other in chosen):
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
    word = "".join(pieces[low:high])
    return None if cut or not word else word
