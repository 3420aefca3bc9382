"""Torch module of a dictionary of any family."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from interp.dictionary import formats
from interp.dictionary.canonical import ARRAYS, EVERYWHERE, Activation, Canonical, InputNorm, Positions
from interp.dictionary.formats import dictionary_digest, dictionary_name
from interp.dictionary.weights import Floats, check_finite
from interp.domain.polarity import Polarity
from interp.domain.spec import DictionarySpec
from interp.subject import hooks

EPSILON = 1e-5


@dataclass(frozen=True)
class Dictionary:
    """A sparse dictionary in canonical form (see `interp.dictionary.canonical`).

    It reads `hook_point` and writes `output_point`: one hook point, or several joined by `+`, whose activations are concatenated in this order.
    N tokens; D is `d_in`, F is `n_features`. W_enc `[D, F]`, b_enc `[F]`, W_dec `[F, D_out]`, b_dec `[D_out]`, threshold `[F]`, pre_bias `[D]`,
    W_skip `[D, D_out]`; float32 as opened. Feature activations are never negative.
    """

    name: str
    hook_point: str
    architecture: str
    digest: str
    config: dict[str, Any]
    W_enc: Tensor
    b_enc: Tensor
    W_dec: Tensor
    b_dec: Tensor
    activation: Activation = "relu"
    threshold: Tensor | None = None
    k: int | None = None
    batch_k: int | None = None
    pre_bias: Tensor | None = None
    W_skip: Tensor | None = None
    input_norm: InputNorm = "none"
    positions: Positions = EVERYWHERE
    output_point: str | None = None
    polarity: Polarity = "positive"

    @property
    def output_points(self) -> tuple[str, ...]:
        """Return the hook points that it writes, in the order of the columns of W_dec."""
        return hooks.points_of(self.output_point or self.hook_point)

    @property
    def d_in(self) -> int:
        return self.W_enc.shape[0]

    @property
    def n_features(self) -> int:
        return self.W_enc.shape[1]

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for tensor in self._tensors().values())

    def _tensors(self) -> dict[str, Tensor]:
        return {name: tensor for name in ARRAYS if (tensor := getattr(self, name)) is not None}

    def normalise(self, x: Tensor) -> Tensor:
        """Return the encoder's input `[N, D]` in the weights' dtype."""
        normed = NORMS[self.input_norm](x.to(self.W_enc.dtype))
        return normed if self.pre_bias is None else normed - self.pre_bias

    def pre_activations(self, x: Tensor) -> Tensor:
        """Return the values `[N, F]` before the activation function, for inputs `[N, D]`."""
        return torch.addmm(self.b_enc, self.normalise(x), self.W_enc)

    def encode(self, x: Tensor) -> Tensor:
        """Return feature activations `[N, F]` of `[N, D]`; TopK has k per token."""
        if self.k is not None:
            values, indices = self.sparse_codes(x)
            return values.new_zeros(len(x), self.n_features).scatter_(1, indices, values)
        pre = self.pre_activations(x)
        positive = pre.relu()
        return positive if self.threshold is None else positive * (pre > self.threshold)

    def sparse_codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return unordered values `[N, k]` and indices int64 `[N, k]`; TopK and group-max only."""
        if self.k is None:
            raise ValueError(f"{self.name} has activation {self.activation}: no fixed number of codes per token")
        pre = self.pre_activations(x)
        if self.activation == "topk":
            values, indices = pre.topk(self.k, dim=1, sorted=False)
            return values.relu(), indices
        group = self.n_features // self.k
        values, places = pre.view(-1, self.k, group).max(dim=2)
        return values.relu(), places + torch.arange(self.k, device=pre.device) * group

    def decode(self, f: Tensor, x: Tensor | None = None) -> Tensor:
        """Return reconstructions `[N, D_out]` of `[N, F]`; norms and skip connections need `x` `[N, D]`."""
        out = torch.addmm(self.b_dec, f, self.W_dec)
        if self.input_norm == "none" and self.W_skip is None:
            return out
        if x is None:
            raise ValueError(f"{self.name} undoes its input norm or adds a skip connection: decode needs x")
        x = x.to(out.dtype)
        if self.W_skip is not None:
            out = out + x @ self.W_skip
        return DENORMS[self.input_norm](out, x)

    def with_threshold(self, threshold: float) -> "Dictionary":
        """Return a BatchTopK dictionary as JumpReLU, with one threshold for all features."""
        return replace(self, activation="jumprelu", threshold=torch.full_like(self.b_enc, threshold), batch_k=None)

    def with_biases(self, biases: Floats) -> "Dictionary":
        """Return a random dictionary with the encoder's biases `[F]`, found on the corpus."""
        return replace(self, b_enc=torch.tensor(biases).to(self.b_enc))

    def to(self, device: torch.device | str, dtype: torch.dtype = torch.float32) -> "Dictionary":
        """Return the same dictionary on another device."""
        moved: dict[str, Any] = {name: tensor.to(device, dtype) for name, tensor in self._tensors().items()}
        return replace(self, **moved)


