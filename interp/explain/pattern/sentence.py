"""Write rules as sentences."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

from interp.domain.errors import InputError
from interp.domain.explanation import Explanation
from interp.domain.vocabulary import Vocabulary
from interp.explain.pattern.candidate_table import PIECES_OF_WORDS, PLACES
from interp.explain.pattern.literals import MAIN_SHARE, Between, Contains, Flag, InRow, Literal, OneOf, Seen
from interp.explain.pattern.outline import BEGINS, BOUNDARY, Outline
from interp.explain.pattern.properties import CLASSES, properties_of
from interp.explain.pattern.rule import EXPLAINER, Clause, Rule
from interp.explain.pattern.token_windows import TAILS, tail_tokens

SPACES_COUNTED = 3
# Clauses with this share of a rule are its main case: the label names them alone, with "mostly".
MAIN_CLAUSES = 0.8
# Beyond this share no "mostly" is written.
NEARLY_ALL = 0.95
# Below this share of firing among the described places, the label says "some".
SOME_HITS = 0.5
# From this share of the activation on, the label says "mostly": on other documents it then is above half in nine of ten cases.
MOST = 0.6
WEAKER = ("some ", "often ")
# A class names a set when it holds for this share of its values.
CLASS_SHARE = 0.9

# Names of characters that cannot be shown between backticks, and of a place after the beginning of a word.
CHARACTERS = {" ": "spaces"}
AFTER_BEGINNING = "right after a word's first letters"

# Phrases of a place's flag: when it holds, when it does not.
FLAG_PHRASES: dict[str, tuple[str, str]] = {
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
# Names of tokens by an attribute of their own, around the quoted values.
OWN: dict[str, str] = {
    **dict.fromkeys(("token", "bare", "word"), "{}"),
    **dict.fromkeys(("prefix2", "prefix3"), "words that begin with {}"),
    "suffix1": "tokens that end in {}",
    **dict.fromkeys(("suffix2", "suffix3"), "words that end in {}"),
    **dict.fromkeys(TAILS, "the last character of {}"),
}
# Names of the values of an attribute, where they are not tokens.
CALLED = dict.fromkeys(("prefix2", "prefix3", "suffix2", "suffix3"), "letters") | dict.fromkeys(("suffix1", "line_before"), "characters")
OF_PLACE: dict[str, str] = {
    "line_first": "in a line that begins with {}",
    "line_before": "after a line that ends in {}",
    "indent": "in a line indented by {} columns",
    "place": "as word {} of a line",
    "row": "at place {} of the input",
}
DISTANCE = {-3: "three tokens after", -2: "two tokens after", -1: "right after", 1: "right before"}
# Classes that may name a set of tokens, the closest first, with the set's name where it differs.
SET_CLASSES = (
    *("newline", "blank", "digits", "pronoun", "determiner", "preposition", "conjunction", "auxiliary", "sentence_end"),
    *("opens", "closes", "operator", "punctuation", "letter", "upper", "capitalised", "underscore"),
)
SET_NOUNS = {
    "blank": "runs of spaces",
    "digits": "numbers",
    "sentence_end": "ends of sentences",
    "upper": "CAPITALS",
    "underscore": "names with an underscore",
}
# Values of a set that are written out in the whole text of a rule; the others are counted.
MOST_WRITTEN = 100
SIGNS = {"␣×": "␣×4 for four spaces", "␣": "␣ for a space", "↵": "↵ for a line break", "⇥": "⇥ for a tab"}


class Role(IntEnum):
    """The part of a phrase in its sentence, in the order of names."""

    NAMED = 0
    CLASS = 1
    SHAPE = 2
    EXCEPT = 3
    PLACE = 4


@dataclass(frozen=True, slots=True)
class Phrase:
    """One condition in words; `also` follows another name of the token."""

    role: Role
    text: str
    also: str = ""


def sentence(rule: Rule, vocabulary: Vocabulary, most_named: int = 0) -> str:
    """Return the rule as one line; the values of a set are ordered by weight.

    It is a label for readers: the main case where one carries most of the rule ("mostly"), a few examples of a set ("tokens such as"), what strings
    of characters share and words that contain them ("as in"). With `most_named` it is the whole rule: every clause, and so many values of each set.

    `x` with backticks is the token x. Where the rule takes it with and without a space before it, or in several cases, it is named once.
    """
    if rule.outline is not None and not most_named:
        return _outlined(rule.outline)
    clauses = rule.clauses if most_named else _main(rule.clauses)
    said = "; or ".join(dict.fromkeys(_hedged(_clause(clause, vocabulary, most_named)) for clause in clauses))
    return said if len(clauses) == len(rule.clauses) else _hedged(f"mostly {said}")


def _hedged(said: str) -> str:
    """Move "mostly" to the beginning, once, or omit it beside a weaker word."""
    if "mostly " not in said:
        return said
    said = said.replace("mostly ", "")
    if said.startswith(WEAKER) or " such as " in said:
        return said
    return f"mostly {'tokens' + said.removeprefix('any token') if said.startswith('any token right') else said}"


def _main(clauses: Sequence[Clause]) -> Sequence[Clause]:
    """Return the first clauses with most of the rule, or all without shares."""
    carried = 0.0
    for count, clause in enumerate(clauses, 1):
        carried += clause.share or 0.0
        if carried >= MAIN_CLAUSES:
            return clauses[:count]
    return clauses


def _expanded(literal: Literal, most_named: int) -> Literal:
    """Return the literal with `most_named` values named, or with its own number if greater."""
    if not isinstance(literal, OneOf) or not most_named:
        return literal
    known = (*literal.values, *literal.rare)
    named = max(most_named, len(literal.values))
    return replace(literal, values=known[:named], rare=known[named:], share=0.0)


def show(text: str) -> str:
    """Return a token between backticks, with its white space made visible."""
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
    if literal.attribute in PLACES:
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
    """Return the text of the tokens of a tail's code."""
    return "".join(vocabulary.text(token) for token in tail_tokens(attribute, code, len(vocabulary)))


