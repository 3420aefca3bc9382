"""Each family's files, as its own library writes them, give that library's own features and reconstruction: tests/dictionary/generate_golden.py."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.dictionary import files
from tests.dictionary.generate_golden import GOLDEN, WIDTH
from tests.dictionary.library_cases import EXACT, check, relative_error

CROSS_LAYER = sorted(GOLDEN.glob("cross_layer_transcoder-*"))
CASES = sorted(set(GOLDEN.iterdir()) - set(CROSS_LAYER))


@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
def test_features_and_reconstruction_are_those_of_the_library(folder: Path) -> None:
    check(folder)


@pytest.mark.parametrize("folder", CROSS_LAYER, ids=lambda folder: folder.name)
def test_a_cross_layer_transcoder_s_layers_are_together_the_library_s(folder: Path) -> None:
    expected = {name: torch.from_numpy(array) for name, array in np.load(folder / "expected.npz").items()}
    written = torch.zeros_like(expected["reconstruction"])
    for layer, (x, theirs) in enumerate(zip(expected["x"], expected["features"], strict=True)):
        dictionary = files.opened(folder / f"W_enc_{layer}.safetensors")
        assert dictionary.hook_point == f"blocks.{layer}.hook_resid_mid"
        features = dictionary.encode(x)
        assert 0 < (theirs > 0).float().mean() < 0.8
        assert torch.equal(features > 0, theirs > 0)
        assert relative_error(features, theirs) < EXACT
        written[layer:] += dictionary.decode(features).view(len(x), -1, WIDTH).transpose(0, 1)
    assert relative_error(written, expected["reconstruction"]) < EXACT
