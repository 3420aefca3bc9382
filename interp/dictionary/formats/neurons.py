"""Neurons of a layer as a dictionary: each feature is an axis's positive part.

`source` is the subject's folder: there are no weights, only a size. `auto` never detects it.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from interp.dictionary.canonical import Canonical, DictionaryHeader, StoredDictionary
from interp.dictionary.weights import Floats
from interp.domain.errors import DictionaryError
from interp.domain.spec import DictionarySpec
from interp.security import allowed_files
from interp.security.bounded_json import read_json
from interp.subject import hooks
from interp.subject.shape import ModelShape


def recognise(source: Path) -> bool:  # noqa: ARG001
    return False


def read(source: Path, spec: DictionarySpec) -> StoredDictionary:
    if spec.hook_point is None:
        raise DictionaryError(
            "Neurons of which layer?", why="The format `neurons` has no file that says.", cure="Set hook_point, such as blocks.3.mlp.hook_post."
        )
    config = source / "config.json" if allowed_files.is_folder(source) else source
    shape = ModelShape.from_config(read_json(config, DictionaryError))
    d_in = sum(point.d_in(shape) for point in hooks.parse_all(spec.hook_point, shape))
    header = DictionaryHeader(
        format="neurons", architecture="neurons", n_features=d_in, d_in=d_in, hook_point=spec.hook_point, files=(config,), config={"width": d_in}
    )

    def convert(_: Mapping[str, Floats]) -> Canonical:
        identity, zeros = np.eye(d_in, dtype=np.float32), np.zeros(d_in, dtype=np.float32)
        return Canonical(W_enc=identity, b_enc=zeros, W_dec=identity, b_dec=zeros)

    return StoredDictionary(header, {}, convert, made=2 * d_in * d_in)
