"""Models that are spread over devices or quantised give the numbers of the same weights on one device, or say what is missing."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from interp.domain.errors import SubjectError
from interp.domain.spec import SubjectSpec
from interp.subject import directions, huggingface
from interp.subject.base import open_subject
from tests.subject import models
from tests.subject.models import CONTEXT

POINTS = "blocks.1.mlp.hook_post+blocks.2.hook_resid_post"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.build("llama", tmp_path_factory.mktemp("llama"))


def subject(folder: Path, **settings: Any) -> Any:
    return open_subject(SubjectSpec(model=str(folder), **settings), POINTS)


def tokens() -> torch.Tensor:
    return torch.randint(0, 250, (2, CONTEXT), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("away", ["cpu", "disk"])
def test_a_model_partly_elsewhere(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, away: str) -> None:
    """On a GPU accelerate decides what goes where; here the place of each part is given."""
    parts = {"model.embed_tokens": "cpu", "model.layers.0": "cpu", "model.layers.1": away, "model.layers.2": away, "model.norm": away}
    parts |= {"model.rotary_emb": "cpu", "lm_head": away}
    monkeypatch.setattr(huggingface, "placement", lambda spec, device: {"device_map": parts, "offload_folder": str(tmp_path)})
    spread = subject(folder, device="spread")
    monkeypatch.undo()
    whole = subject(folder, device="cpu")
    assert any(parameter.is_meta for parameter in spread._model.parameters()) == (away == "disk")
    assert (spread.nbytes < whole.nbytes) == (away == "disk")
    for _ in range(2):
        torch.testing.assert_close(spread.activations(tokens()), whole.activations(tokens()), rtol=1e-5, atol=1e-6)
    for point in POINTS.split("+"):
        torch.testing.assert_close(spread.output_directions(point), whole.output_directions(point), rtol=1e-5, atol=1e-6)


def test_spread_on_a_machine_with_one_place(folder: Path) -> None:
    torch.testing.assert_close(subject(folder, device="spread").activations(tokens()), subject(folder).activations(tokens()), rtol=1e-5, atol=1e-6)


def test_quantised_loading_without_its_library_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any, **settings: Any) -> Any:
        assert settings["quantization_config"].load_in_4bit
        raise ImportError("Using `bitsandbytes` 4-bit quantization requires bitsandbytes")

    monkeypatch.setattr(huggingface.AutoModelForCausalLM, "from_pretrained", missing)
    with pytest.raises(SubjectError, match="requires bitsandbytes") as refused:
        subject(folder, load_in="4bit")
    assert "pip install 'glossator[large]'" in refused.value.cure


# Errors of normal weights: 8 bits a row, and NF4 with blocks of 64.
@pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed (it is in the extra dev)")
@pytest.mark.parametrize(("load_in", "error"), [("8bit", 0.012), ("4bit", 0.1)])
def test_a_quantised_model_is_near_the_whole_one_and_smaller(tmp_path: Path, load_in: str, error: float) -> None:
    folder = models.build("llama", tmp_path, hidden_size=128, intermediate_size=256, head_dim=32, num_attention_heads=4)
    packed, whole = subject(folder, load_in=load_in), subject(folder)
    found = packed.activations(tokens())
    assert torch.equal(found, packed.activations(tokens()))
    assert torch.isfinite(found).all() and torch.nn.functional.cosine_similarity(found, whole.activations(tokens()), dim=-1).mean() > 0.8
    assert packed.nbytes < whole.nbytes / 1.5
    for point in POINTS.split("+"):
        expected = whole.output_directions(point)
        assert (packed.output_directions(point) - expected).norm() / expected.norm() < error


def test_the_matrix_of_a_quantised_layer_is_read_by_applying_it() -> None:
    layer = torch.nn.Linear(6, 4)
    expected = directions.matrix(layer)

    class Quantised(torch.nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return layer(x)

    packed: Any = Quantised(6, 4)
    packed.weight = torch.nn.Parameter(torch.zeros(12, 1, dtype=torch.uint8), requires_grad=False)
    torch.testing.assert_close(directions.matrix(packed), expected)


@pytest.mark.parametrize("settings", [{"load_in": "8bit"}, {"device": "spread"}])
def test_what_does_not_go_together(settings: dict[str, Any]) -> None:
    for other in ({"backend": "bridge"}, {"weights": "random"}):
        with pytest.raises(ValidationError):
            SubjectSpec(model="x", **settings, **other)
