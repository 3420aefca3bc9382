"""The canonical module itself: dtypes, sparse codes, and what it asks for."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from interp.dictionary.canonical import Canonical
from interp.dictionary.module import Dictionary, from_canonical
from interp.domain.errors import DictionaryError
from tests.dictionary import files
from tests.dictionary.files import FEATURES, WIDTH, assert_same, inputs, saelens, standard_tensors


def canonical(**changes: object) -> Canonical:
    arrays = {name: tensor.numpy() for name, tensor in standard_tensors().items()}
    return Canonical(**{**arrays, **changes})  # type: ignore[arg-type]


def module(**changes: object) -> Dictionary:
    return from_canonical(canonical(**changes), name="tiny@1-res", hook_point=files.HOOK_POINT, architecture="test", digest="", config={})


def test_a_bfloat16_subject_with_a_float32_dictionary(tmp_path: Path) -> None:
    dictionary = files.opened(saelens(tmp_path / "sae", "standard", standard_tensors()))
    x = inputs().bfloat16()
    assert dictionary.normalise(x).dtype == torch.float32
    assert_same(dictionary.encode(x), dictionary.encode(x.float()))


def test_moved_to_another_dtype_and_back() -> None:
    dictionary = module(pre_bias=standard_tensors()["b_dec"].numpy())
    half = dictionary.to("cpu", torch.bfloat16)
    assert (half.W_enc.dtype, half.encode(inputs()).dtype) == (torch.bfloat16, torch.bfloat16)
    assert half.pre_bias is not None and half.pre_bias.dtype == torch.bfloat16
    assert dictionary.W_enc.dtype == torch.float32, "the first stays as it is"
    exact, rough = dictionary.encode(inputs()), half.encode(inputs()).float()
    assert (exact - rough).norm() < 0.02 * exact.norm()


@given(st.integers(1, FEATURES), st.integers(0, 1000))
def test_topk_codes_are_the_dense_activations(k: int, seed: int) -> None:
    dictionary = module(activation="topk", k=k)
    x = torch.randn(7, WIDTH, generator=torch.Generator().manual_seed(seed))
    values, indices = dictionary.sparse_codes(x)
    assert values.shape == indices.shape == (7, k)
    assert (values >= 0).all()
    dense = torch.zeros(7, FEATURES).scatter(1, indices, values)
    torch.testing.assert_close(dictionary.encode(x), dense)
    pre = dictionary.pre_activations(x)
    for row in range(7):
        left_out = pre[row][torch.isin(torch.arange(FEATURES), indices[row], invert=True)]
        assert len(left_out) == FEATURES - k
        assert len(left_out) == 0 or left_out.max() <= pre[row][indices[row]].min()


def test_what_is_not_there_is_not_made_up() -> None:
    with pytest.raises(ValueError, match="no fixed number of codes"):
        module().sparse_codes(inputs())
    with pytest.raises(ValueError, match="decode needs x"):
        module(input_norm="layer_norm").decode(torch.zeros(2, FEATURES))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"activation": "topk"}, "k = None"),
        ({"k": 3}, "Activation relu with k = 3"),
        ({"activation": "topk", "k": FEATURES + 1}, f"k is {FEATURES + 1} for {FEATURES}"),
        ({"activation": "groupmax", "k": 7}, "equal groups"),
        ({"activation": "jumprelu"}, "without thresholds"),
        ({"threshold": standard_tensors()["b_enc"].numpy()}, "relu with thresholds"),
        ({"W_skip": standard_tensors()["W_dec"].numpy()}, "W_skip is"),
    ],
)
def test_settings_that_do_not_go_together(changes: dict[str, object], says: str) -> None:
    with pytest.raises(DictionaryError, match=says):
        canonical(**changes).check(Path("a"))
