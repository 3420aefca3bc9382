"""Parse labels for the default scripted judge: quotes, conditions on place, plain words.

It parses the sentences of `interp.explain.pattern` well enough for a trial without a key. It reads characters, not the subject's tokens, and ignores
unknown conditions.
"""

import re
from collections.abc import Callable
from functools import lru_cache

from api.demo.fake_llm.asked import Span
from api.demo.fake_llm.texts import COMMON
from interp.explain.pattern.properties import WORD_CLASSES

Reading = Callable[[str], list[Span]]
Condition = Callable[[str, int, int], bool]

QUOTED = re.compile(r"`([^`\n]+)`|\"([^\"\n]+)\"|“([^”\n]+)”|‘([^’\n]+)’|(?<!\w)'([^'\n]+)'(?!\w)")
VISIBLE = re.compile(r"␣×(\d+)|[␣↵⇥]")
PLACEHOLDER = re.compile("\x01(\\d+)\x01")
LIST = "(?:(?:mixed )?(?:tokens|strings|letters|characters) such as )?(?P<list>\x01\\d+\x01(?:(?:, | or | and |, or |, and )\x01\\d+\x01)*)"
SHAPES = (
    (re.compile(f"(?:words|tokens) that begin with {LIST}"), r"(?<!\w){}\w*"),
    (re.compile(f"(?:words|tokens) that end in {LIST}"), r"\w*{}(?!\w)"),
    (re.compile(f"tokens that contain {LIST}"), r"\w*{}\w*"),
)


def _any_of(name: str) -> str:
    """Return a pattern of the words of a closed class."""
    return rf"(?i:\b(?:{'|'.join(WORD_CLASSES[name].split())})\b)"


NOUNS = {
    "white space within a line": r"(?<=\S)[ \t]{2,}",
    "characters beyond ASCII": r"[^\x00-\x7f]+",
    "tokens without a leading space": r"(?<! )\b\w+",
    "tokens with a digit in them": r"\w*\d\w*",
    "words with a leading space": r" \w+",
    "tokens with an underscore": r"\w*_\w*",
    "hexadecimal digits": r"\b[0-9a-fA-F]*\d[0-9a-fA-F]*\b",
    "Capitalised words": r"\b[A-Z][a-z]+",
    "alphabetic tokens": r"[^\W\d_]+",
    "lower-case words": r"\b[a-z]+\b",
    "words in CAPITALS": r"\b[A-Z]{2,}\b",
    "opening brackets": r"[(\[{]",
    "closing brackets": r"[)\]}]",
    "quotation marks": r"[\"']",
    "words and names": r"[^\W\d]\w*",
    "single letters": r"\b[^\W\d_]\b",
    "punctuation": r"[^\w\s]",
    "line breaks": r"\n[ \t]*",
    "operators": r"[-+*/%=<>!&|^~]+",
    "the ends of sentences": r"[.!?]",
    "vowels": r"(?i:[aeiou])",
    "consonants": r"(?i:[b-df-hj-np-tv-z])",
    "pronouns": _any_of("pronoun"),
    "articles and determiners": _any_of("determiner"),
    "prepositions": _any_of("preposition"),
    "conjunctions": _any_of("conjunction"),
    "auxiliary verbs": _any_of("auxiliary"),
    "any token": r"\w+|[^\w\s]",
    "digits": r"\d+",
}
QUALIFIERS = {
    "in lower case": re.compile(r"\s*[a-z]+"),
    "with a Capital": re.compile(r"\s*[A-Z]\w*"),
    "in CAPITALS": re.compile(r"\s*[A-Z]+"),
    "of letters alone": re.compile(r"\s*[^\W\d_]+"),
}
NEARBY = re.compile(f"(not )?(right after|two tokens after|three tokens after|right before) {LIST}")
SEEN = re.compile(f"with {LIST} earlier in the (?P<where>line|window)")
SHORTEST_PART, SHORTEST_WORD = 3, 4
STRONG, WEAK = 10.0, 6.0


@lru_cache(maxsize=4096)
def reading(label: str) -> Reading:
    """Return a function that finds the label's spans in a text, unsorted, maybe overlapping."""
    quotes: list[str] = []

    def keep(match: re.Match[str]) -> str:
        quotes.append(as_text(next(part for part in match.groups() if part is not None)))
        return f"\x01{len(quotes) - 1}\x01"

    bare = QUOTED.sub(keep, label)
    clauses = [found for part in re.split(r"; or |;|\n", bare) if (found := _clause(part.strip(), quotes)) is not None]
    if not clauses:
        return _of_words(label)
    return lambda text: [span for clause in clauses for span in clause(text)]


def as_text(quoted: str) -> str:
    """Return a quoted token with its original white space."""
    return VISIBLE.sub(lambda match: " " * int(match[1]) if match[1] else {"␣": " ", "↵": "\n", "⇥": "\t"}[match[0]], quoted)


def _listed(match: re.Match[str], quotes: list[str]) -> list[str]:
    return [quotes[int(number)] for number in PLACEHOLDER.findall(match["list"])]


