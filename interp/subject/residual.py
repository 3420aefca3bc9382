"""Identities of the residual stream, which verify the tensors of hook points.

A block adds the outputs of attention and MLP: resid_pre + attn_out = resid_mid and resid_mid + mlp_out = resid_post; in a parallel block resid_pre +
attn_out + mlp_out = resid_post (Elhage et al. 2021, A mathematical framework for transformer circuits). They are checked once, on one short row, when
a subject is opened.
"""

from collections.abc import Mapping
from itertools import product

import torch
from torch import Tensor

# Sites of the identities, without the stream before and after the block.
WRITES = frozenset({"hook_attn_out", "hook_resid_mid", "hook_mlp_out"})
ROW = 8
# Rounding error, relative to the largest value of the stream.
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 3e-2, torch.float16: 1e-2}


def short_row(vocabulary: int, device: torch.device) -> Tensor:
    """Return some token ids int64 `[1, ROW]`."""
    return (torch.arange(ROW, device=device)[None] * 7 + 1) % vocabulary


def is_close(found: Tensor, wanted: Tensor) -> bool:
    """Return whether two tensors have one shape and are equal up to rounding."""
    if found.shape != wanted.shape:
        return False
    limit = TOLERANCE.get(wanted.dtype, 1e-3) * float(wanted.float().abs().max())
    return float((found.float() - wanted.float()).abs().max()) <= limit


def matching(pre: Tensor, post: Tensor, attention: Mapping[str, Tensor], middle: Mapping[str, Tensor], mlp: Mapping[str, Tensor]) -> dict[str, str]:
    """Return each site's candidate that satisfies the identities, if any; tensors are `[1, ROW, D]`."""
    best: dict[str, str] = {}
    for name, mid in middle.items():
        found = {"hook_resid_mid": name}
        found |= next(({"hook_attn_out": key} for key, write in attention.items() if is_close(pre + write, mid)), {})
        found |= next(({"hook_mlp_out": key} for key, write in mlp.items() if is_close(mid + write, post)), {})
        if len(found) > max(len(best), 1):
            best = found
    if best:
        return best
    for (one, left), (other, right) in product(attention.items(), mlp.items()):
        if is_close(pre + left + right, post):
            return {"hook_attn_out": one, "hook_mlp_out": other}
    return {}
