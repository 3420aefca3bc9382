"""A transcoder reads what its own library feeds it, before or after the gain of the norm before the MLP, which is not 1 here."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from interp.dictionary import formats
from interp.domain.spec import DictionarySpec, SubjectSpec
from interp.subject.base import open_subject
from tests.dictionary import files, test_papers
from tests.dictionary.test_gemma_scope import first_edition, second_edition
from tests.subject import models

LAYER = 1
# The norm before the MLP, by architecture.
NORMS = {
    "gemma2": "pre_feedforward_layernorm",
    "gemma3": "pre_feedforward_layernorm",
    "llama": "post_attention_layernorm",
    "qwen3": "post_attention_layernorm",
}


def gemma_scope(folder: Path) -> Path:
    """SAELens reads `ln2.hook_normalized`, and circuit-tracer the norm's output before its gain, which was folded into the MLP."""
    return first_edition(folder / "gemma-scope-2b-pt-transcoders" / f"layer_{LAYER}" / "width_16k" / "average_l0_7")


def gemma_scope_2(folder: Path) -> Path:
    """Its config, and circuit-tracer, name the output of the norm, with its gain."""
    place = folder / "gemma-scope-2-1b-pt" / "transcoder" / f"layer_{LAYER}_width_16k_l0_small"
    return second_edition(place, {"hf_hook_point_in": f"model.layers.{LAYER}.pre_feedforward_layernorm.output"})


def llama_scope(folder: Path) -> Path:
    """Its mean norm of inputs is sqrt(4096) = 64 in the release: that of a vector before the gain."""
    return test_papers.llama_scope(folder / "tc", hook_point_in=f"blocks.{LAYER}.ln2.hook_normalized", hook_point_out=f"blocks.{LAYER}.hook_mlp_out")


def circuit_tracer(folder: Path) -> Path:
    """Its `mlp.hook_in` is put before the MLP of a model loaded with `fold_ln=False`."""
    return test_papers.circuit_tracer(folder / "set", (LAYER,), "feature_input_hook: mlp.hook_in\nfeature_output_hook: hook_mlp_out\n")


def circuit_tracer_gemma_scope(folder: Path) -> Path:
    return test_papers.circuit_tracer(folder / "set", (LAYER,), "feature_input_hook: ln2.hook_normalized\nfeature_output_hook: hook_mlp_out\n")


def saelens_at(site: str, hf_hook_name: str | None = None) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        metadata = {"hook_name": f"blocks.{LAYER}.{site}", "hf_hook_name": hf_hook_name, "hook_name_out": f"blocks.{LAYER}.hook_mlp_out"}
        return files.saelens(folder / "tc", "transcoder", files.standard_tensors(), metadata=metadata)

    return make


# What the files are, the architecture of their subject, and what they read: the norm's output, or the same before the gain, or the norm's input.
CASES: dict[str, tuple[Callable[[Path], Path], str, str]] = {
    "gemma_scope": (gemma_scope, "gemma2", "normalised"),
    "gemma_scope_2": (gemma_scope_2, "gemma3", "with gain"),
    "llama_scope": (llama_scope, "llama", "normalised"),
    "circuit_tracer-llama": (circuit_tracer, "llama", "with gain"),
    "circuit_tracer-qwen3": (circuit_tracer, "qwen3", "with gain"),
    "circuit_tracer-gemma2": (circuit_tracer_gemma_scope, "gemma2", "normalised"),
    "saelens-normalised": (saelens_at("ln2.hook_normalized"), "gemma2", "normalised"),
    "saelens-hook_in": (saelens_at("mlp.hook_in"), "llama", "with gain"),
    "saelens-hook_mlp_in": (saelens_at("hook_mlp_in"), "llama", "norm's input"),
    "saelens-gemma_scope_2": (saelens_at("hook_mlp_in", "model.layers.1.pre_feedforward_layernorm.output"), "gemma3", "with gain"),
}


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    built: dict[str, Path] = {}

    def folder(architecture: str) -> Path:
        if architecture not in built:
            built[architecture] = models.build(architecture, tmp_path_factory.mktemp(architecture))
        return built[architecture]

    return folder


def fed(folder: Path, norm: str, tokens: torch.Tensor) -> dict[str, torch.Tensor]:
    """What goes into the norm before the MLP, what comes out, and that before the gain: by transformers alone."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    module = getattr(model.model.layers[LAYER], norm)
    seen: dict[str, torch.Tensor] = {}

    def keep(_: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        x = inputs[0]
        epsilon = json.loads((folder / "config.json").read_text())["rms_norm_eps"]
        seen.update({"norm's input": x, "with gain": output, "normalised": x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + epsilon)})

    module.register_forward_hook(keep)
    with torch.inference_mode():
        model(tokens)
    return seen


@pytest.mark.parametrize("backend", ["bridge", "huggingface"])
@pytest.mark.parametrize("case", CASES)
def test_the_input_of_a_transcoder_is_what_its_library_feeds(folder_of: Callable[[str], Path], tmp_path: Path, case: str, backend: Any) -> None:
    make, architecture, reads = CASES[case]
    header = formats.header_of(DictionarySpec(source=str(make(tmp_path))))
    assert header.output_point == f"blocks.{LAYER}.hook_mlp_out"
    tokens = torch.randint(0, 250, (2, 12), generator=torch.Generator().manual_seed(1))
    expected = fed(folder_of(architecture), NORMS[architecture], tokens)
    found = open_subject(SubjectSpec(model=str(folder_of(architecture)), device="cpu", backend=backend), header.hook_point).activations(tokens)
    torch.testing.assert_close(found, expected[reads], rtol=1e-4, atol=1e-5)
    for other in expected.keys() - {reads}:
        assert (found - expected[other]).norm() > 0.1 * found.norm(), f"{other} can be told from it"