def _noun(literal: OneOf, vocabulary: Vocabulary) -> str:
    """Return the name of a set's tokens: a class of nearly all, else "tokens"."""
    if not literal.rare:
        return "tokens"
    texts = [vocabulary.text(int(value)) if literal.attribute == "token" else str(value) for value in (*literal.values, *literal.rare)]
    for name in SET_CLASSES:
        held = [CLASSES[name].holds(text, text.strip()) for text in texts]
        if all(held[: len(literal.values)]) and sum(held) >= CLASS_SHARE * len(held):
            return SET_NOUNS.get(name, CLASSES[name].many)
    return "tokens"


def _tokens(literal: OneOf, vocabulary: Vocabulary) -> tuple[list[str], int]:
    """Return the named tokens, merged over leading space and case, and the other count.

    The one without a space, in lower case, is named where the set has it.
    """
    texts = {int(value): vocabulary.text(int(value)) for value in (*literal.values, *literal.rare)}
    twins: dict[str, int] = {}
    for token, text in sorted(texts.items(), key=lambda pair: (pair[1][:1] == " ", not pair[1].islower())):
        twins.setdefault(text.removeprefix(" ").lower() or text, token)
    first = {token: twins[text.removeprefix(" ").lower() or text] for token, text in texts.items()}
    named = list(dict.fromkeys(first[int(value)] for value in literal.values))
    return [_token(token, vocabulary) for token in named], len({first[int(value)] for value in literal.rare} - set(named))


def _either(quoted: Sequence[str], rare: int = 0, share: float = 1.0, what: str = "tokens") -> str:
    """Return "`a`, `b` or `c`", with "mostly" or "such as" for `rare` others.

    It is "mostly `a`" where those named carry most, else "tokens such as `a`, `b` or `c`". `what` is the name of the values in the last form.
    """
    if rare and share >= MAIN_SHARE:
        return f"mostly {_either(quoted)}"
    if rare:
        return f"{what} such as {_either(quoted)}"
    return quoted[0] if len(quoted) == 1 else ", ".join(quoted[:-1]) + " or " + quoted[-1]


def _clause(clause: Clause, vocabulary: Vocabulary, most_named: int) -> str:
    breaks = any(_is_break(literal) for literal in clause.literals)
    literals = [_expanded(_of_line(literal) if breaks else literal, most_named) for literal in clause.literals]
    phrases = [_phrase(literal, vocabulary) for literal in literals]
    names = sorted((phrase for phrase in phrases if phrase.role is not Role.PLACE), key=lambda phrase: phrase.role)
    if not names or names[0].role is Role.EXCEPT:
        names.insert(0, Phrase(Role.CLASS, "any token"))
    head, *rest = names
    return " ".join([head.text, *(phrase.also or phrase.text for phrase in rest), *(phrase.text for phrase in phrases if phrase.role is Role.PLACE)])


def _is_break(literal: Literal) -> bool:
    return literal == Flag("newline") or (isinstance(literal, OneOf | Between) and literal.attribute == "break_indent")


def _of_line(literal: Literal) -> Literal:
    """Return a condition on a token before a line break as a line-end condition."""
    if isinstance(literal, OneOf) and (literal.attribute, literal.at) == ("suffix1", -1):
        return replace(literal, attribute="line_before", at=0)
    return literal


