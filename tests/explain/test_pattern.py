"""The pattern explainer finds what was planted, says it in words, and is right about it on documents that it has not seen."""

import json
import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from interp.domain.errors import InputError
from interp.domain.evidence import ContextKind, Contexts, Split
from interp.domain.explanation import Explanation
from interp.domain.spec import ExplainerSpec
from interp.domain.vocabulary import Vocabulary
from interp.explain import registry
from interp.explain.base import ExplainerInput
from interp.explain.pattern.candidate_table import ATTRIBUTES, FLAGS
from interp.explain.pattern.fit import Pattern, weights_of
from interp.explain.pattern.literals import Flag
from interp.explain.pattern.rule import Rule
from interp.explain.pattern.sentence import whole_text
from tests.explain.planted import evidence, text, where

PLANTED = {
    "a token": (lambda: where(lambda t: t.strip() == "self"), "`self`"),
    "what stands before": (lambda: where(lambda t: t == ".") & where(lambda t: t.strip() == "self", -1), "`.` right after `self`"),
    "a union": (lambda: where(lambda t: t.strip().lower() in ("def", "class", "return")), "`{}`, `{}` or `{}` in any case"),
    "a token or a class": (lambda: where(lambda t: t.strip().lower() == "self" or t.isdigit()), "`self`; or digits"),
    "digits": (lambda: where(str.isdigit), "digits"),
    "capitals": (lambda: where(lambda t: t.strip().isupper() and t.strip().isalpha() and len(t.strip()) > 1), "words in CAPITALS"),
    "indentation": (
        lambda: where(lambda t: "\n" in t) & where(lambda t: t.endswith(":"), -1),
        "line breaks after a line that ends in `:`",
    ),
    "position": (
        lambda: np.broadcast_to(np.arange(text().rows.shape[1]) <= 4, text().rows.shape),
        "any token within the input's first 4 tokens",
    ),
}


def _explain(found) -> Explanation:
    return registry.get(ExplainerSpec(name="pattern")).explain([ExplainerInput.of(found, text().vocabulary)], text().vocabulary, 0)[0]


def _share_right(explanation: Explanation, found) -> float:
    """Balanced accuracy over test tokens (those whose neighbour is in the window)."""
    test = found.contexts.of(Split.TEST)
    predicted = Rule.from_json(explanation.rule).predict(test.tokens, test.lengths, test.positions, text().vocabulary)
    fires, said = (test.activations > 0)[:, 1:], (predicted > 0)[:, 1:]
    return float((said[fires].mean() + (~said[~fires]).mean()) / 2)


@pytest.mark.parametrize("name", PLANTED)
def test_finds_what_was_planted(name):
    plant, sentence = PLANTED[name]
    found = evidence(plant())
    explanation = _explain(found)
    assert explanation.failure is None
    assert re.fullmatch(re.escape(sentence).replace(r"`\{\}`", "`(def|class|return)`"), explanation.text), explanation.text
    assert _share_right(explanation, found) > 0.98


def test_a_condition_on_the_line_is_found_on_unseen_documents():
    begins = re.compile(r"\n *(from|import)\b")
    strings = text().strings()
    fires = np.zeros(strings.shape, dtype=bool)
    for row, pieces in enumerate(strings):
        line = "\n"
        for column, piece in enumerate(pieces):
            line = piece if "\n" in piece else line + piece
            fires[row, column] = "\n" not in piece and begins.match(line) is not None and line.strip() not in ("from", "import")
    found = evidence(fires)
    assert _share_right(_explain(found), found) > 0.85


def test_a_feature_without_a_pattern_is_a_failure_and_not_a_text():
    """Chance makes a rule now and then: of ten features that fire at random at most two may get one."""
    random = np.random.default_rng(0)
    explanations = [_explain(evidence(random.random(text().rows.shape) < 0.01, feature)) for feature in range(10)]
    failed = [explanation for explanation in explanations if explanation.failure is not None]
    assert len(failed) >= 8
    for explanation in failed:
        assert (explanation.text, explanation.rule) == (None, None)
        assert "No rule predicts" in explanation.failure


