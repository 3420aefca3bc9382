"""Figures of a dictionary on a sample: L0, FVU, dead features, cross-entropy recovered."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from interp.collect.measure.ratio import Ratio
from interp.collect.measure.reconstruction import UnitErrors, reconstruct, target_of
from interp.collect.measure.sample import TokenSample
from interp.collect.measure.spliced import SplicedLosses
from interp.dictionary.module import Dictionary
from interp.domain.check_report import CheckFigures, Figure
from interp.domain.errors import ActivationsNotFiniteError, SubjectError
from interp.subject import hooks, splice
from interp.subject.loaded import OpenedSubject

# Bytes of the logits of one pass.
MOST_LOGITS = 1 << 29
# Families without a reconstruction, and why.
NO_RECONSTRUCTION = {"neurons": "Neurons are the subject's own axes: nothing is reconstructed.", "directions": "Directions reconstruct nothing."}
NO_TOKENS = "No token of the sample counts."
SAME_ACTIVATIONS = "The sample's activations do not vary."

Progress = Callable[[float], None]


def measure(subject: OpenedSubject, dictionary: Dictionary, sample: TokenSample, progress: Progress) -> CheckFigures:
    """Measure the dictionary at its hook points; raises ActivationsNotFiniteError.

    `progress` gets the finished share after each batch of rows, and may raise to stop the work.
    """
    measurement = _Measurement(subject, dictionary, sample)
    for span in spans(subject, sample):
        measurement.add(span)
        progress(span.stop / len(sample))
    return measurement.figures()


def spans(subject: OpenedSubject, sample: TokenSample) -> list[slice]:
    """Return the rows of each pass, as many as its logits may have."""
    size = max(1, MOST_LOGITS // (4 * sample.tokens.shape[1] * subject.shape.vocabulary))
    return [slice(first, min(first + size, len(sample))) for first in range(0, len(sample), size)]


def activations(subject: OpenedSubject, tokens: Tensor, names: tuple[str, ...]) -> tuple[dict[str, Tensor], Tensor]:
    """Return float32 `[B, T, D]` by hook point, and the logits; raises SubjectError."""
    found: dict[str, Tensor] = {}

    def keeping(name: str) -> splice.Reader:
        def keep(tensor: Tensor) -> None:
            found[name] = tensor.to(subject.device, torch.float32, copy=True)

        return keep

    logits = splice.read(subject, tokens, {name: keeping(name) for name in names})
    missing = [name for name in names if name not in found]
    if missing:
        raise SubjectError(f"The forward pass never comes to {', '.join(missing)}.", cure="Choose another hook point of the same block.")
    return found, logits


def is_transcoder(dictionary: Dictionary) -> bool:
    """Return whether a dictionary writes elsewhere than it reads."""
    return dictionary.output_point is not None and dictionary.output_point != dictionary.hook_point


def ends(subject: OpenedSubject, dictionary: Dictionary, tokens: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
    """Return the dictionary's input `[B, T, D]`, its target and the logits.

    The target `[B, T, D_out]` is None where it is the input.
    """
    reads = hooks.points_of(dictionary.hook_point)
    found, logits = activations(subject, tokens, tuple(dict.fromkeys((*reads, *dictionary.output_points))))
    x = torch.cat([found[name] for name in reads], dim=2)
    return x, torch.cat([found[name] for name in dictionary.output_points], dim=2) if is_transcoder(dictionary) else None, logits


def check_finite(subject: OpenedSubject, dictionary: Dictionary, x: Tensor) -> None:
    """Raise ActivationsNotFiniteError for NaN or infinity in activations."""
    if not bool(torch.isfinite(x).all()):
        raise ActivationsNotFiniteError(
            f"{subject.name} gives NaN or infinity at {dictionary.hook_point}.",
            why="The subject's numbers overflow, or its weights are damaged.",
            cure="Use dtype bfloat16 or float32 for the subject.",
            hook_point=dictionary.hook_point,
        )


class _Measurement:
    """Sums by document of the sample."""

    def __init__(self, subject: OpenedSubject, dictionary: Dictionary, sample: TokenSample) -> None:
        self._subject, self._dictionary, self._sample = subject, dictionary, sample
        self._no_reconstruction = NO_RECONSTRUCTION.get(dictionary.architecture)
        self._errors = UnitErrors(sample.n_units)
        self._losses = SplicedLosses(subject, dictionary, sample, self._no_reconstruction)
        self._tokens, self._firing = np.zeros(sample.n_units), np.zeros(sample.n_units)
        self._active = torch.zeros(dictionary.n_features, dtype=torch.int64, device=subject.device)

    @torch.inference_mode()
    def add(self, span: slice) -> None:
        """Add a batch of rows, by a clean, a spliced and an ablated pass."""
        tokens, counted = self._sample.tokens[span], self._sample.counted[span]
        x, y, logits = ends(self._subject, self._dictionary, tokens)
        rows = np.arange(span.start, span.stop)
        self._losses.add("clean", rows, logits)
        outputs = torch.zeros((*tokens.shape, self._dictionary.W_dec.shape[1]), device=x.device)
        for row, mask in enumerate(counted):
            if bool(mask.any()):
                unit = int(self._sample.units[span.start + row])
                outputs[row][mask] = self._reconstruct(unit, x[row][mask], None if y is None else y[row][mask])
        self._losses.splice("spliced", rows, outputs)
        self._losses.splice("zero", rows, torch.zeros_like(outputs))

    def _reconstruct(self, unit: int, x: Tensor, y: Tensor | None) -> Tensor:
        check_finite(self._subject, self._dictionary, x)
        output, firing = reconstruct(self._dictionary, x)
        self._active += firing
        self._tokens[unit] += len(x)
        self._firing[unit] += int(firing.sum())
        if self._no_reconstruction is None:
            self._errors.add(np.full(len(x), unit), target_of(self._dictionary, x, y), output)
        return output

    def figures(self) -> CheckFigures:
        l0 = Ratio(self._firing, self._tokens).figure(NO_TOKENS)
        return CheckFigures(
            l0=l0,
            fvu=self._fvu(),
            ce_clean=self._losses.loss("clean"),
            ce_spliced=self._losses.loss("spliced"),
            ce_zero=self._losses.loss("zero"),
            ce_recovered=self._losses.recovered("spliced", "zero"),
            dead_share=Figure(None, why=NO_TOKENS) if l0.value is None else Figure(float((self._active == 0).float().mean())),
            firing_share=Ratio(self._firing / len(self._active), self._tokens).figure(NO_TOKENS),
        )

    def _fvu(self) -> Figure:
        if self._no_reconstruction is not None:
            return Figure(None, why=self._no_reconstruction)
        return self._errors.fvu().figure(SAME_ACTIVATIONS if self._tokens.any() else NO_TOKENS)
