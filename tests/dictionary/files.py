"""Random weights, and the folders that each library would write."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from interp.dictionary.module import Dictionary, open_dictionary
from interp.domain.spec import DictionarySpec

WIDTH, FEATURES, TOKENS = 12, 40, 64
HOOK_POINT = "blocks.1.hook_resid_post"


def randn(*shape: int, seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed + 1000 * len(shape) + sum(shape))
    return torch.randn(*shape, generator=generator) * scale


def inputs() -> torch.Tensor:
    """Activations with a mean and a few large axes, as residual streams have them."""
    return randn(TOKENS, WIDTH, seed=7) * 3 + torch.linspace(-2, 5, WIDTH)


def saelens(folder: Path, architecture: str, tensors: dict[str, torch.Tensor], **config: Any) -> Path:
    """As `SAE.save_model` writes since SAELens 6. `metadata` is added to."""
    metadata = {"model_name": "tiny", "hook_name": HOOK_POINT, **config.pop("metadata", {})}
    content = {"architecture": architecture, "d_in": WIDTH, "d_sae": FEATURES, "dtype": "float32", "normalize_activations": "none", **config}
    return written(folder, "cfg.json", {**content, "metadata": metadata}, "sae_weights.safetensors", tensors)


def written(folder: Path, config_name: str, config: dict[str, Any], weights_name: str, tensors: dict[str, torch.Tensor]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / config_name).write_text(json.dumps(config), encoding="utf-8")
    plain = {name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}
    if weights_name.endswith(".safetensors"):
        save_file(plain, folder / weights_name)
    else:
        torch.save(tensors, folder / weights_name)
    return folder


def opened(source: Path, **spec: Any) -> Dictionary:
    return open_dictionary(DictionarySpec(source=str(source), **spec))


def standard_tensors() -> dict[str, torch.Tensor]:
    return {
        "W_enc": randn(WIDTH, FEATURES),
        "b_enc": randn(FEATURES),
        "W_dec": randn(FEATURES, WIDTH),
        "b_dec": randn(WIDTH),
    }


def assert_same(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    """Equal but for the rounding of float32, in number and in sign; and not by being all zero."""
    assert theirs.abs().max() > 0.1
    assert (ours - theirs).norm() < 1e-5 * theirs.norm()
    np.testing.assert_allclose(ours.numpy(), theirs.detach().numpy(), rtol=2e-4, atol=2e-4)


def kept(pre: torch.Tensor, k: int) -> torch.Tensor:
    """The k largest of each row, the rest 0: TopK by sorting."""
    order = pre.argsort(dim=-1, descending=True)
    keep = torch.zeros_like(pre, dtype=torch.bool)
    for row in range(len(pre)):
        keep[row, order[row, :k]] = True
    return torch.where(keep, pre, torch.zeros_like(pre)).clamp_min(0)
