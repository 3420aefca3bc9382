"""Goodfire's dictionaries of Llama: a state dict, named `Llama-3.1-8B-Instruct-SAE-l19.pth`.

`encoder_linear.weight` [F, D]  `encoder_linear.bias` [F]  `decoder_linear.weight` [D, F]  `decoder_linear.bias` [D]
"""

import re
from collections.abc import Mapping
from pathlib import Path

from interp.dictionary.canonical import Canonical, DictionaryHeader, StoredDictionary, matrix_shape, require
from interp.dictionary.torchfile import read_torch, tensors_of
from interp.dictionary.weights import Floats
from interp.domain.spec import DictionarySpec
from interp.security import allowed_files

NAMES = ("encoder_linear.weight", "encoder_linear.bias", "decoder_linear.weight", "decoder_linear.bias")


def recognise(source: Path) -> bool:
    return allowed_files.is_file(source) and source.suffix in (".pt", ".pth") and NAMES[0] in tensors_of(read_torch(source))


def read(source: Path, spec: DictionarySpec) -> StoredDictionary:
    tensors = tensors_of(read_torch(source))
    require(tensors, NAMES, source)
    n_features, d_in = matrix_shape(tensors, NAMES[0], source)
    named = re.fullmatch(r"(.+)-SAE-l(\d{1,4})", source.stem)
    header = DictionaryHeader(
        format="goodfire",
        architecture="relu",
        n_features=n_features,
        d_in=d_in,
        hook_point=spec.hook_point or (f"blocks.{int(named[2])}.hook_resid_post" if named else ""),
        files=(source,),
        model=named[1] if named else None,
    )
    return StoredDictionary(header, tensors, _convert)


def _convert(arrays: Mapping[str, Floats]) -> Canonical:
    encoder, encoder_bias, decoder, decoder_bias = (arrays[name] for name in NAMES)
    return Canonical(encoder.T, encoder_bias, decoder.T, decoder_bias)
