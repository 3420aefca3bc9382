"""Trap 13: joint decoding changed in a library, and highlights vanished. Windows are decoded a token at a time; the pieces join to the text."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from interp.domain.evidence import Contexts
from interp.domain.spec import ExplainerSpec
from interp.domain.vocabulary import Vocabulary
from interp.explain import registry
from interp.explain.base import ExplainerInput
from interp.llm.prompt_text import CLOSE, LEVEL, OPEN, marked, parse_fenced, pieces, plain, shown, unmarked

# A token for every byte, some for whole words, and one special token with bytes of its own: characters of two to four bytes fall apart in every way.
BYTES = tuple(bytes([value]) for value in range(256))
VOCABULARY = Vocabulary((*BYTES, b" the", "é".encode(), "语".encode(), b"<bos>"), frozenset({259}))
TEXTS = st.text(st.sampled_from("aé语𝄞«» \n\u200d👩"), min_size=1, max_size=10)


def _window(tokens, active) -> Contexts:
    values = np.where(np.isin(tokens, list(VOCABULARY.special)), 0, active)
    one = np.zeros(1, dtype=np.uint8)
    return Contexts(
        np.array([tokens], dtype=np.uint32), values[None, :].astype(np.float16), np.array([len(tokens)], dtype=np.uint16), one, one,
        np.array([7], dtype=np.uint64), np.array([0], dtype=np.uint32), np.array([0], dtype=np.uint16),
    )  # fmt: skip


@given(TEXTS, st.data())
def test_pieces_join_to_the_text_with_whole_characters(text, data):
    """However the window is cut out of the text, what it holds whole shows whole."""
    tokens = list(text.encode())
    start = data.draw(st.integers(0, len(tokens) - 1))
    cut = tokens[start:] if data.draw(st.booleans()) else [259, *tokens[start:]]
    found = pieces(_window(cut, np.zeros(len(cut))), 0, VOCABULARY)
    assert len(found) == len(cut)
    assert "".join(found) == bytes(tokens[start:]).decode("utf-8", errors="replace")
    assert all(found[place] == "" for place, token in enumerate(cut) if token == 259)


@given(TEXTS, st.data())
def test_marks_stand_around_the_characters_that_fire(text, data):
    tokens = list(text.encode())
    active = np.array(data.draw(st.lists(st.sampled_from([0.0, 0.5, 2.0]), min_size=len(tokens), max_size=len(tokens))))
    threshold = data.draw(st.sampled_from([0.0, 0.5, 1.0]))
    found = marked(_window(tokens, active), 0, VOCABULARY, threshold)
    assert unmarked(found) == plain(_window(tokens, active), 0, VOCABULARY) == shown(text)
    # A character of several tokens fires if any of them does.
    lengths = [len(character.encode()) for character in text]
    ends = np.cumsum(lengths)
    wanted = [
        bool(((active[end - length : end] > 0) & (active[end - length : end] >= threshold)).any()) for end, length in zip(ends, lengths, strict=True)
    ]
    inside, seen = False, []
    for character in found:
        if character in (OPEN, CLOSE):
            inside = character == OPEN
        else:
            seen.append(inside)
    assert seen == wanted


@given(st.sampled_from(["contexts", "contrastive", "token_activations", "top_contexts", "max_act_logits"]), TEXTS.filter(lambda text: len(text) > 2))
def test_prompts_show_whole_characters(name, text):
    """No half of a character, and no mark gone, whichever explainer shows the window."""
    tokens = list(text.encode())
    window = _window(tokens, np.ones(len(tokens)))
    silent = Contexts(
        window.tokens,
        np.zeros_like(window.activations),
        window.lengths,
        window.kinds + 3,
        window.splits,
        window.documents + 1,
        window.starts,
        window.positions,
    )
    both = Contexts(*(np.concatenate([getattr(window, column), getattr(silent, column)]) for column in Contexts.__slots__))
    question = registry.get(ExplainerSpec(name=name)).question(ExplainerInput(0, both, ("the",), (), False), VOCABULARY, 0)
    shown_texts = parse_fenced(question.prompt.messages[-1].content)
    assert all("\ufffd" not in found.text for found in shown_texts)
    if name in ("contexts", "contrastive"):
        assert shown_texts[0].text == f"{OPEN}{shown(text)}{f'{LEVEL}10' if name == 'contexts' else ''}{CLOSE}"
