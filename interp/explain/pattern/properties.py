"""Compute properties of a vocabulary's tokens, once, for lookup by token id."""

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
# A vocabulary is one of characters when this share of its tokens are.
CHARACTER_SHARE = 0.9
BRACKETS = ("()", "[]", "{}")


def _is_name(text: str) -> bool:
    return text.replace("_", "a").isalnum() and not text[0].isdigit()


@dataclass(frozen=True, slots=True)
class TokenClass:
    """A class of tokens, tested on a token's text and its stripped text.

    Only blank tokens have an empty stripped text. `many` and `one` name its tokens; `qualifier` follows another name, where "that are" is clumsy.
    """

    holds: Callable[[str, str], bool]
    many: str
    one: str
    qualifier: str = ""


# Closed word classes of English, in lower case.
WORD_CLASSES = {
    "pronoun": "i you he she it we they me him her us them myself himself herself itself themselves mine yours hers ours theirs who whom",
    "determiner": "a an the this that these those my your his its our their some any no every each another",
    "preposition": "of in on at to from with by for about into onto over under through between after before during against without near behind up",
    "conjunction": "and or but so because if when while although though than as until unless since",
    "auxiliary": "is are was were be been being am has have had do does did will would can could shall should may might must",
}


def _word_class(name: str, many: str, one: str) -> TokenClass:
    words = frozenset(WORD_CLASSES[name].split())
    return TokenClass(lambda _, bare: bare.lower() in words, many, one)


CLASSES: dict[str, TokenClass] = {
    "newline": TokenClass(lambda text, _: "\n" in text, "line breaks", "a line break"),
    "blank": TokenClass(lambda text, bare: not bare and "\n" not in text, "white space within a line", "white space"),
    "space_before": TokenClass(
        lambda text, bare: bool(bare) and text[0] == " ", "words with a leading space", "a word with a leading space", "with a leading space"
    ),
    "no_space_before": TokenClass(
        lambda text, bare: bool(bare) and text[0] not in " \t\n",
        "tokens without a leading space",
        "a token without a leading space",
        "without a leading space",
    ),
    "letters": TokenClass(lambda _, bare: bare.isalpha(), "alphabetic tokens", "an alphabetic token", "of letters alone"),
    "lower": TokenClass(lambda _, bare: bare.isalpha() and bare.islower(), "lower-case words", "a lower-case word", "in lower case"),
    "capitalised": TokenClass(
        lambda _, bare: bare.isalpha() and bare[:1].isupper() and len(bare) > 1 and bare[1:].islower(),
        "Capitalised words",
        "a Capitalised word",
        "with a Capital",
    ),
    "upper": TokenClass(
        lambda _, bare: len(bare) > 1 and bare.isalpha() and bare.isupper(), "words in CAPITALS", "a word in CAPITALS", "in CAPITALS"
    ),
    "underscore": TokenClass(lambda _, bare: "_" in bare, "tokens with an underscore", "a token with an underscore", "with an underscore"),
    "letter": TokenClass(lambda _, bare: len(bare) == 1 and bare.isalpha(), "single letters", "a single letter"),
    "digits": TokenClass(lambda _, bare: NUMBER.fullmatch(bare) is not None, "digits", "digits"),
    "has_digit": TokenClass(
        lambda _, bare: any(character.isdigit() for character in bare),
        "tokens with a digit in them",
        "a token with a digit in it",
        "with a digit in them",
    ),
    "hexadecimal": TokenClass(lambda _, bare: HEXADECIMAL.fullmatch(bare) is not None, "hexadecimal digits", "hexadecimal digits"),
    "name": TokenClass(lambda _, bare: bool(bare) and _is_name(bare), "words and names", "a word or name"),
    "punctuation": TokenClass(lambda _, bare: PUNCTUATION.fullmatch(bare) is not None, "punctuation", "punctuation"),
    "quote": TokenClass(lambda _, bare: '"' in bare or "'" in bare, "quotation marks", "a quotation mark"),
    "opens": TokenClass(lambda _, bare: bare[-1:] in ("(", "[", "{"), "opening brackets", "an opening bracket"),
    "closes": TokenClass(lambda _, bare: bare[:1] in (")", "]", "}"), "closing brackets", "a closing bracket"),
    "operator": TokenClass(lambda _, bare: bool(bare) and all(character in "+-*/%=<>!&|^~@" for character in bare), "operators", "an operator"),
    "not_ascii": TokenClass(lambda text, _: not text.isascii(), "characters beyond ASCII", "a character beyond ASCII"),
    "vowel": TokenClass(lambda _, bare: len(bare) == 1 and bare.lower() in "aeiou", "vowels", "a vowel"),
    "consonant": TokenClass(lambda _, bare: len(bare) == 1 and bare.lower() in "bcdfghjklmnpqrstvwxyz", "consonants", "a consonant"),
    "sentence_end": TokenClass(
        lambda _, bare: bool(bare) and bare.strip("\"'”’)") in (".", "!", "?"), "the ends of sentences", "the end of a sentence"
    ),
    "pronoun": _word_class("pronoun", "pronouns", "a pronoun"),
    "determiner": _word_class("determiner", "articles and determiners", "an article or determiner"),
    "preposition": _word_class("preposition", "prepositions", "a preposition"),
    "conjunction": _word_class("conjunction", "conjunctions", "a conjunction"),
    "auxiliary": _word_class("auxiliary", "auxiliary verbs", "an auxiliary verb"),
}

