"""Apollo Research's e2e_sae (Braun et al. 2024): a dictionary per hook point in `samples_N.pt`."""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from interp.dictionary.canonical import Canonical, DictionaryHeader, StoredDictionary, matrix_shape, require
from interp.dictionary.torchfile import read_torch, tensors_of
from interp.dictionary.weights import Floats, StoredTensor
from interp.domain.errors import DictionaryError
from interp.domain.spec import DictionarySpec
from interp.security import allowed_files

PARTS = ("encoder.0.weight", "encoder.0.bias", "decoder.weight", "decoder.bias")


def recognise(source: Path) -> bool:
    return allowed_files.is_file(source) and source.suffix == ".pt" and bool(_places(tensors_of(read_torch(source))))


def read(source: Path, spec: DictionarySpec) -> StoredDictionary:
    stored = tensors_of(read_torch(source))
    places = _places(stored)
    if not places:
        raise DictionaryError(f"{source} is no e2e_sae file.", why="No name in it ends in encoder.0.weight.", cure="Name its format.")
    hook_point = spec.hook_point or (next(iter(places)) if len(places) == 1 else None)
    if hook_point not in places:
        raise DictionaryError(
            f"{source} holds dictionaries of several hook points." if hook_point is None else f"{source} has no dictionary at {hook_point}.",
            why=f"It has {', '.join(place[:80] for place in list(places)[:24])}.",
            cure="Set `dictionary.hook_point` to one of them.",
        )
    prefix = places[hook_point]
    tensors = {name.removeprefix(prefix): tensor for name, tensor in stored.items() if name.startswith(prefix)}
    require(tensors, PARTS, source)
    n_features, d_in = matrix_shape(tensors, "encoder.0.weight", source)
    header = DictionaryHeader(format="apollo", architecture="relu", n_features=n_features, d_in=d_in, hook_point=hook_point, files=(source,))
    return StoredDictionary(header, tensors, _convert)


def _convert(arrays: Mapping[str, Floats]) -> Canonical:
    columns = arrays["decoder.weight"]
    # The smallest norm of torch.nn.functional.normalize.
    unit: Floats = columns / np.maximum(np.linalg.norm(columns, axis=0, keepdims=True), 1e-12)
    return Canonical(arrays["encoder.0.weight"].T, arrays["encoder.0.bias"], unit.T, arrays["decoder.bias"])


def _places(names: Mapping[str, StoredTensor]) -> dict[str, str]:
    """Return tensor names' prefixes by hook point (`blocks.6.hook_resid_pre`: `blocks-6-hook_resid_pre`)."""
    prefixes = [match[1] for name in names if (match := re.fullmatch(r"(.*)encoder\.0\.weight", name))]
    return {re.sub(r"^.*?(blocks)", r"\1", prefix.rstrip(".")).replace("-", "."): prefix for prefix in prefixes}
