"""The hidden Markov model's mathematics by brute force, its tokenizer, and what the measurement calls tracking; the whole example on request."""

import itertools
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from examples.beliefs import measure, process, train
from interp.domain.vocabulary import Vocabulary

PARAMETERS = st.tuples(st.floats(0.01, 0.5), st.floats(0, 1))
T = process.mess3()


def moves(x: float) -> np.ndarray:
    return np.where(np.eye(3) > 0, 1 - 2 * x, x)


def emits(alpha: float) -> np.ndarray:
    return np.where(np.eye(3) > 0, alpha, (1 - alpha) / 2)


@given(PARAMETERS)
def test_the_model_is_that_of_its_definition(parameters: tuple[float, float]) -> None:
    transitions, (x, alpha) = process.mess3(*parameters), parameters
    for token, state, following in itertools.product(range(3), repeat=3):
        assert transitions[token, state, following] == pytest.approx(moves(x)[state, following] * emits(alpha)[following, token])
    start = process.stationary(transitions)
    np.testing.assert_allclose(start, 1 / 3, atol=1e-9)
    np.testing.assert_allclose(start @ transitions.sum(axis=0), start, atol=1e-9)


@given(PARAMETERS.filter(lambda parameters: 0.01 < parameters[1] < 0.99), st.lists(st.integers(0, 2), min_size=1, max_size=4))
def test_beliefs_are_bayes_over_all_paths_of_states(parameters: tuple[float, float], word: list[int]) -> None:
    x, alpha = parameters
    known, probabilities = process.beliefs(process.mess3(x, alpha), np.array([word]))
    posterior = np.zeros(3)
    for path in itertools.product(range(3), repeat=len(word) + 1):
        steps = zip(path, path[1:], word, strict=False)
        posterior[path[-1]] += np.prod([1 / 3] + [moves(x)[state, following] * emits(alpha)[following, token] for state, following, token in steps])
    np.testing.assert_allclose(known[0, -1], posterior / posterior.sum(), atol=1e-9)
    assert probabilities[0].prod() == pytest.approx(posterior.sum())


@given(st.floats(0.01, 0.49))
def test_the_entropy_rate_is_known_where_tokens_show_everything_or_nothing(x: float) -> None:
    shares = np.array([1 - 2 * x, x, x])
    assert process.entropy_bounds(process.mess3(x, 1.0), 4) == pytest.approx([-(shares * np.log(shares)).sum()] * 2)
    assert process.entropy_bounds(process.mess3(x, 1 / 3), 4) == pytest.approx([np.log(3)] * 2)


def test_samples_have_the_entropy_rate_that_all_words_bound() -> None:
    bounds = [process.entropy_bounds(T, length) for length in (1, 3, 5, 7)]
    lows, highs = np.array(bounds).T
    assert (np.diff(lows) > 0).all() and (np.diff(highs) < 0).all() and highs[-1] - lows[-1] < 1e-4
    surprisal = -np.log(process.beliefs(T, process.sample(T, 4000, 24, 5))[1])[:, 8:].mean(axis=1)
    assert abs(surprisal.mean() - highs[-1]) < 4 * surprisal.std() / len(surprisal) ** 0.5


@pytest.mark.parametrize(("x", "alpha"), [(-0.1, 0.5), (0.6, 0.5), (0.1, 1.1), (float("nan"), 0.5)])
def test_what_is_no_probability_is_refused(x: float, alpha: float) -> None:
    with pytest.raises(ValueError, match="not within"):
        process.mess3(x, alpha)


def test_a_letter_is_a_token(tmp_path: Path) -> None:
    train.tokenizer().save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)

    @given(st.text(st.sampled_from(process.TOKENS), max_size=40))
    @settings(max_examples=30)
    def round_trip(text: str) -> None:
        ids = tokenizer(text)["input_ids"]
        assert ids == [0, *(process.TOKENS.index(letter) + 1 for letter in text)]
        assert "".join(tokenizer.decode([token]) for token in ids[1:]) == text

    round_trip()


def test_features_of_beliefs_track_them_and_features_of_tokens_do_not() -> None:
    sequences = process.sample(T, 300, train.LETTERS, 6)
    known, before = process.beliefs(T, sequences)[0], np.pad(sequences[:, :-1], ((0, 0), (1, 0)), constant_values=-1)
    noise = np.random.default_rng(0).normal(size=(2, *sequences.shape))
    planted = [known[..., 0] + 1e-3 * noise[0], (sequences == 1) + 1e-3 * noise[1], (before == 2) * (sequences == 0), np.zeros(sequences.shape)]
    found = measure.truth_of(np.stack(planted, axis=2), sequences, SimpleNamespace(W_dec=torch.eye(4)))  # type: ignore[arg-type]
    assert found.tracks.tolist() == [True, False, False, False]
    assert found.belief[0] > 0.99 and abs(found.others[0]) < 0.05 and found.token[1] > 0.99 and found.last_two[2] > 0.99
    assert np.isnan(found.belief[3]) and found.importance[0] > found.importance[1]


def test_what_the_report_leaves_finds_features_by_its_shares() -> None:
    left = {"features": [{"feature": 3, "share": 0.6}, {"feature": 0, "share": 0.3}, {"feature": 1, "share": 0.1}]}
    tracks, fires = np.array([True, False, False, True, False]), np.array([True, True, True, True, False])
    area, first = measure.found_by(left, tracks, fires)
    assert (area.value, first) == (1.0, 2)
    other, first = measure.found_by(left, np.array([False, True, True, False, False]), fires)
    assert (other.value, first) == (pytest.approx(0.0), 0), "the first two are the others"


def test_labels_predict_by_their_rules() -> None:
    after = {"kind": "one_of", "attribute": "token", "at": -1, "values": [1]}
    rule = {"version": 3, "any": [{"all": [after], "value": 2.0, "by_token": []}]}
    sequences = process.sample(T, 5, train.LETTERS, 7)
    found = measure.predictions({1: rule}, sequences, Vocabulary((b"<bos>", b"A", b"B", b"C"), frozenset({0})), 3)
    assert not found[..., [0, 2]].any()
    np.testing.assert_array_equal(found[:, 1:, 1], 2.0 * (sequences[:, :-1] == 0))


@pytest.mark.skipif(os.environ.get("GLOSSATOR_TEST_LARGE") != "1", reason="GLOSSATOR_TEST_LARGE=1 trains the subject: a minute of CPU")
@pytest.mark.timeout(1800)
def test_the_example_holds_what_its_readme_says(tmp_path: Path) -> None:
    figures = train.run(train.Sizes(), tmp_path)
    assert figures["excess"] < 0.0005
    probes = train.beliefs_found(tmp_path, process.sample(T, 1000, train.LETTERS, 8))
    values = {name: figure.value or 0.0 for name, figure in probes.items()}
    assert values["subject, blocks.1.hook_resid_post, probe"] > 0.99 > 0.97 > values["last two tokens"] > values["current token"]
    assert values["subject, blocks.1.hook_resid_post, other sequences' beliefs"] < 0.01
    assert values["untrained, blocks.1.hook_resid_post, probe"] < values["last two tokens"]
    found, *_ = measure.measure(tmp_path)
    assert found.tracking >= 5 and found.chance < 0.01
    # A feature of the last two letters is beyond the current one, and no feature of belief.
    assert (found.by_last_two.value or 0) > (found.by_report.value or 0) > 0.75 and found.first_last_two >= found.first
    assert (found.beliefs["all features"].value or 0) > 0.98
    assert (found.beliefs["what the labels predict"].value or 0) > values["last two tokens"]
