"""Set of directions (probes, steering vectors, principal axes), one feature each.

`.npy` `[n, D]`, or `.safetensors` with `directions` `[n, D]` and optionally `bias` `[n]` and `threshold` `[n]`: relu(x · d + bias), and 0 where that
is not above the threshold. Rows are not normalised.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from interp.dictionary.canonical import Canonical, DictionaryHeader, StoredDictionary, matrix_shape
from interp.dictionary.weights import Floats, read_npy, read_safetensors
from interp.domain.spec import DictionarySpec
from interp.security import allowed_files


def recognise(source: Path) -> bool:
    if source.suffix == ".npy":
        return allowed_files.is_file(source)
    return allowed_files.is_file(source) and source.suffix == ".safetensors" and "directions" in read_safetensors(source)


def read(source: Path, spec: DictionarySpec) -> StoredDictionary:
    tensors = {"directions": read_npy(source)} if source.suffix == ".npy" else read_safetensors(source)
    n_features, d_in = matrix_shape(tensors, "directions", source)
    header = DictionaryHeader(
        format="directions", architecture="directions", n_features=n_features, d_in=d_in, hook_point=spec.hook_point or "", files=(source,)
    )
    return StoredDictionary(header, tensors, _convert)


def _convert(arrays: Mapping[str, Floats]) -> Canonical:
    directions = arrays["directions"]
    n_features, d_in = directions.shape
    threshold = arrays.get("threshold")
    return Canonical(
        W_enc=directions.T,
        b_enc=arrays.get("bias", np.zeros(n_features, dtype=np.float32)),
        W_dec=directions,
        b_dec=np.zeros(d_in, dtype=np.float32),
        activation="relu" if threshold is None else "jumprelu",
        threshold=threshold,
    )
