"""What is known of every token of a vocabulary before any window is read: computed once, then looked up by token id."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from interp.domain.vocabulary import Vocabulary

PUNCTUATION = re.compile(r"[^\w\s]+")
HEXADECIMAL = re.compile(r"(0[xX])?[0-9a-fA-F]+")
NUMBER = re.compile(r"[0-9]+")


def _is_name(text: str) -> bool:
    return text.replace("_", "a").isalnum() and not text[0].isdigit()


# Closed word classes of English, in lower case.
WORD_CLASSES = {
    "pronoun": "i you he she it we they me him her us them myself himself herself itself themselves mine yours hers ours theirs who whom",
    "determiner": "a an the this that these those my your his its our their some any no every each another",
    "preposition": "of in on at to from with by for about into onto over under through between after before during against without near behind up",
    "conjunction": "and or but so because if when while although though than as until unless since",
    "auxiliary": "is are was were be been being am has have had do does did will would can could shall should may might must",
}
_CLASS_OF = {name: frozenset(words.split()) for name, words in WORD_CLASSES.items()}

# Classes of a token, asked of its text and of its text without white space around it (never empty but for the blank ones).
CLASSES: dict[str, Callable[[str, str], bool]] = {
    "newline": lambda text, _: "\n" in text,
    "blank": lambda text, bare: not bare and "\n" not in text,
    "space_before": lambda text, bare: bool(bare) and text[0] == " ",
    "no_space_before": lambda text, bare: bool(bare) and text[0] not in " \t\n",
    "letters": lambda _, bare: bare.isalpha(),
    "lower": lambda _, bare: bare.isalpha() and bare.islower(),
    "capitalised": lambda _, bare: bare.isalpha() and bare[:1].isupper() and len(bare) > 1 and bare[1:].islower(),
    "upper": lambda _, bare: len(bare) > 1 and bare.isalpha() and bare.isupper(),
    "underscore": lambda _, bare: "_" in bare,
    "letter": lambda _, bare: len(bare) == 1 and bare.isalpha(),
    "digits": lambda _, bare: NUMBER.fullmatch(bare) is not None,
    "has_digit": lambda _, bare: any(character.isdigit() for character in bare),
    "hexadecimal": lambda _, bare: HEXADECIMAL.fullmatch(bare) is not None,
    "name": lambda _, bare: bool(bare) and _is_name(bare),
    "punctuation": lambda _, bare: PUNCTUATION.fullmatch(bare) is not None,
    "quote": lambda _, bare: '"' in bare or "'" in bare,
    "opens": lambda _, bare: bare[-1:] in ("(", "[", "{"),
    "closes": lambda _, bare: bare[:1] in (")", "]", "}"),
    "operator": lambda _, bare: bool(bare) and all(character in "+-*/%=<>!&|^~@" for character in bare),
    "not_ascii": lambda text, _: not text.isascii(),
    "vowel": lambda _, bare: len(bare) == 1 and bare.lower() in "aeiou",
    "consonant": lambda _, bare: len(bare) == 1 and bare.lower() in "bcdfghjklmnpqrstvwxyz",
    "sentence_end": lambda _, bare: bool(bare) and bare.strip("\"'”’)") in (".", "!", "?"),
    "pronoun": lambda _, bare: bare.lower() in _CLASS_OF["pronoun"],
    "determiner": lambda _, bare: bare.lower() in _CLASS_OF["determiner"],
    "preposition": lambda _, bare: bare.lower() in _CLASS_OF["preposition"],
    "conjunction": lambda _, bare: bare.lower() in _CLASS_OF["conjunction"],
    "auxiliary": lambda _, bare: bare.lower() in _CLASS_OF["auxiliary"],
}

# Names taken from a token's bare text; None where a token has none (too short, say).
NAMES: dict[str, Callable[[str], str | None]] = {
    "bare": lambda bare: bare or None,
    "word": lambda bare: bare.lower() or None,
    "prefix2": lambda bare: bare[:2].lower() if len(bare) > 2 else None,
    "prefix3": lambda bare: bare[:3].lower() if len(bare) > 3 else None,
    "suffix1": lambda bare: bare[-1:].lower() or None,
    "suffix2": lambda bare: bare[-2:].lower() if len(bare) > 2 else None,
    "suffix3": lambda bare: bare[-3:].lower() if len(bare) > 3 else None,
}

BRACKETS = ("()", "[]", "{}")


@dataclass(frozen=True)
class TokenProperties:
    """Columns over a vocabulary of V tokens, each with one more entry, at V, for "no token there" (outside the window).

    lowered    each token's text in lower case, without white space around it
    codes      name -> int32 [V+1]: the number of the token's value of that name, -1 for none; `values[name][code]` is its text
    classes    name -> bool [V+1]
    special    bool [V+1]   BOS and friends; they have no class and no name
    newline    bool [V+1]   the token holds a line break
    indent     int32 [V+1]  columns after its last line break, or columns of a blank token
    brackets   int8 [3, V+1]  opening less closing brackets of each kind
    quotes     int8 [3, V+1]  single quotes, double quotes, triple quotes (these are not counted among the former)
    comment    bool [V+1]   the token holds a `#`
    """

    strings: tuple[str, ...]
    lowered: tuple[str, ...]
    codes: dict[str, NDArray[np.int32]]
    values: dict[str, tuple[str, ...]]
    numbers: dict[str, dict[str, int]]
    classes: dict[str, NDArray[np.bool_]]
    special: NDArray[np.bool_]
    newline: NDArray[np.bool_]
    indent: NDArray[np.int32]
    brackets: NDArray[np.int8]
    quotes: NDArray[np.int8]
    comment: NDArray[np.bool_]

    @property
    def size(self) -> int:
        return len(self.strings)

    @cached_property
    def cased(self) -> frozenset[str]:
        """Words that the vocabulary writes in several cases."""
        spellings = Counter(bare.lower() for bare in self.values["bare"])
        return frozenset(word for word, count in spellings.items() if count > 1)

    def code_count(self, name: str) -> int:
        """How many different codes an attribute has."""
        return self.size if name == "token" else len(self.values[name])


def compute(vocabulary: Vocabulary) -> TokenProperties:
    """About 20 microseconds a token."""
    strings = vocabulary.strings
    size = len(strings)
    special = np.zeros(size + 1, dtype=np.bool_)
    special[list(vocabulary.special)] = True
    bare = ["" if special[token] else text.strip() for token, text in enumerate(strings)]
    shown = ["" if special[token] else text for token, text in enumerate(strings)]

    codes: dict[str, NDArray[np.int32]] = {}
    numbers: dict[str, dict[str, int]] = {}
    for name, take in NAMES.items():
        known: dict[str, int] = {}
        column = np.full(size + 1, -1, dtype=np.int32)
        for token, text in enumerate(bare):
            value = take(text)
            if value is not None:
                column[token] = known.setdefault(value, len(known))
        codes[name], numbers[name] = column, known

    classes: dict[str, NDArray[np.bool_]] = {}
    for name, holds in CLASSES.items():
        flags = [bool(text) and holds(text, stripped) for text, stripped in zip(shown, bare, strict=True)]
        classes[name] = np.array([*flags, False], dtype=np.bool_)

    return TokenProperties(
        strings=strings,
        lowered=(*(text.lower() for text in bare), ""),
        codes=codes,
        values={name: tuple(known) for name, known in numbers.items()},
        numbers=numbers,
        classes=classes,
        special=special,
        newline=classes["newline"],
        indent=np.array([*(_columns(text) for text in shown), 0], dtype=np.int32),
        brackets=np.array([[*(text.count(pair[0]) - text.count(pair[1]) for text in shown), 0] for pair in BRACKETS], dtype=np.int8),
        quotes=np.array([*(_quotes(text) for text in shown), (0, 0, 0)], dtype=np.int8).T.copy(),
        comment=np.array([*("#" in text for text in shown), False], dtype=np.bool_),
    )


def _columns(text: str) -> int:
    """Columns of white space after the last line break, a tab counting as four."""
    tail = text.rpartition("\n")[2]
    return sum(4 if character == "\t" else 1 for character in tail) if not tail.strip() else 0


def _quotes(text: str) -> tuple[int, int, int]:
    triple = text.count('"""') + text.count("'''")
    rest = text.replace('"""', "").replace("'''", "")
    return min(rest.count("'"), 127), min(rest.count('"'), 127), min(triple, 127)


@lru_cache(maxsize=4)
def _computed(key: "_Key") -> TokenProperties:
    return compute(key.vocabulary)


@dataclass(frozen=True, eq=False)
class _Key:
    """A vocabulary compared by its digest: comparing the tokens themselves costs milliseconds."""

    vocabulary: Vocabulary

    def __hash__(self) -> int:
        return hash(self.vocabulary.digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self.vocabulary.digest == other.vocabulary.digest


def properties_of(vocabulary: Vocabulary) -> TokenProperties:
    """The properties of a vocabulary, computed once a process."""
    return _computed(_Key(vocabulary))
