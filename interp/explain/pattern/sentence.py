"""A rule in words that a person would accept."""

from collections.abc import Callable, Sequence

from interp.explain.pattern.literals import Contains, Flag, InRow, OneOf, Seen
from interp.explain.pattern.rule import Clause, Rule
from interp.vocabulary import Vocabulary

SPACES_COUNTED = 3

# Class of a token: several of them, one of them.
NOUNS: dict[str, tuple[str, str]] = {
    "newline": ("line breaks", "a line break"),
    "blank": ("white space within a line", "white space"),
    "space_before": ("words with a space before them", "a word with a space before it"),
    "no_space_before": ("tokens that join on to the one before", "a token that joins on to the one before"),
    "letters": ("tokens of letters alone", "letters"),
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
}
OF_PLACE: dict[str, str] = {
    "line_first": "in a line that begins with {}",
    "line_before": "in a line after one that ends in {}",
    "indent": "in a line indented by {} columns",
    "place": "as word {} of a line",
    "row": "at place {} of the model's input",
}
DISTANCE = {-3: "three tokens after", -2: "two tokens after", -1: "right after", 1: "right before"}


def sentence(rule: Rule, vocabulary: Vocabulary) -> str:
    """One line of text; values come in the order of how strongly the feature fires on them."""
    return "; or ".join(dict.fromkeys(_clause(clause, vocabulary) for clause in rule.clauses))


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
        quoted = [_token(int(value), vocabulary) for value in literal.values]
    elif literal.attribute in OF_PLACE and isinstance(literal.values[0], int):
        quoted = [str(value) for value in sorted(literal.values, key=int)]
    else:
        quoted = [show(str(value)) for value in literal.values]
    return _either(quoted, len(literal.rare))


def _either(quoted: Sequence[str], rare: int = 0) -> str:
    """`a`, `b` or `c`; with `rare` more that are only counted: `a`, `b` and 3 rarer."""
    quoted = list(dict.fromkeys(quoted))
    if rare:
        return f"{', '.join(quoted)} and {rare} rarer"
    return quoted[0] if len(quoted) == 1 else ", ".join(quoted[:-1]) + " or " + quoted[-1]


def _clause(clause: Clause, vocabulary: Vocabulary) -> str:
    nouns: list[str] = []
    places: list[str] = []
    breaks_line = Flag("newline") in clause.literals
    for literal in clause.literals:
        noun, phrase = PHRASES[type(literal)](literal, vocabulary, breaks_line)
        (nouns if noun else places).append(phrase)
    # The most telling name of the token comes first: quoted ones before classes, exceptions last.
    nouns.sort(key=lambda phrase: (phrase.startswith("other than"), phrase[0] not in "`‘"))
    if not nouns or nouns[0].startswith("other than"):
        nouns.insert(0, "any token")
    head, *rest = nouns
    also = "".join(f" {phrase}" if phrase.startswith("other than") else f" (only {phrase})" for phrase in rest)
    return " ".join([head + also, *places])


def _one_of(literal: OneOf, vocabulary: Vocabulary, breaks_line: bool) -> tuple[bool, str]:
    values = _values(literal, vocabulary)
    if literal.attribute in OF_PLACE:
        phrase = OF_PLACE[literal.attribute].format(values)
        return False, f"not {phrase}" if literal.negated else phrase
    own = OWN[literal.attribute].format(values)
    if literal.at == 0:
        return True, f"other than {own}" if literal.negated else own
    if breaks_line and literal.at == -1 and literal.attribute == "suffix1" and not literal.negated:
        return False, f"after a line that ends in {values}"
    phrase = f"{DISTANCE[literal.at]} {own}"
    return False, f"not {phrase}" if literal.negated else phrase


def _flag(literal: Flag, _: Vocabulary, breaks_line: bool) -> tuple[bool, str]:
    if literal.name in PLACES:
        return False, PLACES[literal.name][literal.negated]
    many, one = NOUNS[literal.name]
    if literal.at != 0:
        phrase = f"{DISTANCE[literal.at]} {one}"
        return False, f"not {phrase}" if literal.negated else phrase
    if breaks_line and literal.name == "newline":
        return True, "line breaks and indentation"
    return True, f"other than {many}" if literal.negated else many


def _seen(literal: Seen, _: Vocabulary, __: bool) -> tuple[bool, str]:
    return False, f"with {show(literal.word)} earlier in the {'line' if literal.scope == 'line' else 'window'}"


def _in_row(literal: InRow, _: Vocabulary, __: bool) -> tuple[bool, str]:
    if literal.high is None:
        return False, f"after the first {literal.low - 1} tokens of the model's input"
    return False, "at the very start of the model's input" if literal.high <= 1 else f"within the first {literal.high} tokens of the model's input"


def _contains(literal: Contains, _: Vocabulary, __: bool) -> tuple[bool, str]:
    return True, f"tokens that contain {show(literal.piece)}"


PHRASES: dict[type, Callable[..., tuple[bool, str]]] = {OneOf: _one_of, Flag: _flag, Seen: _seen, InRow: _in_row, Contains: _contains}
