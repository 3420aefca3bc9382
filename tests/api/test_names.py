"""Activations in answers are those that are stored."""

import json

import numpy as np

from api.reads.names import exact


def test_activations_come_back_as_the_float32_that_is_stored() -> None:
    random = np.random.default_rng(0)
    every_half = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    drawn = np.exp(random.uniform(-80, 80, 20_000)).astype(np.float32)
    for value in (*every_half[::7], *drawn, np.float32(1e-45), np.finfo(np.float32).max):
        assert np.float32(json.loads(json.dumps(exact(value)))) == value


def test_a_token_that_fires_just_above_its_level_does_so_in_an_answer() -> None:
    levels = np.arange(1, 0x7BFF, 97, dtype=np.uint16)
    above = (levels + 1).astype(np.uint16)
    for level, value in zip(levels.view(np.float16).astype(np.float32), above.view(np.float16).astype(np.float32), strict=True):
        assert exact(value) > exact(level)


def test_short_decimals_stay_short() -> None:
    assert [exact(np.float32(value)) for value in (0.0, 0.0375, 1.5e-9, 4.25)] == [0.0, 0.0375, 1.5e-9, 4.25]
