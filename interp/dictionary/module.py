"""The one dictionary module that everything runs on."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from interp.dictionary import formats
from interp.dictionary.canonical import Activation, Canonical, InputNorm
from interp.dictionary.digest import dictionary_digest
from interp.dictionary.formats import dictionary_name
from interp.dictionary.positions import EVERYWHERE, Positions
from interp.dictionary.weights import Floats, check_finite
from interp.domain.spec import DictionarySpec

EPSILON = 1e-5


@dataclass(frozen=True)
class Dictionary:
    """A sparse dictionary in canonical form (see `interp.dictionary.canonical`). N tokens, D wide in, D_out wide out, F features.

    W_enc `[D, F]`, b_enc `[F]`, W_dec `[F, D_out]`, b_dec `[D_out]`, threshold `[F]`, pre_bias `[D]`, W_skip `[D, D_out]`; float32 as opened.
    Feature activations are never negative.
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
    pre_bias: Tensor | None = None
    W_skip: Tensor | None = None
    input_norm: InputNorm = "none"
    positions: Positions = EVERYWHERE

    @property
    def d_in(self) -> int:
        """D: size of the activations that it reads."""
        return self.W_enc.shape[0]

    @property
    def n_features(self) -> int:
        """F."""
        return self.W_enc.shape[1]

    @property
    def nbytes(self) -> int:
        """Bytes of all its tensors."""
        tensors = (self.W_enc, self.b_enc, self.W_dec, self.b_dec, self.threshold, self.pre_bias, self.W_skip)
        return sum(tensor.nbytes for tensor in tensors if tensor is not None)

    def normalise(self, x: Tensor) -> Tensor:
        """`[N, D]` in any dtype to `[N, D]` in the weights' dtype: what the encoder's matmul reads."""
        normed = NORMS[self.input_norm](x.to(self.W_enc.dtype))
        return normed if self.pre_bias is None else normed - self.pre_bias

    def pre_activations(self, x: Tensor) -> Tensor:
        """`[N, D]` to `[N, F]`: before the activation function."""
        return torch.addmm(self.b_enc, self.normalise(x), self.W_enc)

    def encode(self, x: Tensor) -> Tensor:
        """`[N, D]` to feature activations `[N, F]`, dense and exact; TopK holds k a token."""
        if self.k is not None:
            values, indices = self.sparse_codes(x)
            return values.new_zeros(len(x), self.n_features).scatter_(1, indices, values)
        pre = self.pre_activations(x)
        positive = pre.relu()
        return positive if self.threshold is None else positive * (pre > self.threshold)

    def sparse_codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """`[N, D]` to values `[N, k]` and feature indices int64 `[N, k]`, in no order; a value may be 0. For TopK and group-max alone."""
        if self.k is None:
            raise ValueError(f"{self.name} has activation {self.activation}: no fixed number of codes a token")
        pre = self.pre_activations(x)
        if self.activation == "topk":
            values, indices = pre.topk(self.k, dim=1, sorted=False)
            return values.relu(), indices
        group = self.n_features // self.k
        values, places = pre.view(-1, self.k, group).max(dim=2)
        return values.relu(), places + torch.arange(self.k, device=pre.device) * group

    def decode(self, f: Tensor, x: Tensor | None = None) -> Tensor:
        """`[N, F]` to reconstructions `[N, D_out]`; `x` `[N, D]` is needed where there is an input norm or a skip connection."""
        out = torch.addmm(self.b_dec, f, self.W_dec)
        if self.input_norm == "none" and self.W_skip is None:
            return out
        if x is None:
            raise ValueError(f"{self.name} undoes its input norm or adds a skip connection: decode needs x")
        x = x.to(out.dtype)
        if self.W_skip is not None:
            out = out + x @ self.W_skip
        return DENORMS[self.input_norm](out, x)

    def to(self, device: torch.device | str, dtype: torch.dtype = torch.float32) -> "Dictionary":
        """The same dictionary elsewhere."""
        return replace(
            self,
            W_enc=self.W_enc.to(device, dtype),
            b_enc=self.b_enc.to(device, dtype),
            W_dec=self.W_dec.to(device, dtype),
            b_dec=self.b_dec.to(device, dtype),
            threshold=None if self.threshold is None else self.threshold.to(device, dtype),
            pre_bias=None if self.pre_bias is None else self.pre_bias.to(device, dtype),
            W_skip=None if self.W_skip is None else self.W_skip.to(device, dtype),
        )


def open_dictionary(spec: DictionarySpec, model: str | None = None) -> Dictionary:
    """Reads and converts a dictionary to float32 on the CPU. `model` names the subject where the files don't.

    Raises DictionaryError, DictionaryFormatUnknown, PickleRefused, WeightsNotFinite, FileMissing.
    """
    reading = formats.read(spec)
    check_finite(reading.tensors, reading.header.files[0])
    header = reading.header
    return from_canonical(
        reading.canonical(),
        name=dictionary_name(spec, header, model),
        hook_point=header.hook_point,
        architecture=header.architecture,
        digest=dictionary_digest(spec),
        config=header.config,
        positions=header.positions,
    )


def from_canonical(
    canonical: Canonical,
    *,
    name: str,
    hook_point: str,
    architecture: str,
    digest: str,
    config: dict[str, Any],
    positions: Positions = EVERYWHERE,
) -> Dictionary:
    """The torch module of canonical arrays."""
    return Dictionary(
        name=name,
        hook_point=hook_point,
        architecture=architecture,
        digest=digest,
        config=config,
        W_enc=_tensor(canonical.W_enc),
        b_enc=_tensor(canonical.b_enc),
        W_dec=_tensor(canonical.W_dec),
        b_dec=_tensor(canonical.b_dec),
        activation=canonical.activation,
        threshold=None if canonical.threshold is None else _tensor(canonical.threshold),
        k=canonical.k,
        pre_bias=None if canonical.pre_bias is None else _tensor(canonical.pre_bias),
        W_skip=None if canonical.W_skip is None else _tensor(canonical.W_skip),
        input_norm=canonical.input_norm,
        positions=positions,
    )


def _tensor(array: Floats) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))


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
# What undoes each on the way out; centring is not undone, since the mean is no part of what such a subject reads.
DENORMS: dict[InputNorm, Callable[[Tensor, Tensor], Tensor]] = {
    "none": lambda out, _: out,
    "centre": lambda out, _: out,
    "layer_norm": lambda out, x: out * x.std(dim=1, keepdim=True) + x.mean(dim=1, keepdim=True),
    "unit_scale": lambda out, x: out / _scale(x),
}