# Names from a token's bare text; None where a token has none, such as a short one.
NAMES: dict[str, Callable[[str], str | None]] = {
    "bare": lambda bare: bare or None,
    "word": lambda bare: bare.lower() or None,
    "prefix2": lambda bare: bare[:2].lower() if len(bare) > 2 else None,
    "prefix3": lambda bare: bare[:3].lower() if len(bare) > 3 else None,
    "suffix1": lambda bare: bare[-1:].lower() or None,
    "suffix2": lambda bare: bare[-2:].lower() if len(bare) > 2 else None,
    "suffix3": lambda bare: bare[-3:].lower() if len(bare) > 3 else None,
}


@dataclass(frozen=True)
class TokenProperties:
    """Columns [V+1] over a vocabulary's V tokens; entry V is "no token there".

    lowered    each token's text in lower case, without white space around it
    codes      name -> int32 [V+1]: the number of the token's value of that name, -1 for none; `values[name][code]` is its text
    classes    name -> bool [V+1]
    special    bool [V+1]   special tokens; they have no class and no name
    indent     int32 [V+1]  columns after its last line break, or columns of a blank token
    brackets   int8 [3, V+1]  opening less closing brackets of each kind
    quotes     int8 [3, V+1]  single quotes, double quotes, triple quotes (these are not counted among the former)
    comment    bool [V+1]   the token contains a `#`
    """

    strings: tuple[str, ...]
    lowered: tuple[str, ...]
    codes: dict[str, NDArray[np.int32]]
    values: dict[str, tuple[str, ...]]
    numbers: dict[str, dict[str, int]]
    classes: dict[str, NDArray[np.bool_]]
    special: NDArray[np.bool_]
    indent: NDArray[np.int32]
    brackets: NDArray[np.int8]
    quotes: NDArray[np.int8]
    comment: NDArray[np.bool_]

    @property
    def size(self) -> int:
        return len(self.strings)

    @cached_property
    def cased(self) -> frozenset[str]:
        """Return the words that the vocabulary writes in several cases."""
        spellings = Counter(bare.lower() for bare in self.values["bare"])
        return frozenset(word for word, count in spellings.items() if count > 1)

    @cached_property
    def are_characters(self) -> bool:
        """Return whether nearly all tokens are single characters."""
        lengths = [len(text) for text, special in zip(self.strings, self.special[:-1], strict=True) if not special]
        return sum(length == 1 for length in lengths) >= CHARACTER_SHARE * len(lengths)

    def code_count(self, name: str) -> int:
        """Return the number of distinct codes of an attribute."""
        return self.size if name == "token" else len(self.values[name])


@lru_cache(maxsize=4)
def properties_of(vocabulary: Vocabulary) -> TokenProperties:
    """Return a vocabulary's properties, cached per process; 20 microseconds per token."""
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
    for name, kind in CLASSES.items():
        flags = [bool(text) and kind.holds(text, stripped) for text, stripped in zip(shown, bare, strict=True)]
        classes[name] = np.array([*flags, False], dtype=np.bool_)

    return TokenProperties(
        strings=strings,
        lowered=(*(text.lower() for text in bare), ""),
        codes=codes,
        values={name: tuple(known) for name, known in numbers.items()},
        numbers=numbers,
        classes=classes,
        special=special,
        indent=np.array([*(_columns(text) for text in shown), 0], dtype=np.int32),
        brackets=np.array([[*(text.count(pair[0]) - text.count(pair[1]) for text in shown), 0] for pair in BRACKETS], dtype=np.int8),
        quotes=np.array([*(_quotes(text) for text in shown), (0, 0, 0)], dtype=np.int8).T.copy(),
        comment=np.array([*("#" in text for text in shown), False], dtype=np.bool_),
    )


def _columns(text: str) -> int:
    """Return the columns of white space after the last line break; a tab is four."""
    tail = text.rpartition("\n")[2]
    return sum(4 if character == "\t" else 1 for character in tail) if not tail.strip() else 0


def _quotes(text: str) -> tuple[int, int, int]:
    triple = text.count('"""') + text.count("'''")
    rest = text.replace('"""', "").replace("'''", "")
    return min(rest.count("'"), 127), min(rest.count('"'), 127), min(triple, 127)
