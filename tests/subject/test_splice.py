"""Replaced tensors change the model as an own hook of transformers does, in both backends alike."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoModelForCausalLM

from interp.domain.errors import SubjectError
from interp.domain.spec import SubjectSpec
from interp.subject import splice
from interp.subject.base import open_subject
from interp.subject.loaded import OpenedSubject
from tests.subject.models import build

TOKENS = torch.randint(1, 200, (2, 12), generator=torch.Generator().manual_seed(0))
WHERE = torch.arange(12)[None].expand(2, 12) > 2
# The module whose output each hook point is, in transformers' Llama.
MODULES = {"hook_resid_post": "", "hook_mlp_out": "mlp", "hook_attn_out": "self_attn"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("llama", tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module", params=["huggingface", "bridge"])
def subject(request: pytest.FixtureRequest, folder: Path) -> OpenedSubject:
    found = open_subject(SubjectSpec(model=str(folder), backend=request.param, device="cpu"), "blocks.1.hook_resid_post")
    assert isinstance(found, OpenedSubject)
    return found


def own_losses(folder: Path, module: str | None, value: Tensor) -> Tensor:
    """Losses `[B, T - 1]` by transformers alone, with `value` in place of a module's output where WHERE is true."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def hook(_module: object, _given: object, output: object) -> object:
        tensor = output[0] if isinstance(output, tuple) else output
        assert isinstance(tensor, Tensor)
        new = torch.where(WHERE[..., None], value, tensor)
        return (new, *output[1:]) if isinstance(output, tuple) else new

    if module is not None:
        block = model.model.layers[1]
        (block.get_submodule(module) if module else block).register_forward_hook(hook)
    with torch.inference_mode():
        logits = model(TOKENS).logits
    return functional.cross_entropy(logits[:, :-1].transpose(1, 2), TOKENS[:, 1:], reduction="none")


def test_clean_losses_are_those_of_transformers_and_hook_points_are_read(subject: OpenedSubject, folder: Path) -> None:
    seen: dict[str, Tensor] = {}
    logits = splice.read(subject, TOKENS, {subject.hook_point: lambda tensor: seen.__setitem__("x", tensor.clone())})
    assert torch.allclose(splice.losses(logits, TOKENS), own_losses(folder, None, torch.zeros(1)), atol=1e-4)
    assert torch.allclose(seen["x"], subject.activations(TOKENS), atol=1e-5)


@pytest.mark.parametrize("site", MODULES)
def test_a_replaced_tensor_is_what_the_model_goes_on_with(subject: OpenedSubject, folder: Path, site: str) -> None:
    value = torch.randn(2, 12, subject.d_in, generator=torch.Generator().manual_seed(1))
    found = splice.losses(splice.replace(subject, TOKENS, {f"blocks.1.{site}": value}, WHERE), TOKENS)
    expected = own_losses(folder, MODULES[site], value)
    assert torch.allclose(found, expected, atol=1e-4)
    assert not torch.allclose(found, own_losses(folder, None, value), atol=1e-2)


def test_one_head_is_replaced_and_the_others_stay(subject: OpenedSubject) -> None:
    name = "blocks.1.attn.hook_z[1]"
    seen: dict[str, Tensor] = {}
    logits = splice.read(subject, TOKENS, {name: lambda tensor: seen.__setitem__("z", tensor.clone())})
    same = splice.replace(subject, TOKENS, {name: seen["z"]}, WHERE)
    assert torch.allclose(same, logits, atol=1e-5)
    assert not torch.allclose(splice.replace(subject, TOKENS, {name: seen["z"] + 5}, WHERE), logits, atol=1e-3)


def test_hooks_are_gone_after_a_pass(subject: OpenedSubject) -> None:
    before = subject.logits(TOKENS)
    splice.replace(subject, TOKENS, {subject.hook_point: torch.zeros(2, 12, subject.d_in)}, WHERE)
    assert torch.equal(subject.logits(TOKENS), before)


def test_a_tensor_beside_the_stream_is_refused(subject: OpenedSubject) -> None:
    with pytest.raises(SubjectError, match="cannot be replaced"):
        splice.replace(subject, TOKENS, {"blocks.1.hook_resid_mid": torch.zeros(2, 12, subject.d_in)}, WHERE)
