"""Figures of a dictionary on a sample: L0, FVU, dead features, cross-entropy recovered."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from interp.collect.measure.ratio import Floats, Ratio
from interp.collect.measure.reconstruction import RowErrors, reconstruct, target_of
from interp.collect.measure.sample import TokenSample
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
NO_NEXT = "No token of the sample is followed by one to predict."
SAME_LOSS = "Zeros in place of the activations do not raise the loss beyond its noise."
PASSES = ("clean", "spliced", "zero")

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


class _Measurement:
    """Sums by row of the sample."""

    def __init__(self, subject: OpenedSubject, dictionary: Dictionary, sample: TokenSample) -> None:
        rows = len(sample)
        self._subject, self._dictionary, self._sample = subject, dictionary, sample
        self._errors = RowErrors(rows)
        self._tokens, self._firing, self._asked = np.zeros(rows), np.zeros(rows), np.zeros(rows)
        self._losses: dict[str, Floats] = {name: np.zeros(rows) for name in PASSES}
        self._active = torch.zeros(dictionary.n_features, dtype=torch.int64, device=subject.device)
        self._no_reconstruction = NO_RECONSTRUCTION.get(dictionary.architecture)
        self._no_splice = self._no_reconstruction

    @torch.inference_mode()
    def add(self, span: slice) -> None:
        """Add a batch of rows, by a clean, a spliced and an ablated pass."""
        tokens, counted = self._sample.tokens[span], self._sample.counted[span]
        x, y, logits = ends(self._subject, self._dictionary, tokens)
        self._asked[span] = self._sample.asked[span].sum(1).cpu().numpy()
        self._add_losses("clean", span, logits)
        outputs = torch.zeros((*tokens.shape, self._dictionary.W_dec.shape[1]), device=x.device)
        for row, mask in enumerate(counted):
            if bool(mask.any()):
                outputs[row][mask] = self._reconstruct(span.start + row, x[row][mask], None if y is None else y[row][mask])
        if self._no_splice is not None:
            return
        try:
            self._add_losses("spliced", span, self._replaced(tokens, outputs, counted))
            self._add_losses("zero", span, self._replaced(tokens, torch.zeros_like(outputs), counted))
        except SubjectError as error:
            self._no_splice = f"{error.what} {error.why}"

    def _reconstruct(self, row: int, x: Tensor, y: Tensor | None) -> Tensor:
        if not bool(torch.isfinite(x).all()):
            raise ActivationsNotFiniteError(
                f"{self._subject.name} gives NaN or infinity at {self._dictionary.hook_point}.",
                why="The subject's numbers overflow, or its weights are damaged.",
                cure="Use dtype bfloat16 or float32 for the subject.",
                hook_point=self._dictionary.hook_point,
            )
        output, firing = reconstruct(self._dictionary, x)
        self._active += firing
        self._tokens[row], self._firing[row] = len(x), int(firing.sum())
        if self._no_reconstruction is None:
            self._errors.add(row, target_of(self._dictionary, x, y), output)
        return output

    def _replaced(self, tokens: Tensor, outputs: Tensor, counted: Tensor) -> Tensor:
        """Return the logits with `outputs` `[B, T, D_out]` at the dictionary's output points."""
        names = self._dictionary.output_points
        widths = [point.d_in(self._subject.shape) for name in names for point in hooks.parse_all(name, self._subject.shape)]
        # The width of a module's path is known only where it is the one hook point.
        parts = [outputs] if len(names) == 1 else torch.split(outputs, widths, dim=2)
        return splice.replace(self._subject, tokens, dict(zip(names, parts, strict=True)), counted)

    def _add_losses(self, name: str, span: slice, logits: Tensor) -> None:
        found = splice.losses(logits, self._sample.tokens[span])
        self._losses[name][span] = found.masked_fill(~self._sample.asked[span].to(found.device), 0).sum(1).cpu().double().numpy()

    def figures(self) -> CheckFigures:
        clean, spliced, zero = (Ratio(self._losses[name], self._asked).figure(NO_NEXT) for name in PASSES)
        l0 = Ratio(self._firing, self._tokens).figure(NO_TOKENS)
        undefined = Figure(None, why=self._no_splice)
        return CheckFigures(
            l0=l0,
            fvu=self._fvu(),
            ce_clean=clean,
            ce_spliced=spliced if self._no_splice is None else undefined,
            ce_zero=zero if self._no_splice is None else undefined,
            ce_recovered=self._recovered() if self._no_splice is None else undefined,
            dead_share=Figure(None, why=NO_TOKENS) if l0.value is None else Figure(float((self._active == 0).float().mean())),
            firing_share=Ratio(self._firing / len(self._active), self._tokens).figure(NO_TOKENS),
        )

    def _fvu(self) -> Figure:
        if self._no_reconstruction is not None:
            return Figure(None, why=self._no_reconstruction)
        return self._errors.fvu().figure("The sample's activations do not vary." if self._tokens.any() else NO_TOKENS)

    def _recovered(self) -> Figure:
        harm = self._losses["zero"] - self._losses["clean"]
        raised = Ratio(harm, self._asked).figure(NO_NEXT)
        if raised.value is None:
            return raised
        if raised.value <= 2 * (raised.standard_error or 0):
            return Figure(None, why=SAME_LOSS)
        return Ratio(self._losses["zero"] - self._losses["spliced"], harm).figure(SAME_LOSS)