def test_a_dead_feature_says_so():
    explanation = _explain(evidence(np.zeros(text().rows.shape, dtype=bool)))
    assert (explanation.text, explanation.rule) == (None, None)
    assert "never fired" in explanation.failure


def test_a_feature_that_fires_in_test_documents_only_has_nothing_to_be_explained_from():
    found = evidence(where(str.isdigit) & (text().documents // 2 % 2 == Split.TEST)[:, None])
    assert "no explain context" in _explain(found).failure


def test_test_contexts_change_nothing():
    """An explanation is a function of explain contexts alone."""
    fires = where(str.isdigit)
    there = evidence(fires)
    elsewhere = evidence(np.where((text().documents // 2 % 2 == Split.TEST)[:, None], ~fires, fires))
    explain = there.contexts.of(Split.EXPLAIN)
    assert len(elsewhere.contexts.of(Split.EXPLAIN)) == len(explain)
    item = ExplainerInput.of(there, text().vocabulary)
    assert (item.contexts.splits == Split.EXPLAIN).all()


def test_a_single_context_is_enough_to_fail_politely():
    found = evidence(where(str.isdigit))
    lone = ExplainerInput(0, found.contexts.of(Split.EXPLAIN).select(np.array([0])), (), (), False)
    explanation = Pattern().explain([lone], text().vocabulary, 0)[0]
    assert (explanation.text is None) == (explanation.failure is not None)


def test_predicted_activations_follow_the_token():
    """Twice as strong on one of two tokens: the rule says so."""
    fires = where(lambda t: t.strip() in ("self", "return"))
    found = evidence(fires)
    strong = np.array([t.strip() == "self" for t in text().vocabulary.strings])
    activations = np.where(strong[found.contexts.tokens], found.contexts.activations * 4, found.contexts.activations).astype(np.float16)
    contexts = found.contexts
    louder = type(contexts)(
        contexts.tokens, activations, contexts.lengths, contexts.kinds, contexts.splits, contexts.documents, contexts.starts, contexts.positions
    )
    explanation = Pattern().explain([ExplainerInput(0, louder.of(Split.EXPLAIN), (), (), False)], text().vocabulary, 0)[0]
    test = louder.of(Split.TEST)
    predicted = Rule.from_json(explanation.rule).predict(test.tokens, test.lengths, test.positions, text().vocabulary)
    said = predicted > 0
    ratio = predicted[said & strong[test.tokens]].mean() / predicted[said & ~strong[test.tokens]].mean()
    assert 2.5 < ratio < 6


def test_the_same_input_gives_the_same_explanation_alone_or_in_company():
    items = [ExplainerInput.of(evidence(plant(), number), text().vocabulary) for number, (plant, _) in enumerate(PLANTED.values())]
    together = Pattern().explain(items, text().vocabulary, 0)
    alone = [Pattern().explain([item], text().vocabulary, 7)[0] for item in reversed(items)]
    assert together == alone[::-1]


def test_rules_survive_json():
    found = evidence(PLANTED["what stands before"][0]())
    rule = _explain(found).rule
    again = Rule.from_json(json.loads(json.dumps(rule)))
    assert again.to_json() == rule
    test = found.contexts.of(Split.TEST)
    window = (test.tokens, test.lengths, test.positions, text().vocabulary)
    np.testing.assert_array_equal(again.predict(*window), Rule.from_json(rule).predict(*window))


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"version": 99, "any": []},
        {"version": 2},
        {"version": 2, "any": [{"all": [{"kind": "spell"}], "value": 1, "by_token": []}]},
        {"version": 2, "any": [{"all": [{"kind": "flag", "name": "no_such_flag", "at": 0}], "value": 1, "by_token": []}]},
        {"version": 2, "any": [{"all": [{"kind": "one_of", "attribute": "__class__", "at": 0, "values": [1]}], "value": 1, "by_token": []}]},
    ],
)
def test_what_is_no_rule_is_refused(content):
    with pytest.raises(InputError):
        Rule.from_json(content)


def test_unknown_explainers_are_refused_with_the_known_ones():
    with pytest.raises(InputError, match="pattern"):
        registry.get(ExplainerSpec(name="patern"))


def test_a_new_explainer_takes_ten_lines(monkeypatch):
    class Loudest:
        name, version = "loudest", 1

        def explain(self, items, vocabulary, seed):
            return [Explanation(item.feature, self.name, self.say(item, vocabulary)) for item in items]

        def say(self, item, vocabulary):
            return vocabulary.text(int(item.contexts.tokens.flat[item.contexts.activations.argmax()]))

    monkeypatch.setitem(registry.FREE, Loudest.name, Loudest)
    item = ExplainerInput.of(evidence(where(lambda t: t.strip() == "self")), text().vocabulary)
    assert registry.get(ExplainerSpec(name="loudest")).explain([item], text().vocabulary, 0)[0].text.strip() == "self"


def test_no_rule_asks_for_the_next_token():
    """A causal subject has not seen it."""
    assert all(attribute.at <= 0 for attribute in ATTRIBUTES)
    assert all(literal.at <= 0 for literal, _ in FLAGS if isinstance(literal, Flag))


LETTERS = " abcdefghijklmnopqrstuvwxyz"


def _of_letters(words: tuple[str, ...], chosen: Callable[[str, int], bool]) -> tuple[Contexts, Vocabulary, np.ndarray]:
    """Random words of these in a vocabulary of letters; a letter fires where `chosen` says so of its word and its place there."""
    vocabulary = Vocabulary((b"<bos>", *(letter.encode() for letter in LETTERS)), frozenset({0}))
    random = np.random.default_rng(0)
    count, width = 200, 32
    tokens, fires = np.zeros((count, width), dtype=np.uint32), np.zeros((count, width), dtype=bool)
    for row in range(count):
        marked = [(letter, chosen(word, place)) for word in random.choice(words, width) for place, letter in enumerate(f"{word} ")]
        tokens[row] = [1 + LETTERS.index(letter) for letter, _ in marked[:width]]
        fires[row] = [fired for _, fired in marked[:width]]
        if row % 4 > 1:
            tokens[row] = random.choice([1 + LETTERS.index(letter) for letter in "xyz "], width)
            fires[row] = False
    zeros = np.zeros(count, dtype=np.uint8)
    contexts = Contexts(
        tokens, np.where(fires, 3, 0).astype(np.float16), np.full(count, width, dtype=np.uint16), zeros, zeros,
        np.arange(count, dtype=np.uint64), np.zeros(count, dtype=np.uint32), np.full(count, 8, dtype=np.uint16),
    )  # fmt: skip
    return contexts, vocabulary, fires


def test_a_list_of_strings_of_characters_is_said_by_what_they_share():
    """A feature at `a` after five consonants of nine: the label names the letter and words, the whole rule every string."""
    words = ("say", "vat", "lad", "rag", "gap", "bat", "had", "map", "tab", "sun", "vet", "log")
    contexts, vocabulary, fires = _of_letters(words, lambda word, place: word[place : place + 1] == "a" and word[place - 1] in "svlrg")
    (found,) = Pattern().explain([ExplainerInput(0, contexts, (), (), False)], vocabulary, 0)
    assert re.fullmatch(
        r"(mostly |often )?`a`( right after [^,]+(, `\w`)?| inside a word| in words that begin with [^,]+)?, as in `\w+`, `\w+` or `\w+`", found.text
    ), found.text
    named = re.findall("`(\\w+)`", found.text.partition(", as in ")[2])
    assert set(named) <= {"say", "vat", "lad", "rag", "gap"}
    whole = whole_text(found, vocabulary)
    assert all(f"{before}a`" in whole for before in "svlrg")
    said = Rule.from_json(found.rule).predict(contexts.tokens, contexts.lengths, contexts.positions, vocabulary) > 0
    assert said[:, 2:].tolist() == fires[:, 2:].tolist()


def test_a_character_and_one_condition_are_preferred_to_lists_of_strings():
    """At `o` after `n`, weakly at other ends of words: the label names the `o`."""
    words = ("not", "now", "nod", "sat", "ten", "hid", "got", "low")
    contexts, vocabulary, fires = _of_letters(
        words, lambda word, place: word[place - 1 : place + 1] == "no" or (place == 2 and word in ("sat", "ten"))
    )
    weak = contexts.tokens != 1 + LETTERS.index("o")
    softer = replace(contexts, activations=np.where(fires & weak, 0.5, contexts.activations).astype(np.float16))
    (found,) = Pattern().explain([ExplainerInput(0, softer, (), (), False)], vocabulary, 0)
    assert re.fullmatch(r"(mostly )?`o` (right after `n`|in words that begin with `no`), as in `no\w`, `no\w` or `no\w`", found.text), found.text


def test_no_label_of_characters_lists_after_a_list():
    """Features that fire after chance pairs of letters: never two lists, no condition on a token far before."""
    words = ("say", "vat", "lad", "rag", "gap", "bat", "had", "map", "tab", "sun", "vet", "log")
    pairs = sorted({word[place : place + 2] for word in words for place in (0, 1)})
    for seed in range(6):
        chosen = set(np.random.default_rng(seed).choice(pairs, 6, replace=False).tolist())
        contexts, vocabulary, _ = _of_letters(words, lambda word, place, chosen=chosen: place > 0 and word[place - 1 : place + 1] in chosen)
        (found,) = Pattern().explain([ExplainerInput(0, contexts, (), (), False)], vocabulary, 0)
        said = found.text.partition(", as ")[0]
        outline = Rule.from_json(found.rule).outline
        assert outline is not None and "tokens" not in said, said
        assert len(outline.last) <= 1 or len(outline.before) <= 1, said


def test_inactive_windows_stand_for_the_share_of_the_corpus_that_they_are():
    """Three firing windows, one inactive, one near miss, at a rate of 10%: the inactive one counts 27 times."""
    found = evidence(where(str.isdigit)).contexts.of(Split.EXPLAIN)
    firing, silent = np.flatnonzero(found.fires())[:3], np.flatnonzero(~found.fires())[:2]
    kinds = np.array([ContextKind.UNIFORM] * 3 + [ContextKind.INACTIVE, ContextKind.NEAR_MISS], dtype=np.uint8)
    contexts = replace(found.select(np.concatenate([firing, silent])), kinds=kinds)
    np.testing.assert_allclose(weights_of(contexts, 0.1), [1, 1, 1, 27, 1])
    np.testing.assert_allclose(weights_of(contexts, None), 1)


def test_tails_of_characters_are_fitted_where_tokens_are_characters():
    """A feature at the last letter of `the`, in a vocabulary of letters."""
    letters = " abcdefghijklmnopqrstuvwxyz"
    vocabulary = Vocabulary((b"<bos>", *(letter.encode() for letter in letters)), frozenset({0}))
    random = np.random.default_rng(0)
    count, width = 200, 32
    tokens = random.integers(1, len(vocabulary), (count, width)).astype(np.uint32)
    the = [1 + letters.index(letter) for letter in "the"]
    for row in range(count // 2):
        place = int(random.integers(0, width - 3))
        tokens[row, place : place + 3] = the
    fires = np.zeros((count, width), dtype=bool)
    fires[:, 2:] = (tokens[:, :-2] == the[0]) & (tokens[:, 1:-1] == the[1]) & (tokens[:, 2:] == the[2])
    zeros = np.zeros(count, dtype=np.uint8)
    contexts = Contexts(
        tokens, np.where(fires, 3, 0).astype(np.float16), np.full(count, width, dtype=np.uint16), zeros, zeros,
        np.arange(count, dtype=np.uint64), np.zeros(count, dtype=np.uint32), np.full(count, 8, dtype=np.uint16),
    )  # fmt: skip
    (found,) = Pattern().explain([ExplainerInput(0, contexts, (), (), False)], vocabulary, 0)
    assert re.fullmatch(r"`e` right after `th`, as in (`\w*the\w*`(, | or )?)+", found.text), found.text
    assert (Rule.from_json(found.rule).predict(tokens, contexts.lengths, contexts.positions, vocabulary) > 0).tolist() == fires.tolist()
