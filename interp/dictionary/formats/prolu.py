"""ProLU dictionaries (Taggart 2024), in a .safetensors, .npz or .pt.

`W_enc` [D, F]  `b_enc` [F]  `W_dec` [F, D]  `b_dec` [D]

m = (x - b_dec) W_enc; f = m where m > 0 and m + b_enc > 0, else 0. The bias moves the threshold and is not added: JumpReLU with the threshold
max(0, -b_enc). Files of other families have the same names, so `auto` never detects it.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from interp.dictionary.canonical import Canonical, DictionaryHeader, StoredDictionary, matrix_shape, require
from interp.dictionary.torchfile import read_tensors
from interp.dictionary.weights import Floats
from interp.domain.spec import DictionarySpec

NAMES = ("W_enc", "b_enc", "W_dec", "b_dec")


def recognise(source: Path) -> bool:  # noqa: ARG001
    return False


def read(source: Path, spec: DictionarySpec) -> StoredDictionary:
    tensors = read_tensors(source)
    require(tensors, NAMES, source)
    d_in, n_features = matrix_shape(tensors, "W_enc", source)
    header = DictionaryHeader(
        format="prolu", architecture="prolu", n_features=n_features, d_in=d_in, hook_point=spec.hook_point or "", files=(source,)
    )
    return StoredDictionary(header, tensors, _convert)


def _convert(arrays: Mapping[str, Floats]) -> Canonical:
    return Canonical(
        arrays["W_enc"],
        np.zeros_like(arrays["b_enc"]),
        arrays["W_dec"],
        arrays["b_dec"],
        activation="jumprelu",
        threshold=np.maximum(-arrays["b_enc"], np.float32(0)),
        pre_bias=arrays["b_dec"],
    )
