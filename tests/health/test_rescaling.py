"""Scales and shifts are those of the least squares that numpy solves, whole."""

from typing import Any

import numpy as np
import pytest
import torch

from interp.health.reconstruction import rescaling
from interp.health.reconstruction.rescaling import LeastSquares
from tests.health.test_reconstruction import made

WIDTH, FEATURES, TOKENS = 12, 5, 80


def normal_equations(dictionary: Any, x: torch.Tensor, target: torch.Tensor) -> np.ndarray:
    """Scales and shifts `[2, F]` by a matrix of a row for each token and axis."""
    codes, base = dictionary.encode(x), dictionary.decode(torch.zeros(len(x), dictionary.n_features), x)
    columns = []
    for kind in (codes, (codes > 0).float()):
        for feature in range(dictionary.n_features):
            alone = torch.zeros_like(codes)
            alone[:, feature] = kind[:, feature]
            columns.append((dictionary.decode(alone, x) - base).flatten().double().numpy())
    found, *_ = np.linalg.lstsq(np.stack(columns, 1), (target - base).flatten().double().numpy(), rcond=None)
    return found.reshape(2, -1)


@pytest.mark.parametrize("norm", ["none", "layer_norm", "unit_scale"])
@pytest.mark.parametrize("products", [1 << 24, 7])
def test_scales_and_shifts_are_those_of_the_normal_equations(norm: Any, products: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rescaling, "MOST_PRODUCTS", products)
    drawn = torch.Generator().manual_seed(0)
    x, target = (torch.randn(TOKENS, WIDTH, generator=drawn) * 2 for _ in range(2))
    dictionary = made(WIDTH, FEATURES, b_enc=torch.zeros(FEATURES), input_norm=norm)
    squares = LeastSquares(dictionary)
    for part in range(0, TOKENS, 30):
        squares.add(x[part : part + 30], target[part : part + 30])
    found = squares.solve()
    expected = normal_equations(dictionary, x, target)
    assert found.tokens == TOKENS and bool(found.fitted.all())
    assert found.scale.numpy() == pytest.approx(expected[0], abs=2e-3)
    assert found.shift.numpy() == pytest.approx(expected[1], abs=2e-3)
    fitted = (found.reconstruct(dictionary, x) - target).square().sum()
    assert fitted <= (dictionary.decode(dictionary.encode(x), x) - target).square().sum()


def test_no_more_activations_are_held_than_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rescaling, "MOST_CODES", 50)
    squares = LeastSquares(made(WIDTH, FEATURES, b_enc=torch.ones(FEATURES)))
    for seed in range(5):
        x = torch.randn(20, WIDTH, generator=torch.Generator().manual_seed(seed))
        squares.add(x, x)
    assert squares.is_full and squares.solve().tokens == 20


def test_features_that_hardly_fire_stay_as_they_are() -> None:
    dictionary = made(WIDTH, FEATURES, b_enc=torch.tensor([0.0, -1e3, 0.0, -1e3, 0.0]))
    drawn = torch.Generator().manual_seed(0)
    squares = LeastSquares(dictionary)
    squares.add(*(torch.randn(TOKENS, WIDTH, generator=drawn) for _ in range(2)))
    found = squares.solve()
    assert found.fitted.tolist() == [True, False, True, False, True]
    assert found.scale[[1, 3]].tolist() == [1, 1] and found.shift[[1, 3]].tolist() == [0, 0]
