"""The sentence says the rule: what it names the rule matches, what it counts is there, and nothing is left unsaid."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from interp.domain.spec import ExplainerSpec
from interp.domain.vocabulary import Vocabulary
from interp.explain import registry
from interp.explain.base import ExplainerInput
from interp.explain.pattern.fit import without_special_cases
from interp.explain.pattern.literals import Between, Contains, Flag, InRow, OneOf, Seen
from interp.explain.pattern.outline import Outline
from interp.explain.pattern.rule import Clause, Rule
from interp.explain.pattern.search import FoundClause, Term
from interp.explain.pattern.sentence import sentence
from tests.explain.planted import evidence, text, where

TEXTS = (
    "<bos>",
    "self",
    " self",
    "Self",
    "def",
    " return",
    ":",
    "\n    ",
    "\n        ",
    "7",
    "assertIs",
    "assertTrue",
    "(",
    " the",
    "caf\u00e9",
    "`",
    "\n",
)
VOCABULARY = Vocabulary(tuple(piece.encode() for piece in TEXTS), frozenset({0}))
ID = {piece: number for number, piece in enumerate(TEXTS)}


def _said(*clauses: tuple) -> str:
    return sentence(Rule(tuple(Clause(literals, 1.0) for literals in clauses)), VOCABULARY)


def _tokens(*pieces: str, at: int = 0, rare: tuple[str, ...] = (), share: float = 1.0) -> OneOf:
    return OneOf("token", at, tuple(ID[piece] for piece in pieces), rare=tuple(ID[piece] for piece in rare), share=share)


@pytest.mark.parametrize(
    ("clauses", "expected"),
    [
        ([(_tokens("def"),)], "`def`"),
        ([(_tokens("def", " return"),)], "`def` or `␣return`"),
        ([(_tokens(" self", "self", "def"),)], "`self` or `def`"),
        ([(_tokens(" self", rare=("self",)),)], "`self`"),
        ([(_tokens("def", ":", rare=("7", "("), share=0.6),)], "tokens such as `def` or `:`"),
        ([(_tokens("def", rare=("7", "(", ":", " the"), share=0.3),)], "tokens such as `def`"),
        ([(_tokens("def", ":", rare=("7", "("), share=0.75),)], "mostly `def` or `:`"),
        ([(_tokens(" self", "Self", "def"),)], "`Self` or `def`"),
        ([(_tokens("Self", "self", rare=(" self",)),)], "`self`"),
        ([(_tokens("\n    ", rare=("\n        ", "\n"), share=0.4),)], "line breaks such as `↵␣×4`"),
        ([(_tokens(":", at=-1, rare=("(",), share=0.9),)], "mostly tokens right after `:`"),
        ([(_tokens("def", rare=("7",), share=0.9), _tokens(":", at=-1, rare=("(",), share=0.9))], "mostly `def` right after `:`"),
        ([(OneOf("word", 0, ("self", "def")),)], "`self` or `def` in any case"),
        ([(OneOf("word", 0, ("def",)),)], "`def`"),
        ([(_tokens("\n        "),)], "`↵␣×8`"),
        ([(_tokens("`"),)], "‘`’"),
        ([(Flag("digits"),), (_tokens("self"),)], "digits; or `self`"),
        ([(Flag("letters"), Flag("no_space_before"))], "alphabetic tokens without a leading space"),
        ([(OneOf("suffix2", 0, ("ed",)), Flag("lower"))], "lower-case words that end in `ed`"),
        ([(Flag("lower"), _tokens("def"))], "`def` in lower case"),
        ([(_tokens(":", at=-1), Flag("digits", 0, negated=True))], "any token other than digits right after `:`"),
        ([(Flag("newline"), OneOf("suffix1", -1, (":",)))], "line breaks after a line that ends in `:`"),
        ([(Between("break_indent", 8, None),)], "line breaks indented by 8 or more columns"),
        ([(Between("break_indent", 0, 4),)], "line breaks indented by at most 4 columns"),
        ([(Between("break_indent", 4, 8),)], "line breaks indented by 4 to 8 columns"),
        ([(OneOf("break_indent", 0, (12, 4)),)], "line breaks indented by 4 or 12 columns"),
        ([(Contains("assert"),)], "tokens that contain `assert`"),
        ([(Flag("opens"), Seen("def", "line"))], "opening brackets with `def` earlier in the line"),
        ([(InRow(0, 4),)], "any token within the input's first 4 tokens"),
        ([(InRow(17, None), Flag("quote"))], "quotation marks after the input's first 16 tokens"),
    ],
)
def test_rules_in_words(clauses, expected):
    assert _said(*clauses) == expected


def test_a_clause_that_carries_most_is_said_alone_and_the_whole_rule_where_a_reader_asks():
    main, other = Clause((_tokens("def"),), 1.0, share=0.85), Clause((Flag("digits"),), 1.0, share=0.15)
    assert sentence(Rule((main, other)), VOCABULARY) == "mostly `def`"
    assert sentence(Rule((main, other)), VOCABULARY, most_named=9) == "`def`; or digits"
    assert sentence(Rule((replace(main, share=0.6), replace(other, share=0.4))), VOCABULARY) == "`def`; or digits"


OUTLINE = Outline(("a", "u"), ("s",), ("said", "sun"), "", "", share=0.97, hits=0.8)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, "`a` or `u` right after `s`, as in `said` or `sun`"),
        ({"share": 0.7}, "mostly `a` or `u` right after `s`, as in `said` or `sun`"),
        ({"share": 0.55}, "often `a` or `u` right after `s`, as in `said` or `sun`"),
        ({"hits": 0.3, "share": 0.7}, "some `a` or `u` right after `s`, as in `said` or `sun`"),
        ({"last": (), "noun": "vowels", "before": (), "place": "at the start of a word"}, "vowels at the start of a word, as in `said` or `sun`"),
        ({"noun": "letters", "last": (), "place": "within two letters after"}, "letters within two letters after `s`, as in `said` or `sun`"),
        ({"last": ("a",), "before": (" s", " w")}, "`a` in words that begin with `sa` or `wa`, as in `said` or `sun`"),
        ({"last": ("n",), "before": (" su",), "words": ("sun",)}, "`n` in `sun`"),
        ({"last": ("a",), "before": ("s", "S")}, "`a` right after `s` in any case, as in `said` or `sun`"),
        ({"last": (" ",), "before": (), "words": ("look",)}, "spaces, as after `look`"),
        ({"last": (" ",), "before": ("k",), "words": ("look",)}, "spaces right after `k`, as after `look`"),
        ({"words": ()}, "`a` or `u` right after `s`"),
    ],
)
def test_outlines_in_words(changed, expected):
    rule = Rule((Clause((_tokens("def"),), 1.0),), replace(OUTLINE, **changed))
    assert sentence(rule, VOCABULARY) == expected
    assert sentence(rule, VOCABULARY, most_named=9) == "`def`"
    assert Rule.from_json(json.loads(json.dumps(rule.to_json()))) == rule


NAMES = re.compile(r"`([^`]+)`")


def _visible(piece: str) -> str:
    spaces = len(piece) - len(piece.rstrip(" "))
    body, tail = (piece[: len(piece) - spaces], f"␣×{spaces}") if spaces >= 3 else (piece, "")
    return body.replace("\r", "").replace("\n", "↵").replace(" ", "␣") + tail


def _explained(wanted: set[str]) -> tuple[str, Rule]:
    found = evidence(where(lambda piece: piece in wanted))
    explanation = registry.get(ExplainerSpec(name="pattern")).explain([ExplainerInput.of(found, text().vocabulary)], text().vocabulary, 0)[0]
    return explanation.text, Rule.from_json(explanation.rule)


@pytest.mark.parametrize("seed", range(6))
def test_what_a_sentence_names_is_what_the_rule_matches(seed):
    """Mixtures of frequent tokens: every token in backticks fires where it stands, every one that fires is named or counted."""
    random = np.random.default_rng(seed)
    corpus = text()
    ids, counts = np.unique(corpus.rows, return_counts=True)
    frequent = [corpus.vocabulary.strings[token] for token in ids[np.argsort(-counts)][1:150] if "`" not in corpus.vocabulary.strings[token]]
    wanted = set(random.choice(frequent, size=int(random.integers(2, 9)), replace=False).tolist())
    said, rule = _explained(wanted)

    every = np.arange(1, len(corpus.vocabulary), dtype=np.uint32)[:, None]
    alone = (every, np.ones(len(every), dtype=np.uint16), np.full(len(every), 40, dtype=np.uint16), corpus.vocabulary)
    fires = {_visible(corpus.vocabulary.strings[int(token)]) for token in every[:, 0][(rule.predict(*alone) > 0)[:, 0]]}
    named = set(NAMES.findall(said))
    # A word in any case is named in lower case, though no such token need exist.
    assert {name.lower() for name in named} <= {name.lower().lstrip("␣") for name in fires} | {name.lower() for name in fires}
    if all(isinstance(literal, OneOf) and literal.attribute == "token" for clause in rule.clauses for literal in clause.literals):
        unnamed = {name for name in fires if name not in named and name.lstrip("␣") not in named}
        assert bool(unnamed) == ("such as" in said or "mostly" in said)


def test_a_tail_is_counted_or_dropped_and_never_named():
    """Two frequent tokens carry nearly all; of the ten others each is seen a few times in the whole text."""
    strings = text().vocabulary.strings
    ids, counts = np.unique(text().rows, return_counts=True)
    seldom = {strings[token] for token in ids[(counts >= 3) & (counts <= 5)][:10]}
    said, _ = _explained({" return", " import"} | seldom)
    assert set(NAMES.findall(said)) in ({"␣return", "␣import"}, {"return", "import"})


def test_indentation_is_said_as_columns_and_not_as_a_list_of_tokens():
    found = evidence(where(lambda piece: "\n" in piece and len(piece.rpartition("\n")[2]) >= 8))
    label = registry.get(ExplainerSpec(name="pattern")).explain([ExplainerInput.of(found, text().vocabulary)], text().vocabulary, 0)[0].text
    assert label == "line breaks indented by 8 or more columns"


def test_a_special_case_of_another_clause_is_not_said():
    after_dot, a_word = Term("one_of", 7, (3,), 9.0), Term("flag", 1, (), 4.0)
    rows = np.arange(3)
    general, special, other = FoundClause((after_dot,), rows, 0.2), FoundClause((a_word, after_dot), rows, 0.5), FoundClause((a_word,), rows, 0.1)
    assert without_special_cases([special, general]) == [general]
    assert without_special_cases([general, other]) == [general, other]
