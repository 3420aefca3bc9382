"""Findings of a check: disagreements of figures and metadata, each with its cure."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from interp.collect.measure.alternatives import Alternative, error_of, try_all
from interp.collect.measure.figures import NO_RECONSTRUCTION
from interp.collect.measure.ratio import Ratio, exceeds
from interp.collect.measure.sample import TokenSample
from interp.dictionary.module import Dictionary
from interp.domain.check_report import CheckFigures, Figure, Finding, Tried
from interp.subject.loaded import OpenedSubject

# Rows and tokens on which alternatives are tried.
TRIED_ROWS, TRIED_TOKENS = 16, 512
# An alternative is named where its FVU is below this share of the asked one, by this many standard errors; below the second share it is a fault.
CLEAR, CLEAR_ERRORS, FAULT = 0.9, 4.0, 0.8
# Smaller differences of FVU are no gain, or none at all.
LEAST_GAIN, SAME = 1e-3, 1e-4
# Codes of alternatives that move the dictionary elsewhere.
PLACES = ("hook-point", "output-point")
# Above this FVU a dictionary does not fit, and no alternative is a cure.
MISFIT = 0.8
# Below this share of the loss recovered, a reconstruction of small error does not serve the model.
LEAST_RECOVERED = 0.5

Progress = Callable[[float], None]


def diagnose(
    subject: OpenedSubject, dictionary: Dictionary, sample: TokenSample, flipped: TokenSample | None, progress: Progress
) -> tuple[list[Finding], list[Tried]]:
    """Return what another way of reading the dictionary would cure, and the FVU of each.

    `flipped` is a sample of the same corpus with BOS where `sample` has none, and the reverse; None where the subject has no BOS.
    """
    if dictionary.architecture in NO_RECONSTRUCTION:
        return [], []
    thin = sample.thinned(TRIED_ROWS, TRIED_TOKENS)
    asked, others = try_all(subject, dictionary, thin, progress)
    if not asked.is_defined:
        return [], []
    paired = [other for other in others if other.errors.is_defined]
    unpaired = [] if flipped is None else [other for other in (_bos(subject, dictionary, flipped),) if other.errors.is_defined]
    tried = sorted([*paired, *unpaired], key=lambda other: other.errors.value)
    below = min(CLEAR * asked.value, asked.value - LEAST_GAIN, MISFIT)
    # In the order of trial, which is that of preference among equals.
    clear = [other for other in [*paired, *unpaired] if other.errors.value < below and exceeds(asked, other.errors, other in paired) > CLEAR_ERRORS]
    findings = [_of_best(asked, clear)] if clear else []
    return findings, [Tried(other.change, _figure(other.errors)) for other in tried]


def of_figures(figures: CheckFigures, subject_name: str, model: str | None, is_explained: bool) -> list[Finding]:
    """Return findings of the figures alone; `is_explained`: an alternative explains a large error."""
    fvu, recovered, found = figures.fvu.value, figures.ce_recovered.value, []
    if fvu is not None and fvu >= MISFIT and not is_explained:
        trained = f"The files say that it was trained on {model}." if model else "The files do not say which model it was trained on."
        cure = (
            f"Check subject.model and its revision: {trained} The subject is {subject_name}. Then check how the weights are read (dictionary.format)."
        )
        found.append(
            Finding("model", "fault", f"The dictionary does not fit the subject: FVU {fvu:.3g}, and no other reading of it is better.", cure)
        )
    if figures.l0.value == 0:
        cure = "Check the model, the hook point and the input's normalisation."
        found.append(Finding("silent", "fault", "No feature fires at any token of the sample.", cure))
    if fvu is not None and fvu < MISFIT and recovered is not None and recovered < LEAST_RECOVERED:
        detail = f"Spliced in, the reconstruction recovers {recovered:.0%} of the loss, although FVU is {fvu:.3g}."
        found.append(Finding("loss-recovered", "warning", detail, "Read labels as those of a dictionary that the model can hardly work with."))
    return found


def of_metadata(dictionary: Dictionary, stated: str, bos: int | None) -> list[Finding]:
    """Return where job and files disagree; `stated` is the files' hook point, "" if unknown."""
    found = []
    if stated and stated != dictionary.hook_point:
        detail = f"The job reads at {dictionary.hook_point}, the files say {stated}."
        found.append(Finding("hook-point-stated", "warning", detail, f"Leave out dictionary.hook_point, or set it to {stated}."))
    if dictionary.positions.prepend_bos and bos is None:
        detail = "The dictionary was trained on rows that begin with a BOS; the subject's tokenizer has none."
        found.append(Finding("bos-missing", "warning", detail, "Give the subject the tokenizer that it was trained with."))
    return found


def _bos(subject: OpenedSubject, dictionary: Dictionary, flipped: TokenSample) -> Alternative:
    has_bos = dictionary.positions.prepend_bos
    other = replace(dictionary, positions=replace(dictionary.positions, prepend_bos=not has_bos))
    errors = error_of(subject, other, flipped.thinned(TRIED_ROWS, TRIED_TOKENS))
    change = "rows without BOS" if has_bos else "rows that begin with the BOS"
    cure = f"Correct the files' setting of it (SAELens: metadata.prepend_bos): it is to be {'false' if has_bos else 'true'}."
    return Alternative("bos", change, cure, errors)


def _of_best(asked: Ratio, clear: Sequence[Alternative]) -> Finding:
    """Return the finding of the best alternative, with its equals."""
    least = min(other.errors.value for other in clear)
    # Normalised inputs are also found at the hook points behind norms: the asked hook point is kept where that is as good.
    kept = [other for other in clear if other.code not in PLACES and other.errors.value <= 1.05 * least + LEAST_GAIN]
    chosen = kept or [other for other in clear if other.errors.value <= (1 + SAME) * least + SAME]
    best = min(kept, key=lambda other: other.errors.value) if kept else chosen[0]
    equal = [other.change for other in chosen if other is not best and other.errors.value <= (1 + SAME) * best.errors.value + SAME]
    detail = f"With the {best.change}, FVU is {best.errors.value:.3g} instead of {asked.value:.3g}."
    if best.code in PLACES:
        detail = detail.replace("With the ", "If it is ", 1)
    if equal:
        detail += f" The same: {', '.join(equal)}."
    return Finding(best.code, "fault" if best.errors.value < FAULT * asked.value else "warning", detail, best.cure)


def _figure(errors: Ratio) -> Figure:
    return errors.figure("The activations there do not vary.")
