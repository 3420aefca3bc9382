"""Size of a dictionary's codes: the L1 norm of feature activations, beside L0."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from interp.collect.measure.figures import NO_TOKENS
from interp.collect.measure.ratio import Ratio
from interp.collect.measure.reconstruction import double, encoded
from interp.dictionary.module import NORM_SCALES, Dictionary
from interp.domain.check_report import Figure


@dataclass(frozen=True, slots=True)
class CodeSize:
    """Size of a dictionary's codes f, over the counted tokens of a sample.

    l0         mean number of features above 0; of all features, where `activity` has that of the collected ones on more tokens
    l1         mean of Σ f_i. Trap: it depends on how scales are divided between activations and decoders, so that two dictionaries compare by it
               only where decoders have norm 1
    l1_scaled  mean of Σ f_i |d_i| s, s the scale of the input norm: what training penalises where decoders are free, in the units of the activations
    """

    l0: Figure
    l1: Figure
    l1_scaled: Figure


class CodeSums:
    """Sums of the codes' sizes by unit of the sample."""

    def __init__(self, units: int, dictionary: Dictionary) -> None:
        self._dictionary, self._norms = dictionary, torch.linalg.vector_norm(dictionary.W_dec.float(), dim=1)
        self._tokens, self._l0, self._l1, self._scaled = (np.zeros(units) for _ in range(4))

    def reconstruct(self, units: NDArray[np.int64], x: Tensor) -> Tensor:
        """Return reconstructions `[N, D_out]` of tokens `[N, D]`, and add their codes to units `[N]`."""
        outputs, scale, first = [], NORM_SCALES[self._dictionary.input_norm], 0
        for part, codes in encoded(self._dictionary, x):
            outputs.append(self._dictionary.decode(codes, part))
            own, scaled = units[first : first + len(part)], codes @ self._norms
            sizes = ((codes > 0).sum(1), codes.sum(1), scaled if scale is None else scaled * scale(part)[:, 0])
            for sums, values in zip((self._l0, self._l1, self._scaled), sizes, strict=True):
                sums += np.bincount(own, double(values).cpu().numpy(), len(sums))
            self._tokens += np.bincount(own, minlength=len(self._tokens))
            first += len(part)
        return torch.cat(outputs)

    def figures(self) -> CodeSize:
        """Return the figures of what was added, with standard errors by unit."""
        return CodeSize(*(Ratio(sums, self._tokens).figure(NO_TOKENS) for sums in (self._l0, self._l1, self._scaled)))