def open_dictionary(spec: DictionarySpec, model: str | None = None) -> Dictionary:
    """Return a dictionary in float32 on the CPU; `model` is the subject's default name.

    Raises DictionaryError, DictionaryFormatUnknownError, PickleRefusedError, WeightsNotFiniteError, FileMissingError.
    """
    reading = formats.read(spec)
    check_finite(reading.tensors, reading.header.files[0])
    header = reading.header
    return from_canonical(
        reading.canonical(),
        name=dictionary_name(spec, header, model),
        hook_point=header.hook_point,
        output_point=header.output_point,
        polarity=header.polarity,
        architecture=header.architecture,
        digest=dictionary_digest(spec),
        config=header.config,
        positions=header.positions,
    )


def from_canonical(canonical: Canonical, **facts: Any) -> Dictionary:
    """Return the torch module of canonical arrays; `facts` are the other fields."""
    arrays = {name: array for name in ARRAYS if (array := getattr(canonical, name)) is not None}
    tensors: dict[str, Any] = {name: torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)) for name, array in arrays.items()}
    return Dictionary(activation=canonical.activation, k=canonical.k, batch_k=canonical.batch_k, input_norm=canonical.input_norm, **tensors, **facts)


def _layer_norm(x: Tensor) -> Tensor:
    centred = x - x.mean(dim=1, keepdim=True)
    return centred / (centred.std(dim=1, keepdim=True) + EPSILON)


def _scale(x: Tensor) -> Tensor:
    scale: Tensor = x.shape[1] ** 0.5 / torch.linalg.vector_norm(x, dim=1, keepdim=True)
    return scale


NORMS: dict[InputNorm, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "centre": lambda x: x - x.mean(dim=1, keepdim=True),
    "layer_norm": _layer_norm,
    "unit_scale": lambda x: x * _scale(x),
}
# The inverse of each; centring has none, since such a subject does not read the mean.
DENORMS: dict[InputNorm, Callable[[Tensor, Tensor], Tensor]] = {
    "none": lambda out, _: out,
    "centre": lambda out, _: out,
    "layer_norm": lambda out, x: out * x.std(dim=1, keepdim=True) + x.mean(dim=1, keepdim=True),
    "unit_scale": lambda out, x: out / _scale(x),
}
# What a direction of the decoder is multiplied with at inputs `[N, D]`, `[N, 1]`: None for 1. A layer norm's mean is no part of a direction.
NORM_SCALES: dict[InputNorm, Callable[[Tensor], Tensor] | None] = {
    "none": None,
    "centre": None,
    "layer_norm": lambda x: x.std(dim=1, keepdim=True),
    "unit_scale": lambda x: 1 / _scale(x),
}
