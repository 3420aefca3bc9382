"""Batches of a sample's rows, with what a dictionary reads and is to reconstruct."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from interp.collect.measure.figures import check_finite, ends, spans
from interp.collect.measure.reconstruction import target_of
from interp.collect.measure.sample import TokenSample
from interp.dictionary.module import Dictionary
from interp.subject.loaded import OpenedSubject


@dataclass(frozen=True)
class Batch:
    """B rows of T tokens in one forward pass, of which N tokens count.

    rows       the rows' numbers in the sample, int64 `[B]`
    counted    bool `[B, T]`
    units      the unit of each counted token, int64 `[N]`
    positions  its place in its row, int64 `[N]`
    inputs     what the dictionary reads there, float32 `[N, D]`
    target     what it is to reconstruct, float32 `[N, D_out]`
    first      inputs and targets at the rows' first positions, `[B, D]` and `[B, D_out]`
    logits     of the subject alone, `[B, T, V]`
    """

    rows: NDArray[np.int64]
    counted: Tensor
    units: NDArray[np.int64]
    positions: NDArray[np.int64]
    inputs: Tensor
    target: Tensor
    first: tuple[Tensor, Tensor]
    logits: Tensor

    def full(self, values: Tensor) -> Tensor:
        """Return values `[N, D]` of the counted tokens as `[B, T, D]`, 0 elsewhere."""
        found = values.new_zeros((*self.counted.shape, values.shape[1]))
        found[self.counted] = values
        return found


def batches(subject: OpenedSubject, dictionary: Dictionary, sample: TokenSample) -> Iterator[Batch]:
    """Yield the sample in its order; raises ActivationsNotFiniteError and SubjectError."""
    for span in spans(subject, sample):
        counted = sample.counted[span]
        x, y, logits = ends(subject, dictionary, sample.tokens[span])
        inputs = x[counted]
        check_finite(subject, dictionary, inputs)
        yield Batch(
            rows=np.arange(span.start, span.stop),
            counted=counted,
            units=sample.units_of(span),
            positions=torch.nonzero(counted)[:, 1].cpu().numpy(),
            inputs=inputs,
            target=target_of(dictionary, inputs, None if y is None else y[counted]),
            first=(x[:, 0], target_of(dictionary, x[:, 0], None if y is None else y[:, 0])),
            logits=logits,
        )
