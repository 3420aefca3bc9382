"""Canonical form of all weight families, in numpy, and headers without weights.

f = act((norm(x) - pre_bias) @ W_enc + b_enc)        x̂ = denorm(f @ W_dec + b_dec [+ x @ W_skip])
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from interp.dictionary.weights import UNREADABLE, Floats, StoredTensor, not_finite
from interp.domain.errors import DictionaryError, GlossatorError
from interp.domain.polarity import Polarity
from interp.security import allowed_files
from interp.security.foreign_config import brief

# relu      max(z, 0)
# jumprelu  max(z, 0) where z > threshold, else 0 (Rajamanoharan et al. 2024)
# topk      the k largest max(z, 0) of a token (Gao et al. 2024)
# groupmax  the features are k adjacent groups; the largest max(z, 0) of each group
Activation = Literal["relu", "jumprelu", "topk", "groupmax"]

# none        x
# centre      x minus its mean over D: the effect of TransformerLens' center_writing_weights on a LayerNorm model
# layer_norm  (x - mean) / (std + 1e-5), std unbiased: SAELens' layer_norm and OpenAI's LN
# unit_scale  x * sqrt(D) / |x|: SAELens' constant_norm_rescale
InputNorm = Literal["none", "centre", "layer_norm", "unit_scale"]

# No dictionary is larger; an index of it would not fit into 32 bits.
LARGEST = 2**31
# Architectures whose features are projections, cut off at 0.
LINEAR = ("neurons", "directions")
# The arrays of the canonical form.
ARRAYS = ("W_enc", "b_enc", "W_dec", "b_dec", "threshold", "pre_bias", "W_skip")


@dataclass(frozen=True, slots=True)
class Positions:
    """Positions at which a dictionary's activations count, never at special tokens.

    prepend_bos      whether rows begin with the BOS
    excluded_tokens  ids at which nothing counts
    start stop step  the slice of a row's positions that counts, BOS included, as Python slices
    """

    prepend_bos: bool = True
    excluded_tokens: tuple[int, ...] = ()
    start: int | None = None
    stop: int | None = None
    step: int | None = None

    def mask(self, length: int, row_tokens: int) -> NDArray[np.bool_]:
        """Return the counted positions, bool `[length]`; negative bounds count from `row_tokens`."""
        counted = np.zeros(max(length, row_tokens), dtype=np.bool_)
        counted[slice(*slice(self.start, self.stop, self.step).indices(row_tokens))] = True
        return counted[:length]

    def identity(self) -> dict[str, Any]:
        """Return the positions' part of an evidence's identity."""
        return {
            "prepend_bos": self.prepend_bos,
            "excluded_tokens": list(self.excluded_tokens),
            "seqpos_slice": [self.start, self.stop, self.step],
        }


EVERYWHERE = Positions()


@dataclass(frozen=True, slots=True)
class Canonical:
    """Arrays in float32; D is the input's size, F the number of features.

    W_enc `[D, F]`, b_enc `[F]`, W_dec `[F, D_out]`, b_dec `[D_out]`, threshold `[F]`, pre_bias `[D]`, W_skip `[D, D_out]`. `batch_k` is how many
    features of a relu dictionary fire a token on average: BatchTopK without a threshold, which is found on the corpus (`interp.collect.levels`).
    """

    W_enc: Floats
    b_enc: Floats
    W_dec: Floats
    b_dec: Floats
    activation: Activation = "relu"
    threshold: Floats | None = None
    k: int | None = None
    batch_k: int | None = None
    pre_bias: Floats | None = None
    W_skip: Floats | None = None
    input_norm: InputNorm = "none"

    def check(self, source: Path) -> None:
        """Raise DictionaryError when shapes and settings are inconsistent."""
        if self.k is not None and (not isinstance(self.k, int) or isinstance(self.k, bool)):
            raise _shapes(source, "k is no whole number.")
        for name in ("W_enc", "W_dec"):
            if getattr(self, name).ndim != 2:
                raise _shapes(source, f"{name} is {list(getattr(self, name).shape)}, not a matrix.")
        d_in, n_features = self.W_enc.shape
        d_out = self.W_dec.shape[1]
        shapes = (d_in, n_features), (n_features,), (n_features, d_out), (d_out,), (n_features,), (d_in,), (d_in, d_out)
        for name, shape in zip(ARRAYS, shapes, strict=True):
            array = getattr(self, name)
            if array is not None and array.shape != shape:
                raise _shapes(source, f"{name} is {list(array.shape)}, not {list(shape)} as W_enc {[d_in, n_features]} asks.")
        if (self.activation == "jumprelu") != (self.threshold is not None):
            raise _shapes(source, f"Activation {self.activation} with{'' if self.threshold is not None else 'out'} thresholds.")
        if (self.activation in ("topk", "groupmax")) != (self.k is not None):
            raise _shapes(source, f"Activation {self.activation} with k = {self.k}.")
        if self.k is not None and not 0 < self.k <= n_features:
            raise _shapes(source, f"k is {self.k} for {n_features} features.")
        if self.batch_k is not None and (self.activation != "relu" or not 0 < self.batch_k <= n_features):
            raise _shapes(source, f"batch_k is {self.batch_k} for {n_features} features of activation {self.activation}.")
        if self.activation == "groupmax" and self.k is not None and n_features % self.k:
            raise _shapes(source, f"{n_features} features do not form {self.k} equal groups.")

    def check_finite(self, source: Path) -> None:
        """Raise WeightsNotFiniteError; folding of scales and norms may overflow finite weights."""
        for name in ARRAYS:
            array = getattr(self, name)
            bad = 0 if array is None else array.size - int(np.isfinite(array).sum())
            if bad:
                why = f"{bad} of its {array.size} numbers, once the config's factors and the decoder's norms are folded into the weights."
                raise not_finite(source, name, why)


@dataclass(frozen=True, slots=True)
class DictionaryHeader:
    """Facts of a dictionary without its weights; `model` is the subject's name in the files.

    `hook_point` is what it reads: one hook point, or several joined by `+`, whose activations are concatenated in this order. `output_point` is what
    it writes, in the same form; where not given, the same. `context` is the length of the rows that it was trained on, `warnings` are notes for the
    user about how it is read.
    """

    format: str
    architecture: str
    n_features: int
    d_in: int
    hook_point: str
    files: tuple[Path, ...]
    output_point: str | None = None
    model: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    positions: Positions = EVERYWHERE
    context: int | None = None
    warnings: tuple[str, ...] = ()
    polarity: Polarity = "positive"


@dataclass(frozen=True, slots=True)
class StoredDictionary:
    """A stored dictionary: header, tensors and conversion; `made` counts numbers without stored weights."""

    header: DictionaryHeader
    tensors: Mapping[str, StoredTensor]
    convert: Callable[[Mapping[str, Floats]], Canonical]
    made: int = 0

    @property
    def numbers(self) -> int:
        """Return the least number of values in memory after conversion."""
        return self.made + sum(tensor.size for tensor in self.tensors.values())

    def canonical(self) -> Canonical:
        """Read and convert the weights; raises DictionaryError and WeightsNotFiniteError."""
        source = self.header.files[0]
        with as_dictionary_errors(source, self.header.format), np.errstate(all="ignore"):
            converted = self.convert({name: tensor.read() for name, tensor in self.tensors.items()})
            converted.check(source)
            converted.check_finite(source)
        return converted


def both_signs(reading: StoredDictionary) -> StoredDictionary:
    """Return a linear dictionary with feature i's negative side as feature F + i.

    Raises DictionaryError for others, whose features have one side.
    """
    header = reading.header
    if header.architecture not in LINEAR or "threshold" in reading.tensors:
        raise DictionaryError(
            f"{header.files[0]}: a {header.architecture} dictionary has no negative sides.",
            why="Its features are 0 where they do not fire. Neurons, and directions without thresholds, have a value of either sign at each token.",
            cure="Leave out `dictionary.polarity`.",
        )

    def convert(arrays: Mapping[str, Floats]) -> Canonical:
        one = reading.convert(arrays)
        return replace(
            one,
            W_enc=np.concatenate([one.W_enc, -one.W_enc], axis=1),
            b_enc=np.concatenate([one.b_enc, -one.b_enc]),
            W_dec=np.concatenate([one.W_dec, -one.W_dec]),
        )

    both = replace(header, n_features=2 * header.n_features, polarity="both")
    return replace(reading, header=both, convert=convert, made=2 * reading.made + sum(tensor.size for tensor in reading.tensors.values()))


@contextmanager
def as_dictionary_errors(source: Path, format_name: str) -> Iterator[None]:
    """Turn errors of files of an unexpected form into a DictionaryError."""
    try:
        yield
    except GlossatorError:
        raise
    except UNREADABLE as cause:
        raise DictionaryError(
            f"{source} cannot be read as {format_name}.",
            why=f"{type(cause).__name__}: {str(cause)[:200]}",
            cure="Check that the files are whole, and that `dictionary.format` is theirs; `auto` finds it out.",
        ) from cause


def has_files(folder: Path, *names: str) -> bool:
    return allowed_files.is_folder(folder) and all(allowed_files.is_file(folder / name) for name in names)


def require(tensors: Mapping[str, StoredTensor], names: tuple[str, ...], source: Path) -> None:
    """Raise DictionaryError when a tensor is missing."""
    missing = [name for name in names if name not in tensors]
    if missing:
        raise DictionaryError(
            f"{source} lacks {', '.join(missing)}.",
            why=f"It holds {', '.join(name[:60] for name in sorted(tensors)[:12]) or 'nothing'}.",
            cure="Give the right format, or save the dictionary again.",
        )


def whole_number(value: Any, name: str, source: Path) -> int:
    """Return a setting that must be a positive whole number; raises DictionaryError."""
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value < LARGEST:
        raise DictionaryError(
            f"{source}: {name} = {brief(value)} is no positive number.", cure=f"Set {name} in the dictionary's config to what it was trained with."
        )
    return value


def divided(rows: Floats, norms: Floats) -> Floats:
    """Divide rows by their norms, except rows of zeros (dead features), which would become NaN."""
    floors: Floats = np.where(norms == 0, np.float32(1), norms).astype(np.float32)
    return np.divide(rows, floors[:, None])


def matrix_shape(tensors: Mapping[str, StoredTensor], name: str, source: Path) -> tuple[int, int]:
    """Return the shape of a two-dimensional tensor; raises DictionaryError."""
    require(tensors, (name,), source)
    shape = tensors[name].shape
    if len(shape) != 2:
        raise _shapes(source, f"{name} is {list(shape)}, not a matrix.")
    if not all(1 <= length < LARGEST for length in shape):
        raise _shapes(source, f"{name} is {list(shape)}: a dictionary has features, and reads numbers.")
    return shape[0], shape[1]


def _shapes(source: Path, why: str) -> DictionaryError:
    return DictionaryError(f"{source}: the weights do not go together.", why=why, cure="Save the dictionary again, or name its format.")