def _one_of(literal: OneOf, vocabulary: Vocabulary) -> Phrase:
    values = _values(literal, vocabulary)
    if literal.attribute == "break_indent":
        return Phrase(Role.CLASS, _breaks(values))
    if literal.attribute in OF_PLACE:
        return Phrase(Role.PLACE, OF_PLACE[literal.attribute].format(values))
    own = OWN[literal.attribute].format(values)
    if literal.at != 0:
        return Phrase(Role.PLACE, f"{DISTANCE[literal.at]} {own}")
    if literal.attribute in PIECES_OF_WORDS:
        return Phrase(Role.SHAPE, own, own[own.index("that ") :])
    return Phrase(Role.NAMED, own, f"that are {own}")


def _outlined(outline: Outline) -> str:
    """Describe strings of characters by what they share, with words that contain them."""
    noun = _either([CHARACTERS.get(character, show(character)) for character in outline.last]) if outline.last else outline.noun
    said = _before(outline)
    hedge = "" if outline.share >= NEARLY_ALL else "mostly " if outline.share >= MOST else "often "
    if outline.hits < SOME_HITS:
        hedge = "some "
    link = "in" if not outline.last or outline.last[0].isalnum() else "after"
    words = f", as {link} {_either([show(word) for word in outline.words])}" if outline.words else ""
    if said.startswith(BEGINS) and [word.lower() for word in outline.words] == [
        f"{text}{outline.last[0]}".strip().lower() for text in outline.before
    ]:
        said, words = f"in {show(outline.words[0])}", ""
    return f"{hedge}{noun}{' ' * bool(said)}{said}{words}"


def _before(outline: Outline) -> str:
    """Return what stands before the characters of an outline, in words."""
    if not outline.before:
        return outline.place
    place, before = outline.place or "right after", outline.before
    if all(text.startswith(BOUNDARY) for text in before):
        place = BEGINS if len(outline.last) == 1 else AFTER_BEGINNING
        before = tuple(text.strip() + (outline.last[0] if len(outline.last) == 1 else "") for text in before)
    folded = tuple(dict.fromkeys(text.lower() for text in before))
    any_case = " in any case" if len(folded) < len(before) else ""
    return f"{place} {_either([show(text) for text in (folded if any_case else before)])}{any_case}"


def _breaks(columns: str) -> str:
    return f"line breaks indented by {columns} columns"


def _flag(literal: Flag) -> Phrase:
    if literal.name in FLAG_PHRASES:
        return Phrase(Role.PLACE, FLAG_PHRASES[literal.name][literal.negated])
    kind = CLASSES[literal.name]
    if literal.at != 0:
        return Phrase(Role.PLACE, f"{'not ' if literal.negated else ''}{DISTANCE[literal.at]} {kind.one}")
    if literal.negated:
        return Phrase(Role.EXCEPT, f"other than {kind.many}")
    return Phrase(Role.CLASS, kind.many, kind.qualifier or f"that are {kind.many}")


def _phrase(literal: Literal, vocabulary: Vocabulary) -> Phrase:
    """Return a condition in words."""
    match literal:
        case OneOf():
            return _one_of(literal, vocabulary)
        case Flag():
            return _flag(literal)
        case Seen(word, scope):
            return Phrase(Role.PLACE, f"with {show(word)} earlier in the {scope}")
        case InRow(low, None):
            return Phrase(Role.PLACE, f"after the input's first {low - 1} tokens")
        case InRow(_, high):
            return Phrase(Role.PLACE, "at the very start of the input" if high is None or high <= 1 else f"within the input's first {high} tokens")
        case Between(_, low, None):
            return Phrase(Role.CLASS, _breaks(f"{low} or more"))
        case Between(_, low, high):
            return Phrase(Role.CLASS, _breaks(f"at most {high}" if low == 0 else f"{low} to {high}"))
        case Contains(piece):
            return Phrase(Role.SHAPE, f"tokens that contain {show(piece)}", f"that contain {show(piece)}")
    raise TypeError(literal)


def whole_text(explanation: Explanation, vocabulary: Vocabulary, with_legend: bool = True) -> str:
    """Return the whole rule: every clause, with at most `MOST_WRITTEN` values per set.

    The label may say less. A text that another explainer wrote beside a rule stays, and so does one with an unreadable rule. The text of a rule ends
    with a legend of its signs. The explanation must have a text.
    """
    text = str(explanation.text)
    if explanation.rule is None or explanation.explainer != EXPLAINER:
        return text
    try:
        rule = Rule.from_json(explanation.rule)
    except InputError:
        return text
    text = sentence(rule, vocabulary, most_named=MOST_WRITTEN)
    return text + _legend(text) if with_legend else text


def _legend(text: str) -> str:
    """Return the meanings of the signs in a rule's text, or the empty string."""
    single = text.replace("␣×", "")
    found = [meaning for sign, meaning in SIGNS.items() if sign in (text if sign == "␣×" else single)]
    return f" (Here {', '.join(found)}.)" if found else ""
