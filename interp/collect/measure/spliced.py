"""Losses of a subject with other tensors in place of what a dictionary reconstructs."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from interp.collect.measure.ratio import Floats, Ratio
from interp.collect.measure.sample import TokenSample
from interp.dictionary.module import Dictionary
from interp.domain.check_report import Figure
from interp.domain.errors import SubjectError
from interp.subject import hooks, splice
from interp.subject.loaded import OpenedSubject

NO_NEXT = "No token of the sample is followed by one to predict."
SAME_LOSS = "The ablation does not raise the loss beyond its noise."


class SplicedLosses:
    """Next-token losses of a sample, in nats, by what is spliced in.

    `clean` is without. Only counted positions are replaced. `why` says why nothing can be spliced in, None where it can.
    """

    def __init__(self, subject: OpenedSubject, dictionary: Dictionary, sample: TokenSample, why: str | None = None) -> None:
        self._subject, self._dictionary, self._sample = subject, dictionary, sample
        self._losses: dict[str, Floats] = {}
        self._asked: dict[str, Floats] = {}
        self.why = why

    def add(self, name: str, rows: NDArray[np.int64], logits: Tensor) -> None:
        """Add the logits `[B, T, V]` of these rows of the sample, int64 `[B]`."""
        chosen, units = self._sample.select(rows), self._sample.units[rows]
        found = splice.losses(logits, chosen.tokens).masked_fill(~chosen.asked.to(logits.device), 0).sum(1)
        for sums, values in ((self._losses, found), (self._asked, chosen.asked.sum(1))):
            sums.setdefault(name, np.zeros(self._sample.n_units))
            sums[name] += np.bincount(units, values.cpu().numpy(), self._sample.n_units)

    def splice(self, name: str, rows: NDArray[np.int64], outputs: Tensor) -> Tensor | None:
        """Add a pass with outputs `[B, T, D_out]` spliced in.

        Returns its logits, None where nothing can be spliced in.
        """
        if self.why is not None:
            return None
        values = dict(zip(self._dictionary.output_points, by_site(self._subject, self._dictionary, outputs), strict=True))
        chosen = self._sample.select(rows)
        try:
            logits = splice.replace(self._subject, chosen.tokens, values, chosen.counted)
        except SubjectError as error:
            self.why = f"{error.what} {error.why}"
            return None
        self.add(name, rows, logits)
        return logits

    def loss(self, name: str) -> Figure:
        """Return the mean loss a token."""
        if name not in self._losses:
            return Figure(None, why=self.why or NO_NEXT)
        return Ratio(self._losses[name], self._asked[name]).figure(NO_NEXT)

    def difference(self, name: str, other: str) -> Ratio | None:
        """Return the loss of one above the other's, on the units of both."""
        if name not in self._losses or other not in self._losses:
            return None
        both = (self._asked[name] > 0) & (self._asked[other] > 0)
        return Ratio((self._losses[name] - self._losses[other]) * both, self._asked[name] * both)

    def recovered(self, spliced: str, ablated: str, clean: str = "clean") -> Figure:
        """Return the share recovered, (ablated - spliced) / (ablated - clean)."""
        won, harm = self.difference(ablated, spliced), self.difference(ablated, clean)
        if won is None or harm is None:
            return Figure(None, why=self.why or NO_NEXT)
        raised = harm.figure(NO_NEXT)
        if raised.value is None:
            return raised
        if raised.value <= 2 * (raised.standard_error or 0):
            return Figure(None, why=SAME_LOSS)
        return Ratio(won.top, harm.top).figure(SAME_LOSS)


def by_site(subject: OpenedSubject, dictionary: Dictionary, outputs: Tensor) -> tuple[Tensor, ...]:
    """Return the part `[..., D]` of outputs `[..., D_out]` of each hook point written."""
    names = dictionary.output_points
    # The width of a module's path is known only where it is the one hook point.
    if len(names) == 1:
        return (outputs,)
    return torch.split(outputs, [point.d_in(subject.shape) for name in names for point in hooks.parse_all(name, subject.shape)], dim=-1)
