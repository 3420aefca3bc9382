"""Gated dictionaries as Rajamanoharan et al. (2024) write them, in a .safetensors, .npz or .pt.

`W_gate` [D, F]  `b_gate` [F]  `r_mag` [F]  `b_mag` [F]  `W_dec` [F, D]  `b_dec` [D]

The gate is (x - b_dec) W_gate + b_gate > 0, the magnitude relu((x - b_dec) W_gate e^r_mag + b_mag): together a JumpReLU whose threshold is
b_mag - e^r_mag b_gate.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from interp.dictionary.canonical import Canonical, DictionaryHeader, StoredDictionary, matrix_shape, require
from interp.dictionary.torchfile import read_tensors
from interp.dictionary.weights import Floats
from interp.domain.spec import DictionarySpec
from interp.security import allowed_files

NAMES = ("W_gate", "b_gate", "r_mag", "b_mag", "W_dec", "b_dec")


def recognise(source: Path) -> bool:
    is_weights = source.suffix in (".safetensors", ".npz", ".pt") and allowed_files.is_file(source)
    return is_weights and set(NAMES) <= read_tensors(source).keys()


def read(source: Path, spec: DictionarySpec) -> StoredDictionary:
    tensors = read_tensors(source)
    require(tensors, NAMES, source)
    d_in, n_features = matrix_shape(tensors, "W_gate", source)
    header = DictionaryHeader(
        format="gated", architecture="gated", n_features=n_features, d_in=d_in, hook_point=spec.hook_point or "", files=(source,)
    )
    return StoredDictionary(header, tensors, _convert)


def _convert(arrays: Mapping[str, Floats]) -> Canonical:
    scale: Floats = np.exp(arrays["r_mag"])
    return Canonical(
        arrays["W_gate"] * scale,
        arrays["b_mag"],
        arrays["W_dec"],
        arrays["b_dec"],
        activation="jumprelu",
        threshold=arrays["b_mag"] - scale * arrays["b_gate"],
        pre_bias=arrays["b_dec"],
    )
