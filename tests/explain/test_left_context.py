"""Left context is shown before a sign, never marked, and nothing of it is taken for the window."""

from dataclasses import replace

import numpy as np
import pytest

from api.demo.fake_llm.asked import FencedText
from api.demo.fake_llm.readers import QuotedReader
from interp.domain.spec import ExplainerSpec
from interp.explain import registry
from interp.explain.base import ExplainerInput
from interp.llm.prompt_text import BEGIN, OPEN, left_text, parse_fenced, plain, plain_after_left
from tests.explain.explaining import selves, text


def with_left():
    """Every window has the same two tokens before it."""
    found, vocabulary = selves(), text().vocabulary
    ids = [next(token for token in range(len(vocabulary)) if vocabulary.text(token) == word) for word in ("self", ".")]
    count = len(found.contexts)
    left = np.zeros((count, 4), dtype=np.uint32)
    left[:, 2:] = ids
    contexts = replace(found.contexts, left=left, left_lengths=np.full(count, 2, dtype=np.uint8))
    return replace(found, contexts=contexts), vocabulary


def test_a_window_comes_after_its_left_context_and_a_sign():
    found, vocabulary = with_left()
    assert left_text(found.contexts, 0, vocabulary) == "self."
    assert plain_after_left(found.contexts, 0, vocabulary) == f"self.{BEGIN}{plain(found.contexts, 0, vocabulary)}"
    assert plain_after_left(selves().contexts, 0, vocabulary) == plain(selves().contexts, 0, vocabulary)


@pytest.mark.parametrize("name", ["contexts", "contrastive"])
def test_explainers_show_it_without_marks(name):
    found, vocabulary = with_left()
    question = registry.get(ExplainerSpec(name=name)).question(ExplainerInput.of(found, vocabulary), vocabulary, 0)
    shown = [part.text for part in parse_fenced(question.prompt.messages[-1].content) if part.kind == "context"]
    assert shown
    for each in shown:
        before, sign, after = each.partition(BEGIN)
        assert (before, sign) == ("self.", BEGIN)
        assert OPEN in after


def test_what_fires_in_the_left_context_alone_is_no_yes():
    reader = QuotedReader()
    assert reader.says_yes("`self`", FencedText("1", f"self.{BEGIN}x = 1"), False) < 0.5
    assert reader.says_yes("`self`", FencedText("1", f"x.{BEGIN}self = 1"), False) > 0.5
