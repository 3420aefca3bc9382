"""Split labels and queries into the lexemes that both databases search for.

A lexeme is made here alone, of ASCII letters and digits, so that SQLite and PostgreSQL find the same labels and no text of a user is part of their
query languages. Words are stemmed as English (Snowball), and none is a stop word: `the` is a token like any other. What a label quotes (`␣the`) is
one lexeme more, which only the same quotation finds.
"""

import hashlib
import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from snowballstemmer.english_stemmer import EnglishStemmer

WORD = re.compile(r"[^\W_]+")
QUOTED = re.compile(r"`([^`]+)`|‘([^’]+)’")
# In a query: a phrase, a quoted token, or what stands between blanks.
PART = re.compile(r'"([^"]*)"?|`([^`]+)`|‘([^’]+)’|([^\s"]+)')
SIGNS = str.maketrans({" ": "␣", "\n": "↵", "\t": "⇥", "\r": None})
LONGEST_WORD, LONGEST_LABEL, MOST_TERMS = 64, 4_000, 32
# The marks around the digest of a quoted token, which make its lexeme longer than any that a label would have by chance.
BEFORE, AFTER = "0q", "q0"
_stemmers = threading.local()


@dataclass(frozen=True, slots=True)
class Lexeme:
    """A searchable word or token of a label, and where it stands there."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Term:
    """Lexemes that follow one another; of a single one, `is_prefix` asks for its beginning."""

    lexemes: tuple[str, ...]
    is_prefix: bool = False


@dataclass(frozen=True, slots=True)
class LabelWords:
    """The lexemes of a label: its words in order, and the tokens that it quotes."""

    words: tuple[Lexeme, ...]
    tokens: tuple[Lexeme, ...]


def words_of(label: str) -> LabelWords:
    """Return a label's lexemes, of its first `LONGEST_LABEL` characters."""
    label = label[:LONGEST_LABEL]
    words = tuple(Lexeme(_word(found[0]), found.start(), found.end()) for found in WORD.finditer(label))
    tokens = tuple(Lexeme(_token(found[1] or found[2]), found.start(), found.end()) for found in QUOTED.finditer(label))
    return LabelWords(words, tokens)


def parse(query: str) -> tuple[Term, ...]:
    """Return the terms that a label must have; any text is a query.

    `"a b"` is a phrase, `` `␣the` `` a quoted token, `impor*` a beginning. A part without a letter or digit (`:=`), or with a sign for white space
    (`␣the`), is a quoted token, too.
    """
    return tuple(dict.fromkeys(_terms(query)))[:MOST_TERMS]


def spans(terms: Sequence[Term], label: str) -> list[tuple[int, int]]:
    """Return ranges of characters where a label has any term, ascending and apart."""
    found = words_of(label)
    ranges = sorted(each for term in terms for each in _places(term, found))
    joined: list[tuple[int, int]] = []
    for start, end in ranges:
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def matches(terms: Sequence[Term], label: str) -> bool:
    """Return whether a label has all of the terms, as the databases decide."""
    found = words_of(label)
    return all(any(True for _ in _places(term, found)) for term in terms)


def _terms(query: str) -> Iterator[Term]:
    for phrase, backticks, quotes, plain in PART.findall(query):
        if backticks or quotes:
            yield Term((_token(backticks or quotes),))
            continue
        is_token = plain and (not WORD.search(plain) or any(sign in plain for sign in "␣↵⇥"))
        if is_token:
            yield Term((_token(plain),))
            continue
        words = tuple(_word(found[0]) for found in WORD.finditer(phrase or plain))
        if phrase and words:
            yield Term(words)
        elif words:
            # A name of several words (`os.path`, `__init__`) is a phrase.
            yield Term(words, is_prefix=len(words) == 1 and plain.endswith("*"))


def _places(term: Term, of: LabelWords) -> Iterator[tuple[int, int]]:
    wanted, size = term.lexemes, len(term.lexemes)
    for lexeme in of.tokens:
        if wanted == (lexeme.text,):
            yield lexeme.start, lexeme.end
    for first in range(len(of.words) - size + 1):
        some = of.words[first : first + size]
        if term.is_prefix and some[0].text.startswith(wanted[0]):
            yield some[0].start, some[0].end
        elif all(lexeme.text == text for lexeme, text in zip(some, wanted, strict=True)):
            yield some[0].start, some[-1].end


@lru_cache(maxsize=50_000)
def _word(written: str) -> str:
    """Return a word's lexeme: its stem, letters beyond ASCII by their numbers."""
    folded = written[:LONGEST_WORD].casefold()
    stem = _stemmer().stemWord(folded) if folded.isascii() and folded.isalpha() else folded
    return stem if stem.isascii() else "".join(letter if letter.isascii() else f"x{ord(letter):x}z" for letter in stem)


def _token(written: str) -> str:
    """Return a quoted token's lexeme, white space as `interp.explain.pattern` shows it."""
    return BEFORE + hashlib.blake2b(written.translate(SIGNS).encode("utf-8", "replace"), digest_size=8).hexdigest() + AFTER


def _stemmer() -> EnglishStemmer:
    """Return this thread's stemmer: one holds the word that it works on."""
    if not hasattr(_stemmers, "english"):
        # The module's own class: the package's function would prefer a compiled library of another version.
        _stemmers.english = EnglishStemmer()
    found: EnglishStemmer = _stemmers.english
    return found
