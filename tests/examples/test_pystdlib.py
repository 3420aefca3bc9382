"""The example that the demo runs on keeps its promises, opened by the code that opens any user's model and dictionary."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from examples.pystdlib import data
from examples.pystdlib.measure import Figures, measure
from examples.pystdlib.trigram import Trigram

ROWS = 80


@cache
def encoder() -> Tokenizer:
    return Tokenizer.from_file(str(data.HERE / "subject" / "tokenizer.json"))


@pytest.fixture(scope="module")
def figures() -> Figures:
    return measure(limit=ROWS)


def test_subject_beats_the_trigram_by_half_a_nat(figures: Figures) -> None:
    assert figures.gain_over_trigram >= 0.5


def test_dictionary_keeps_the_subjects_loss(figures: Figures) -> None:
    assert figures.loss_recovered >= 0.95


def test_dictionary_is_sparse(figures: Figures) -> None:
    assert 10 <= figures.l0 <= 64


def test_weights_stay_small() -> None:
    weights = [path.stat().st_size for path in data.HERE.rglob("*") if path.is_file()]
    assert sum(weights) < 16e6


def test_dictionary_is_in_saelens_form() -> None:
    config = json.loads((data.HERE / "dictionary" / "cfg.json").read_text())
    assert config["architecture"] == "jumprelu"
    assert config["metadata"]["hook_name"] == "blocks.1.hook_resid_post"


def test_files_belong_to_one_split() -> None:
    held_out = {path for path, _ in data.files(held_out=True)}
    train = {path for path, _ in data.files(held_out=False)}
    assert held_out and train
    assert not held_out & train
    assert all(data.is_held_out(path) for path in held_out)
    assert not any(Path(path).is_absolute() for path in held_out | train)


def test_pieces_that_are_encoded_once_give_the_ids_of_whole_files() -> None:
    tokenizer = encoder()
    bos = tokenizer.token_to_id(data.BOS)
    texts = [text for _, text in data.files(held_out=True)]
    assert not all(text.isascii() for text in texts)
    whole = [np.array([bos, *item.ids]) for item in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
    assert np.array_equal(data.token_stream(tokenizer, held_out=True), np.concatenate(whole))


@given(texts=st.lists(st.text(st.sampled_from(" \t\n\r\f\v\x1c\x00aZ09_.<|bos>é²")), max_size=5))
@example(texts=["a <|bos|> b", "   x", "\r\n \n\t\x1c", "1234  \n"])
def test_any_text_has_its_ids_by_pieces(texts: list[str]) -> None:
    tokenizer = encoder()
    known: dict[str, list[int]] = {}
    for text in texts:
        assert list(data._ids(tokenizer, text, known)) == tokenizer.encode(text, add_special_tokens=False).ids


def test_trigram_is_a_distribution() -> None:
    stream = np.array([1, 2, 3, 1, 2, 4, 1, 2, 3, 5, 0, 1, 2, 3], dtype=np.int64)
    model = Trigram(stream, vocabulary=6)
    for history in ((1, 2), (3, 5), (5, 5)):
        asked = np.array([value for word in range(6) for value in (*history, word)], dtype=np.int64)
        probabilities = np.exp(model.log_probabilities(asked)[::3])
        assert probabilities.sum() == pytest.approx(1.0)
        assert (probabilities > 0).all()
