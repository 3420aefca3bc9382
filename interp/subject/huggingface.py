"""Subjects of transformers: a forward hook on a module, with the fastest attention.

The layouts of the common decoder families are known; TransformerBridge may find others.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from interp.domain.errors import SubjectError
from interp.domain.spec import SubjectSpec
from interp.subject import hooks
from interp.subject.directions import matrix, unembedding
from interp.subject.loaded import DTYPES, HookReachedError, OpenedSubject, SubjectPlan, as_rows, check_finite, check_weights_exist
from interp.subject.residual import WRITES, matching, short_row

# Paths of the parts per family of transformers: Llama, Mistral, Qwen, Gemma | GPT-2 | GPT-NeoX (Pythia) | OPT | Phi.
BLOCKS = ("model.layers", "transformer.h", "gpt_neox.layers", "model.decoder.layers")
FINAL_NORM = ("model.norm", "transformer.ln_f", "gpt_neox.final_layer_norm", "model.decoder.final_layer_norm", "model.final_layernorm")
ATTENTION = ("self_attn", "attn", "attention")
ATTENTION_OUT = ("self_attn.o_proj", "attn.c_proj", "attention.dense", "self_attn.out_proj", "self_attn.dense", "attn.attention.out_proj")
MLP = ("mlp",)
MLP_OUT = ("mlp.down_proj", "mlp.c_proj", "mlp.dense_4h_to_h", "fc2", "mlp.fc2")
# The norm between attention and MLP; parallel blocks have none.
MIDDLE_NORM = ("pre_feedforward_layernorm", "ln_2", "post_attention_layernorm", "final_layer_norm")
# Norms after attention and MLP (Gemma 2 and 3): the block adds their output to the stream.
ATTENTION_WRITES = ("post_attention_layernorm",)
MLP_WRITES = ("post_feedforward_layernorm",)


@dataclass(frozen=True, slots=True)
class Tap:
    """A module, and whether its input or its output is recorded."""

    module: nn.Module
    reads: bool


class HuggingFaceSubject(OpenedSubject):
    """A transformers model that stops at its hook point."""

    def __init__(self, plan: SubjectPlan, model: Any, tap: Tap) -> None:
        super().__init__(plan, model)
        self._model, self._point, self._tap = model, plan.point, tap

    @torch.inference_mode()
    def activations(self, tokens: Tensor) -> Tensor:
        handle = _hook(self._tap, _stop)
        try:
            self._model(tokens.to(self.device), use_cache=False)
        except HookReachedError as reached:
            # OPT's MLP flattens the rows.
            found = reached.activations
            return as_rows(found.view(*tokens.shape, -1) if found.dim() == 2 else found)[..., self._columns]
        finally:
            handle.remove()
        raise SubjectError(f"The forward pass never comes to {self.hook_point}.", cure="Try the backend `bridge`.")

    @torch.inference_mode()
    def output_directions(self) -> Tensor:
        norm = _need(self._model, FINAL_NORM, "the final norm")
        directions = unembedding(norm, self._model.get_output_embeddings())
        block = _need(self._model, BLOCKS, "the blocks")[self._point.layer]
        match self._point.site:
            case "mlp.hook_post":
                return matrix(_need(block, MLP_OUT, "the MLP's output matrix")) @ directions
            case "attn.hook_z":
                return matrix(_need(block, ATTENTION_OUT, "attention's output matrix"))[self._columns] @ directions
            case _:
                return directions


def open_at(spec: SubjectSpec, hook_point: str) -> HuggingFaceSubject:
    """Open the model on its device; raises SubjectError, HookPointUnknownError, TokenizerMismatchError and FileMissingError."""
    plan = SubjectPlan.of(spec, hook_point)
    check_weights_exist(spec)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(spec.model, revision=spec.revision, dtype=DTYPES[spec.dtype], trust_remote_code=False)
    except (ValueError, OSError, RuntimeError, KeyError) as cause:
        raise SubjectError(
            f"{spec.model} cannot be opened by transformers.",
            why=str(cause).splitlines()[0] if str(cause) else type(cause).__name__,
            cure="Check that it is a causal language model, saved whole.",
        ) from cause
    model.to(plan.device).eval()
    check_finite(model, spec)
    if spec.weights == "random":
        randomise(model)
    block = _need(model, BLOCKS, "the blocks")[plan.point.layer]
    taps = {site: tap for site, find in TAPS.items() if (tap := find(block)) is not None}
    if plan.point.site in WRITES:
        taps |= _writes(model, block, plan)
    if plan.point.site not in taps:
        names = [hooks.HookPoint(layer, site).name for layer in range(plan.shape.layers) for site in taps]
        raise hooks.unknown(hook_point, names, plan.shape.layers)
    return HuggingFaceSubject(plan, model, taps[plan.point.site])


@torch.inference_mode()
def record(model: Any, taps: dict[str, Tap], tokens: Tensor) -> dict[str, Tensor]:
    """Return each reached tap's tensor in one forward pass."""
    found: dict[str, Tensor] = {}

    def note(name: str, tensor: Any) -> None:
        if isinstance(tensor, Tensor):
            found[name] = tensor.reshape(*tokens.shape, -1).clone()

    handles = [_hook(tap, partial(note, name)) for name, tap in taps.items()]
    try:
        model(tokens, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return found


def stream(model: Any, layer: int, tokens: Tensor) -> tuple[Tensor, Tensor] | None:
    """Return the residual stream before and after a block; None for unknown blocks."""
    blocks = _find(model, BLOCKS)
    if blocks is None:
        return None
    found = record(model, {"pre": Tap(blocks[layer], reads=True), "post": Tap(blocks[layer], reads=False)}, tokens)
    return (found["pre"], found["post"]) if len(found) == 2 else None


def _writes(model: Any, block: Any, plan: SubjectPlan) -> dict[str, Tap]:
    """Return the taps of attention, MLP and the middle that satisfy the stream's identities."""
    parts = {
        "attention": {name: Tap(part, reads=False) for name in (*ATTENTION_WRITES, *ATTENTION) if (part := _find(block, (name,))) is not None},
        "middle": {name: Tap(part, reads=True) for name in (*MIDDLE_NORM, *MLP) if (part := _find(block, (name,))) is not None},
        "mlp": {name: Tap(part, reads=False) for name in (*MLP_WRITES, *MLP, *MLP_OUT) if (part := _find(block, (name,))) is not None},
    }
    taps = {f"{part}/{name}": tap for part, named in parts.items() for name, tap in named.items()}
    ends = {"pre": Tap(block, reads=True), "post": Tap(block, reads=False)}
    seen = record(model, taps | ends, short_row(plan.shape.vocabulary, plan.device))
    of = {part: {name: seen[key] for name in named if (key := f"{part}/{name}") in seen} for part, named in parts.items()}
    found = matching(seen["pre"], seen["post"], of["attention"], of["middle"], of["mlp"])
    where = {"hook_attn_out": "attention", "hook_resid_mid": "middle", "hook_mlp_out": "mlp"}
    return {site: taps[f"{where[site]}/{name}"] for site, name in found.items()}


def _find(root: Any, paths: tuple[str, ...]) -> Any | None:
    """Return the value at the first existing dotted path."""
    for path in paths:
        place = root
        for name in path.split("."):
            place = getattr(place, name, None)
        if place is not None:
            return place
    return None


def _need(root: Any, paths: tuple[str, ...], what: str) -> Any:
    found = _find(root, paths)
    if found is None:
        raise SubjectError(
            f"The backend `huggingface` does not find {what} in {type(root).__name__}.",
            why=f"It looks for {', '.join(paths)}.",
            cure="Use the backend `bridge`.",
        )
    return found


def _tap(module: Any | None, *, reads: bool) -> Tap | None:
    return None if module is None else Tap(module, reads)


# Sites with the same place in all families. For the outputs of attention and MLP, and the stream between them, see `_writes`.
TAPS: dict[str, Callable[[Any], Tap | None]] = {
    "hook_resid_pre": lambda block: Tap(block, reads=True),
    "attn.hook_z": lambda block: _tap(_find(block, ATTENTION_OUT), reads=True),
    "mlp.hook_in": lambda block: _tap(_find(block, MLP), reads=True),
    "mlp.hook_post": lambda block: _tap(_find(block, MLP_OUT), reads=True),
    "hook_resid_post": lambda block: Tap(block, reads=False),
}


def _hook(tap: Tap, use: Callable[[Any], None]) -> Any:
    """Call `use` with a tap's tensor in later forward passes; return the hook's handle."""
    if tap.reads:
        return tap.module.register_forward_pre_hook(lambda _, args, kwargs: use(args[0] if args else kwargs.get("hidden_states")), with_kwargs=True)
    return tap.module.register_forward_hook(lambda _, __, output: use(output[0] if isinstance(output, tuple) else output))


def _stop(activations: Tensor) -> None:
    raise HookReachedError(activations)


@torch.no_grad()
def randomise(model: nn.Module, seed: int = 0) -> None:
    """Draw each parameter anew, in place, normal with its own mean and standard deviation.

    With fresh weights of the usual scale the residual stream is so small that a trained dictionary never fires; with each matrix's own moments it
    does. A parameter's draw depends only on its name and `seed`, and tied parameters stay tied. Source: the re-randomised control of Heap et al.,
    Sparse autoencoders can interpret randomly initialized transformers (arXiv 2501.17727), embeddings included.
    """
    for name, parameter in model.named_parameters():
        if parameter.is_floating_point():
            generator = torch.Generator().manual_seed(zlib.crc32(name.encode()) + (seed << 32))
            trained = parameter.float()
            drawn = torch.randn(parameter.shape, generator=generator) * float(trained.std(correction=0)) + float(trained.mean())
            parameter.copy_(drawn)
