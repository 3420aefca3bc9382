"""Direct path from a place in the model to its logits."""

from typing import Any

import torch
from torch import Tensor

# Layers have no common type: a linear layer or a norm of transformers, or the Bridge's wrapper of one.
Layer = Any


def weight(layer: Layer) -> Tensor:
    """Return the weight as the layer's class stores it."""
    inner: Layer = getattr(layer, "original_component", layer)
    stored: Tensor = inner.weight.detach()
    if stored.is_meta:
        # accelerate has it on disk or in memory, and lends it to a forward pass alone.
        lent: Tensor = inner._hf_hook.weights_map["weight"]
        return lent
    return stored


def matrix(layer: Layer) -> Tensor:
    """Return float32 `[in, out]` of a linear layer, whatever order its class stores."""
    if not weight(layer).is_floating_point():
        return _applied(layer)
    kind = type(getattr(layer, "original_component", layer)).__name__
    return weight(layer).float() if kind == "Conv1D" else weight(layer).float().T


@torch.inference_mode()
def _applied(layer: Layer) -> Tensor:
    """Return the matrix of a quantised layer, by its values at the unit vectors."""
    unit = torch.eye(layer.in_features, device=weight(layer).device)
    applied: Tensor = layer(unit).float() - layer(torch.zeros_like(unit[:1])).float()
    return applied


def unembedding(norm: Layer, head: Layer) -> Tensor:
    """Return the unembedding float32 `[D, V]`, with the final norm's weight and centring folded in."""
    folded = norm_weight(norm, head)[:, None] * matrix(head)
    return folded - folded.mean(dim=0) if centres(norm, head) else folded


@torch.inference_mode()
def norm_weight(norm: Layer, head: Layer) -> Tensor:
    """Return the norm's factor per axis float32 `[D]`, measured with a probe.

    Families store it as w or as 1 + w. The probe has mean 0 and mean square 1, so that LayerNorm and RMSNorm apply only that factor and the bias.
    """
    probe = _probe(head)
    difference: Tensor = norm(probe) - norm(-probe)
    return (difference.float() / (2 * probe.float())).flatten()


@torch.inference_mode()
def centres(norm: Layer, head: Layer) -> bool:
    """Return whether a norm subtracts the mean (LayerNorm), and so ignores equal shifts."""
    probe = _probe(head)
    return torch.allclose(norm(probe + 1).float(), norm(probe).float(), atol=1e-2)


def _probe(head: Layer) -> Tensor:
    stored = weight(head)
    signs = torch.ones(len(matrix(head)), dtype=torch.float64)
    signs[1::2] = -1
    signs -= signs.mean()
    return (signs / signs.square().mean().sqrt()).to(device=stored.device, dtype=stored.dtype)[None, None]
