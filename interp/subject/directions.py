"""From a place in the model to its logits: the direct path."""

import torch
from torch import Tensor, nn


def matrix(module: nn.Module) -> Tensor:
    """float32 `[in, out]` of a linear layer, whichever way round its class stores it."""
    inner = getattr(module, "original_component", module)
    weight: Tensor = inner.weight.detach().float()
    return weight if type(inner).__name__ == "Conv1D" else weight.T


def unembedding(norm: nn.Module, head: nn.Module) -> Tensor:
    """float32 `[D, V]`: the unembedding with the final norm's weight folded in, and its centring where it has one."""
    folded = norm_weight(norm, head)[:, None] * matrix(head)
    return folded - folded.mean(dim=0) if centres(norm, head) else folded


@torch.inference_mode()
def norm_weight(norm: nn.Module, head: nn.Module) -> Tensor:
    """float32 `[D]`: the factor a norm gives to each axis, asked of the norm itself, since families store it as w or as 1 + w.

    The probe has mean 0 and mean square 1, so that LayerNorm and RMSNorm leave it as it is but for that factor and the bias.
    """
    probe = _probe(head)
    difference = norm(probe) - norm(-probe)
    return (difference.float() / (2 * probe.float())).flatten()


@torch.inference_mode()
def centres(norm: nn.Module, head: nn.Module) -> bool:
    """Whether a norm takes the mean away (LayerNorm), so that a shift of all axes changes nothing."""
    probe = _probe(head)
    return bool(torch.allclose(norm(probe + 1).float(), norm(probe).float(), atol=1e-2))


def _probe(head: nn.Module) -> Tensor:
    weight = getattr(head, "original_component", head).weight
    signs = torch.ones(matrix(head).shape[0], dtype=torch.float64)
    signs[1::2] = -1
    signs -= signs.mean()
    return (signs / signs.square().mean().sqrt()).to(weight)[None, None]