def _clause(clause: str, quotes: list[str]) -> Reading | None:
    head = _head(clause, quotes)
    if head is None:
        return None
    conditions = _conditions(clause, quotes)

    def find(text: str) -> list[Span]:
        places = [(match.start(), match.end()) for match in head(text) if match.end() > match.start()]
        return [(start, end, STRONG) for start, end in places if all(holds(text, start, end) for holds in conditions)]

    return find


def _head(clause: str, quotes: list[str]) -> Callable[[str], list[re.Match[str]]] | None:
    """Find the strings that the clause names, without the conditions on their place."""
    for shape, pattern in SHAPES:
        if (match := shape.search(clause)) is not None:
            either = "|".join(re.escape(value.strip()) for value in _listed(match, quotes))
            return _finder(re.compile(pattern.format(f"(?:{either})")))
    noun = next((noun for noun in NOUNS if clause.startswith(noun)), None)
    if noun is not None:
        return _finder(re.compile(NOUNS[noun]))
    named = re.search(LIST, NEARBY.sub("", clause))
    if named is None:
        return None
    flags = re.IGNORECASE if "in any case" in clause else re.NOFLAG
    values = [value.strip() or value for value in _listed(named, quotes)]
    return _values(values, flags)


def _finder(pattern: re.Pattern[str]) -> Callable[[str], list[re.Match[str]]]:
    return lambda text: list(pattern.finditer(text))


def _values(values: list[str], flags: re.RegexFlag) -> Callable[[str], list[re.Match[str]]]:
    """Find whole words, or else parts of words, since tokens may be parts."""
    wholes = "|".join(_whole(value) for value in values)
    parts = "|".join(re.escape(value) for value in values if len(value) >= SHORTEST_PART)
    whole, part = re.compile(wholes, flags), re.compile(parts, flags) if parts else None
    return lambda text: list(whole.finditer(text)) or (list(part.finditer(text)) if part else [])


def _whole(value: str) -> str:
    left = r"(?<![^\W_])" if value[:1].isalnum() else ""
    right = r"(?![^\W_])" if value[-1:].isalnum() else ""
    return f"{left}{re.escape(value)}{right}"


def _conditions(clause: str, quotes: list[str]) -> list[Condition]:
    found = [_nearby(match[2], _listed(match, quotes), bool(match[1])) for match in NEARBY.finditer(clause)]
    found += [_other_than(_listed(match, quotes)) for match in re.finditer(f"other than {LIST}", clause)]
    found += [_line_begins(_listed(match, quotes), bool(match[1])) for match in re.finditer(f"(not )?in a line that begins with {LIST}", clause)]
    found += [_seen_earlier(_listed(match, quotes), match["where"] == "line") for match in SEEN.finditer(clause)]
    if "at the start of a line" in clause:
        found.append(_line_start("not at the start of a line" in clause))
    found += [_qualified(pattern) for words, pattern in QUALIFIERS.items() if words in clause and not clause.startswith(words)]
    return found


def _nearby(where: str, values: list[str], negated: bool) -> Condition:
    stripped = [value.strip() or value for value in values]
    gap = {"right after": 0, "two tokens after": 1, "three tokens after": 2, "right before": 0}[where]

    def holds(text: str, start: int, end: int) -> bool:
        if where == "right before":
            beside = any(text[end:].lstrip(" ").startswith(value) or text.startswith(value, end) for value in stripped)
        else:
            before = text[:start].rstrip(" ")
            for _ in range(gap):
                before = re.sub(r"(\w+|\s+|[^\w\s])$", "", before).rstrip(" ")
            beside = any(before.endswith(value) or text[:start].endswith(value) for value in stripped)
        return beside is not negated

    return holds


def _other_than(values: list[str]) -> Condition:
    excluded = {value.strip() for value in values}
    return lambda text, start, end: text[start:end].strip() not in excluded


def _line_of(text: str, place: int) -> int:
    return text.rfind("\n", 0, place) + 1


def _line_begins(values: list[str], negated: bool) -> Condition:
    begins = tuple(value.strip() for value in values)
    return lambda text, start, _: text[_line_of(text, start) :].lstrip().startswith(begins) is not negated


def _seen_earlier(values: list[str], in_line: bool) -> Condition:
    wanted = [value.strip() or value for value in values]
    return lambda text, start, _: any(value in text[_line_of(text, start) if in_line else 0 : start] for value in wanted)


def _line_start(negated: bool) -> Condition:
    return lambda text, start, _: (not text[_line_of(text, start) : start].strip()) is not negated


def _qualified(pattern: re.Pattern[str]) -> Condition:
    return lambda text, start, end: pattern.fullmatch(text, start, end) is not None


def _of_words(label: str) -> Reading:
    """Find the longer words of a label that has no quotes or known phrases."""
    words = [word for word in re.findall(r"[^\W\d_]+", label) if len(word) >= SHORTEST_WORD and word.casefold() not in COMMON]
    if not words:
        return lambda _: []
    stems = [word[:-1] if word.endswith("s") and not word.endswith("ss") else word for word in words]
    pattern = re.compile("|".join(rf"\b{re.escape(stem)}\w*" for stem in stems), re.IGNORECASE)
    return lambda text: [(match.start(), match.end(), WEAK) for match in pattern.finditer(text)]
