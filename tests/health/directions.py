"""Dictionaries of given directions, for tests of figures of weights."""

import torch
from torch import Tensor

from interp.dictionary.module import Dictionary


def dictionary_of(decoder: Tensor, encoder: Tensor | None = None, hook_point: str = "blocks.1.hook_resid_pre", **facts: object) -> Dictionary:
    """Return a dictionary with decoder rows `[F, D]` and encoder rows `[F, D]` (where not given, the same)."""
    decoder = decoder.float()
    encoder = decoder if encoder is None else encoder.float()
    given = {"architecture": "standard", "b_enc": torch.zeros(len(decoder)), **facts}
    return Dictionary(
        name="made", hook_point=hook_point, digest="", config={}, W_enc=encoder.T, W_dec=decoder, b_dec=torch.zeros(decoder.shape[1]), **given
    )  # type: ignore[arg-type]


def normal(features: int, width: int, seed: int = 0) -> Tensor:
    return torch.randn(features, width, generator=torch.Generator().manual_seed(1_000 + seed))
