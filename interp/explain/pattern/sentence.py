"""A rule in words that a person would accept."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

from interp.domain.vocabulary import Vocabulary
from interp.explain.pattern.literals import MAIN_SHARE, Between, Contains, Flag, InRow, Literal, OneOf, Seen
from interp.explain.pattern.outline import Outline
from interp.explain.pattern.properties import CLASSES, properties_of
from interp.explain.pattern.rule import Clause, Rule
from interp.explain.pattern.token_windows import TAILS, tail_tokens

SPACES_COUNTED = 3
# Clauses that carry this share of a rule are its main case: the label says them alone, and that it is so mostly.
MAIN_CLAUSES = 0.8
# Of what is true beyond this share no "mostly" is said.
NEARLY_ALL = 0.95
# Where the feature fires at fewer of the described places, it is some of them.
SOME_HITS = 0.5
HALF = 0.5
WEAKER = ("some ", "sometimes ", "often ")
# A class names a set when it holds for so many of its values.
CLASS_SHARE = 0.9

# Class of a token: several of them, one of them.
NOUNS: dict[str, tuple[str, str]] = {
    "newline": ("line breaks", "a line break"),
    "blank": ("white space within a line", "white space"),
    "space_before": ("words with a leading space", "a word with a leading space"),
    "no_space_before": ("tokens without a leading space", "a token without a leading space"),
    "letters": ("alphabetic tokens", "an alphabetic token"),
    "lower": ("lower-case words", "a lower-case word"),
    "capitalised": ("Capitalised words", "a Capitalised word"),
    "upper": ("words in CAPITALS", "a word in CAPITALS"),
    "underscore": ("tokens with an underscore", "a token with an underscore"),
    "letter": ("single letters", "a single letter"),
    "digits": ("digits", "digits"),
    "has_digit": ("tokens with a digit in them", "a token with a digit in it"),
    "hexadecimal": ("hexadecimal digits", "hexadecimal digits"),
    "name": ("words and names", "a word or name"),
    "punctuation": ("punctuation", "punctuation"),
    "quote": ("quotation marks", "a quotation mark"),
    "opens": ("opening brackets", "an opening bracket"),
    "closes": ("closing brackets", "a closing bracket"),
    "operator": ("operators", "an operator"),
    "not_ascii": ("characters beyond ASCII", "a character beyond ASCII"),
}
NOUNS |= {
    "vowel": ("vowels", "a vowel"),
    "consonant": ("consonants", "a consonant"),
    "sentence_end": ("the ends of sentences", "the end of a sentence"),
    "pronoun": ("pronouns", "a pronoun"),
    "determiner": ("articles and determiners", "an article or determiner"),
    "preposition": ("prepositions", "a preposition"),
    "conjunction": ("conjunctions", "a conjunction"),
    "auxiliary": ("auxiliary verbs", "an auxiliary verb"),
}
# The same after another name of the token, where "that are" would be clumsy.
QUALIFIERS: dict[str, str] = {
    "space_before": "with a leading space",
    "no_space_before": "without a leading space",
    "letters": "of letters alone",
    "lower": "in lower case",
    "capitalised": "with a Capital",
    "upper": "in CAPITALS",
    "underscore": "with an underscore",
    "has_digit": "with a digit in them",
}
# Fact of a place: when it holds, when it does not.
PLACES: dict[str, tuple[str, str]] = {
    "line_start": ("at the start of a line", "not at the start of a line"),
    "deeper": ("in a line indented deeper than the one before", "in a line not indented deeper than the one before"),
    "shallower": ("in a line indented less than the one before", "in a line not indented less than the one before"),
    "in_string": ("inside a string", "outside strings"),
    "in_triple": ("inside a triple-quoted string", "outside triple-quoted strings"),
    "in_comment": ("inside a comment", "outside comments"),
    "in_round": ("inside round brackets", "outside round brackets"),
    "in_square": ("inside square brackets", "outside square brackets"),
    "in_curly": ("inside curly brackets", "outside curly brackets"),
    "repeated": ("that stood earlier in the window", "for the first time in the window"),
    "continued": ("again after the same token as before", "not after the same token as before"),
}
# Attribute of the token itself: what its tokens are called, given the quoted values.
OWN: dict[str, str] = {
    "token": "{}",
    "bare": "{}",
    "word": "{}",
    "prefix2": "words that begin with {}",
    "prefix3": "words that begin with {}",
    "suffix1": "tokens that end in {}",
    "suffix2": "words that end in {}",
    "suffix3": "words that end in {}",
    "tail2": "the last character of {}",
    "tail3": "the last character of {}",
}
# What the values of an attribute are called, where they are not tokens.
CALLED = {
    "prefix2": "letters",
    "prefix3": "letters",
    "suffix1": "characters",
    "suffix2": "letters",
    "suffix3": "letters",
    "line_before": "characters",
}
OF_PLACE: dict[str, str] = {
    "line_first": "in a line that begins with {}",
    "line_before": "after a line that ends in {}",
    "indent": "in a line indented by {} columns",
    "place": "as word {} of a line",
    "row": "at place {} of the input",
}
# Attributes that ask for a piece of the token's text.
SHAPES = ("prefix2", "prefix3", "suffix1", "suffix2", "suffix3")
# Attributes whose values are counts and not texts.
PLACES_COUNTED = ("indent", "break_indent", "place", "row")
DISTANCE = {-3: "three tokens after", -2: "two tokens after", -1: "right after", 1: "right before"}


# Classes that name a set of tokens, the closest first, and what its tokens are called.
SET_NOUNS: dict[str, str] = {
    "newline": "line breaks",
    "blank": "runs of spaces",
    "digits": "numbers",
    "pronoun": "pronouns",
    "determiner": "articles and determiners",
    "preposition": "prepositions",
    "conjunction": "conjunctions",
    "auxiliary": "auxiliary verbs",
    "sentence_end": "ends of sentences",
    "opens": "opening brackets",
    "closes": "closing brackets",
    "operator": "operators",
    "punctuation": "punctuation",
    "letter": "single letters",
    "upper": "CAPITALS",
    "capitalised": "Capitalised words",
    "underscore": "names with an underscore",
}


class Role(IntEnum):
    """What a phrase is in its sentence; of several names of the token the first in this order leads."""

    NAMED = 0
    CLASS = 1
    SHAPE = 2
    EXCEPT = 3
    PLACE = 4


@dataclass(frozen=True, slots=True)
class Phrase:
    """One condition in words; `also` is how it is said of tokens that have a name already."""

    role: Role
    text: str
    also: str = ""


def sentence(rule: Rule, vocabulary: Vocabulary, most_named: int = 0) -> str:
    """One line of text; the values of a set come in the order of their weight.

    A label for readers: the main case where one carries most of the rule ("mostly"), a few examples of a set ("tokens such as"), what strings of
    characters share and words that hold them ("as in"). With `most_named` the whole rule: every clause, and so many values of each set.

    `x` with backticks is the token x; where the rule takes it with and without a space before it, or in several cases, it is named once.
    """
    if rule.outline is not None and not most_named:
        return _outlined(rule.outline)
    clauses = rule.clauses if most_named else _main(rule.clauses)
    said = "; or ".join(dict.fromkeys(_hedged(_clause(clause, vocabulary, most_named)) for clause in clauses))
    return said if len(clauses) == len(rule.clauses) else _hedged(f"mostly {said}")


def _hedged(said: str) -> str:
    """With "mostly" at the beginning, once, wherever it stands; nowhere where a weaker word says it."""
    if "mostly " not in said:
        return said
    said = said.replace("mostly ", "")
    if said.startswith(WEAKER) or " such as " in said:
        return said
    return f"mostly {'tokens' + said.removeprefix('any token') if said.startswith('any token right') else said}"


def _main(clauses: Sequence[Clause]) -> Sequence[Clause]:
    """The first clauses that carry most of the rule; all of them where their shares are not known."""
    carried = 0.0
    for count, clause in enumerate(clauses, 1):
        carried += clause.share or 0.0
        if carried >= MAIN_CLAUSES:
            return clauses[:count]
    return clauses


def _expanded(literal: Literal, most_named: int) -> Literal:
    """The literal with at most so many values named one by one, and at least those that it names itself; as it is where none are asked for."""
    if not isinstance(literal, OneOf) or not most_named:
        return literal
    known = (*literal.values, *literal.rare)
    named = max(most_named, len(literal.values))
    return replace(literal, values=known[:named], rare=known[named:], share=0.0)


def show(text: str) -> str:
    """A token between backticks, with its white space made visible."""
    spaces = len(text) - len(text.rstrip(" "))
    body = text[: len(text) - spaces] if spaces >= SPACES_COUNTED else text
    visible = body.replace("\r", "").replace("\n", "↵").replace("\t", "⇥").replace(" ", "␣")
    if spaces >= SPACES_COUNTED:
        visible += f"␣×{spaces}"
    return f"‘{visible}’" if "`" in visible else f"`{visible}`"


def _token(token: int, vocabulary: Vocabulary) -> str:
    if token in vocabulary.special:
        return "the start of the input"
    text = vocabulary.text(token)
    return show(repr(vocabulary.tokens[token])[2:-1] if "\ufffd" in text else text)


def _values(literal: OneOf, vocabulary: Vocabulary) -> str:
    if literal.attribute == "token":
        return _either(*_tokens(literal, vocabulary), literal.share, _noun(literal, vocabulary))
    if literal.attribute in PLACES_COUNTED:
        return _either([str(value) for value in sorted(literal.values, key=int)], len(literal.rare))
    what = CALLED.get(literal.attribute, "tokens")
    if literal.attribute in TAILS:
        tails = [_tail(int(value), literal.attribute, vocabulary) for value in literal.values]
        return _either([show(text) for text in tails], len(literal.rare), literal.share, "strings")
    what = _noun(literal, vocabulary) if what == "tokens" else what
    said = _either([show(str(value)) for value in literal.values], len(literal.rare), literal.share, what)
    any_case = literal.attribute == "word" and not properties_of(vocabulary).cased.isdisjoint(literal.values)
    return f"{said} in any case" if any_case else said


def _tail(code: int, attribute: str, vocabulary: Vocabulary) -> str:
    """The text of several tokens from their code (`Scene`)."""
    return "".join(vocabulary.text(token) for token in tail_tokens(attribute, code, len(vocabulary)))


def _noun(literal: OneOf, vocabulary: Vocabulary) -> str:
    """What the tokens of a set are called: a class that nearly all of them have, and those that are named; else tokens."""
    if not literal.rare:
        return "tokens"
    texts = [vocabulary.text(int(value)) if literal.attribute == "token" else str(value) for value in (*literal.values, *literal.rare)]
    for name, noun in SET_NOUNS.items():
        held = [CLASSES[name](text, text.strip()) for text in texts]
        if all(held[: len(literal.values)]) and sum(held) >= CLASS_SHARE * len(held):
            return noun
    return "tokens"


def _tokens(literal: OneOf, vocabulary: Vocabulary) -> tuple[list[str], int]:
    """The named tokens and how many others there are; twins (with and without a space before them, in several cases) count as one.

    That is the one without a space, in lower case, as far as the set has it.
    """
    texts = {int(value): vocabulary.text(int(value)) for value in (*literal.values, *literal.rare)}
    twins: dict[str, int] = {}
    for token, text in sorted(texts.items(), key=lambda pair: (pair[1][:1] == " ", not pair[1].islower())):
        twins.setdefault(text.removeprefix(" ").lower() or text, token)
    first = {token: twins[text.removeprefix(" ").lower() or text] for token, text in texts.items()}
    named = list(dict.fromkeys(first[int(value)] for value in literal.values))
    return [_token(token, vocabulary) for token in named], len({first[int(value)] for value in literal.rare} - set(named))


def _either(quoted: Sequence[str], rare: int = 0, share: float = 1.0, what: str = "tokens") -> str:
    """`a`, `b` or `c`; where there are `rare` ones that are not named: mostly `a` where those named carry most, else tokens such as `a`, `b` or `c`.

    `what` the values are called in the latter.
    """
    if rare and share >= MAIN_SHARE:
        return f"mostly {_either(quoted)}"
    if rare:
        return f"{what} such as {_either(quoted)}"
    return quoted[0] if len(quoted) == 1 else ", ".join(quoted[:-1]) + " or " + quoted[-1]


def _clause(clause: Clause, vocabulary: Vocabulary, most_named: int) -> str:
    breaks = any(_is_break(literal) for literal in clause.literals)
    literals = [_expanded(_of_line(literal) if breaks else literal, most_named) for literal in clause.literals]
    phrases = [PHRASES[type(literal)](literal, vocabulary) for literal in literals]
    names = sorted((phrase for phrase in phrases if phrase.role is not Role.PLACE), key=lambda phrase: phrase.role)
    if not names or names[0].role is Role.EXCEPT:
        names.insert(0, Phrase(Role.CLASS, "any token"))
    head, *rest = names
    return " ".join([head.text, *(phrase.also or phrase.text for phrase in rest), *(phrase.text for phrase in phrases if phrase.role is Role.PLACE)])


def _is_break(literal: Literal) -> bool:
    return literal == Flag("newline") or (isinstance(literal, OneOf | Between) and literal.attribute == "break_indent")


def _of_line(literal: Literal) -> Literal:
    """What stands right before a line break ends the line."""
    if isinstance(literal, OneOf) and (literal.attribute, literal.at) == ("suffix1", -1):
        return replace(literal, attribute="line_before", at=0)
    return literal


def _one_of(literal: OneOf, vocabulary: Vocabulary) -> Phrase:
    values = _values(literal, vocabulary)
    if literal.attribute == "break_indent":
        return Phrase(Role.EXCEPT, f"other than {_breaks(values)}") if literal.negated else Phrase(Role.CLASS, _breaks(values))
    if literal.attribute in OF_PLACE:
        phrase = OF_PLACE[literal.attribute].format(values)
        return Phrase(Role.PLACE, f"not {phrase}" if literal.negated else phrase)
    own = OWN[literal.attribute].format(values)
    if literal.at != 0:
        phrase = f"{DISTANCE[literal.at]} {own}"
        return Phrase(Role.PLACE, f"not {phrase}" if literal.negated else phrase)
    if literal.negated:
        return Phrase(Role.EXCEPT, f"other than {own}")
    if literal.attribute in SHAPES:
        return Phrase(Role.SHAPE, own, own[own.index("that ") :])
    return Phrase(Role.NAMED, own, f"that are {own}")


def _outlined(outline: Outline) -> str:
    """Strings of characters by what they share, with words that hold them."""
    noun = outline.noun if not outline.last else _either([show(character) for character in outline.last])
    before = _either([show(character) for character in outline.before]) if outline.before else ""
    place = f"{outline.place or 'right after'} {before}" if before else outline.place
    pairs = any(len(text) > 1 for text in outline.last)
    noun = f"the end of {noun}" if pairs else noun
    hedge = "" if outline.share >= NEARLY_ALL else "mostly " if outline.share > HALF else "often "
    if outline.hits < SOME_HITS:
        hedge = "sometimes " if pairs else "some "
    link = "in" if outline.noun or any(text[-1].isalnum() for text in outline.last) else "after"
    words = f", as {link} {_either([show(word) for word in outline.words])}" if outline.words else ""
    return f"{hedge}{noun}{' ' * bool(place)}{place}{words}"


def _breaks(columns: str) -> str:
    return f"line breaks indented by {columns} columns"


def _flag(literal: Flag, _: Vocabulary) -> Phrase:
    if literal.name in PLACES:
        return Phrase(Role.PLACE, PLACES[literal.name][literal.negated])
    many, one = NOUNS[literal.name]
    if literal.at != 0:
        phrase = f"{DISTANCE[literal.at]} {one}"
        return Phrase(Role.PLACE, f"not {phrase}" if literal.negated else phrase)
    if literal.negated:
        return Phrase(Role.EXCEPT, f"other than {many}")
    return Phrase(Role.CLASS, many, QUALIFIERS.get(literal.name, f"that are {many}"))


def _seen(literal: Seen, _: Vocabulary) -> Phrase:
    return Phrase(Role.PLACE, f"with {show(literal.word)} earlier in the {literal.scope}")


def _in_row(literal: InRow, _: Vocabulary) -> Phrase:
    if literal.high is None:
        return Phrase(Role.PLACE, f"after the input's first {literal.low - 1} tokens")
    if literal.high <= 1:
        return Phrase(Role.PLACE, "at the very start of the input")
    return Phrase(Role.PLACE, f"within the input's first {literal.high} tokens")


def _between(literal: Between, _: Vocabulary) -> Phrase:
    if literal.high is None:
        return Phrase(Role.CLASS, _breaks(f"{literal.low} or more"))
    return Phrase(Role.CLASS, _breaks(f"at most {literal.high}" if literal.low == 0 else f"{literal.low} to {literal.high}"))


def _contains(literal: Contains, _: Vocabulary) -> Phrase:
    also = f"that contain {show(literal.piece)}"
    return Phrase(Role.SHAPE, f"tokens {also}", also)


PHRASES: dict[type, Callable[..., Phrase]] = {OneOf: _one_of, Flag: _flag, Seen: _seen, InRow: _in_row, Between: _between, Contains: _contains}
