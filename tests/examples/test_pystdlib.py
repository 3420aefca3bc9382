"""The example that the demo runs on keeps its promises, opened by the code that opens any user's model and dictionary."""

import json
from pathlib import Path

import numpy as np
import pytest

from examples.pystdlib import data
from examples.pystdlib.measure import Figures, measure
from examples.pystdlib.trigram import Trigram

ROWS = 80


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


def test_trigram_is_a_distribution() -> None:
    stream = np.array([1, 2, 3, 1, 2, 4, 1, 2, 3, 5, 0, 1, 2, 3], dtype=np.int64)
    model = Trigram(stream, vocabulary=6)
    for history in ((1, 2), (3, 5), (5, 5)):
        asked = np.array([value for word in range(6) for value in (*history, word)], dtype=np.int64)
        probabilities = np.exp(model.log_probabilities(asked)[::3])
        assert probabilities.sum() == pytest.approx(1.0)
        assert (probabilities > 0).all()
