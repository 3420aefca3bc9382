"""Other readings of a dictionary, each with its reconstruction error.

What people get wrong, one change at a time: the hook point, the input norm, a scale that is not folded in, the bias before the encoder, the norms of
the decoder, and the BOS.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from interp.collect.measure.figures import ends, is_transcoder, spans
from interp.collect.measure.ratio import Ratio
from interp.collect.measure.reconstruction import UnitErrors, reconstruct, target_of
from interp.collect.measure.sample import TokenSample
from interp.dictionary.module import NORMS, Dictionary
from interp.subject import hooks, splice
from interp.subject.hooks import HookPoint
from interp.subject.loaded import OpenedSubject

# Blocks before and after the dictionary's own of which every site is tried; of the others, the same site.
NEAR_LAYERS = 1
# Scales and decoder norms nearer to 1 than this make no difference.
SAME_SCALE = 0.1

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Alternative:
    """One change, with what to set or to correct, and the error with it."""

    code: str
    change: str
    cure: str
    errors: Ratio


@dataclass(frozen=True)
class _Variant:
    code: str
    change: str
    cure: str
    dictionary: Dictionary


@torch.inference_mode()
def error_of(subject: OpenedSubject, dictionary: Dictionary, sample: TokenSample) -> Ratio:
    """Return the fraction of variance unexplained on a sample."""
    return _errors(subject, dictionary, sample, [])[0]


@torch.inference_mode()
def try_all(subject: OpenedSubject, dictionary: Dictionary, sample: TokenSample, progress: Progress) -> tuple[Ratio, list[Alternative]]:
    """Return the error as asked for, and with each change of arithmetic or hook point."""
    x, _, _ = ends(subject, dictionary, sample.tokens[:1])
    variants = list(_variants(dictionary, x[0][sample.counted[0]]))
    asked, *others = _errors(subject, dictionary, sample, [variant.dictionary for variant in variants])
    found = [Alternative(variant.code, variant.change, variant.cure, errors) for variant, errors in zip(variants, others, strict=True)]
    return asked, found + _sites(subject, dictionary, sample, progress)


def _variants(dictionary: Dictionary, x: Tensor) -> Iterator[_Variant]:
    """Yield the dictionary with one change each; `x` `[N, D]` are some activations."""
    norms = {"none": "no normalisation", "centre": "its mean taken off", "layer_norm": "LayerNorm", "unit_scale": "its norm scaled to sqrt(D)"}
    for norm in NORMS:
        if norm != dictionary.input_norm:
            cure = f"Correct the files' setting of it (SAELens: normalize_activations), so that it reads as {norm}, or set dictionary.format."
            yield _Variant("input-norm", f"input with {norms[norm]}", cure, replace(dictionary, input_norm=norm))
    scale = dictionary.d_in**0.5 / float(x.norm(dim=1).mean()) if len(x) else 1.0
    if abs(scale - 1) > SAME_SCALE and 0 < scale < float("inf"):
        cure = f"Fold it into the weights (SAELens: fold_activation_norm_scaling_factor({scale:.4g})) and save them again."
        yield _Variant("input-scale", f"input scaled by {scale:.4g}, to a mean norm of sqrt(D)", cure, _scaled(dictionary, scale))
    if dictionary.pre_bias is not None:
        cure = "Correct apply_b_dec_to_input: it is to be false."
        yield _Variant("pre-bias", "no bias taken off before the encoder", cure, replace(dictionary, pre_bias=None))
    elif dictionary.W_dec.shape[1] == dictionary.d_in:
        cure = "Correct apply_b_dec_to_input: it is to be true."
        yield _Variant("pre-bias", "the decoder's bias taken off before the encoder", cure, replace(dictionary, pre_bias=dictionary.b_dec))
    norms_of = dictionary.W_dec.norm(dim=1).clamp(min=1e-12)
    if float((norms_of - 1).abs().max()) > SAME_SCALE:
        if dictionary.activation != "relu":
            folded = replace(
                dictionary, W_enc=dictionary.W_enc * norms_of, b_enc=dictionary.b_enc * norms_of, W_dec=dictionary.W_dec / norms_of[:, None]
            )
            cure = "Correct rescale_acts_by_decoder_norm: it is to be true."
            yield _Variant("decoder-norms", "activations multiplied by the norms of the decoder's rows", cure, folded)
        unit = replace(dictionary, W_dec=dictionary.W_dec / norms_of[:, None])
        yield _Variant("decoder-norms", "the decoder's rows scaled to norm 1", "Normalise the decoder's rows and save them again.", unit)


def _scaled(dictionary: Dictionary, scale: float) -> Dictionary:
    """Return the dictionary of inputs scaled by a factor, which its output undoes."""
    return replace(
        dictionary,
        W_enc=dictionary.W_enc * scale,
        pre_bias=None if dictionary.pre_bias is None else dictionary.pre_bias / scale,
        W_dec=dictionary.W_dec / scale,
        b_dec=dictionary.b_dec / scale,
    )


def _errors(subject: OpenedSubject, dictionary: Dictionary, sample: TokenSample, variants: list[Dictionary]) -> list[Ratio]:
    """Return the error of the dictionary and of each variant, at its own hook points."""
    every = [dictionary, *variants]
    sums = [UnitErrors(sample.n_units) for _ in every]
    for span in spans(subject, sample):
        x, y, _ = ends(subject, dictionary, sample.tokens[span])
        for one, errors in zip(every, sums, strict=True):
            _add(one, errors, sample, span, x, y)
    return [errors.fvu() for errors in sums]


def _sites(subject: OpenedSubject, dictionary: Dictionary, sample: TokenSample, progress: Progress) -> list[Alternative]:
    """Return the error at each other hook point that may be meant."""
    reads = {name: UnitErrors(sample.n_units) for name in _candidates(subject, dictionary.hook_point)}
    writes = {name: UnitErrors(sample.n_units) for name in _candidates(subject, dictionary.output_points[0])} if is_transcoder(dictionary) else {}
    passes = spans(subject, sample)
    for done, span in enumerate(passes):
        tokens = sample.tokens[span]
        x, y, _ = ends(subject, dictionary, tokens)

        def reader(name: str, span: slice = span, x: Tensor = x, y: Tensor | None = y) -> Callable[[Tensor], None]:
            def use(tensor: Tensor) -> None:
                found = tensor.to(subject.device, torch.float32)
                if name in reads:
                    _add(dictionary, reads[name], sample, span, found, y)
                if name in writes:
                    _add(dictionary, writes[name], sample, span, x, found)

            return use

        splice.read(subject, tokens, {name: reader(name) for name in (*reads, *writes)})
        progress((done + 1) / len(passes))
    cure = "Set dictionary.hook_point: {}"
    found = [Alternative("hook-point", f"read at {name}", cure.format(name), errors.fvu()) for name, errors in reads.items() if errors.seen]
    cure = "It writes to {}: set dictionary.format, or correct the hook point of its output in the files."
    found += [Alternative("output-point", f"written to {name}", cure.format(name), errors.fvu()) for name, errors in writes.items() if errors.seen]
    return found


def _candidates(subject: OpenedSubject, hook_point: str) -> list[str]:
    """Return other hook points of the same width, the nearest first.

    They are those of the blocks nearby, and the same site of every block.
    """
    own = hooks.split(hook_point)
    if own is None or own.head is not None:
        return []
    order = list(hooks.SITES)

    def preference(point: HookPoint) -> tuple[bool, int]:
        # The stream before a block is that after the one before, by its less common name.
        distance = (point.layer - own.layer) * len(order) + order.index(point.site) - order.index(own.site)
        return point.site == "hook_resid_pre" and point.layer > 0, abs(distance)

    every = [HookPoint(layer, site) for layer in range(subject.shape.layers) for site in order]
    near = [point for point in every if point != own and (abs(point.layer - own.layer) <= NEAR_LAYERS or point.site == own.site)]
    served = [point for point in near if point.d_in(subject.shape) == own.d_in(subject.shape) and point.site in subject.sites(point.layer)]
    return [point.name for point in sorted(served, key=preference)]


def _add(dictionary: Dictionary, errors: UnitErrors, sample: TokenSample, span: slice, x: Tensor, y: Tensor | None) -> None:
    counted = sample.counted[span]
    if bool(counted.any()):
        inputs = x[counted]
        output, _ = reconstruct(dictionary, inputs)
        errors.add(sample.units_of(span), target_of(dictionary, inputs, None if y is None else y[counted]), output)
