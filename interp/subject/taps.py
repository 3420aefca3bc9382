"""Places of the hook points in a model of transformers.

The layouts of the common decoder families are known; TransformerBridge may find others.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from interp.domain.errors import HookPointUnknownError, SubjectError
from interp.subject import hooks
from interp.subject.hooks import HookPoint, ModulePoint, Point
from interp.subject.residual import matching, short_row
from interp.subject.served import unknown_module
from interp.subject.shape import ModelShape

# Paths of the parts per family of transformers: Llama, Mistral, Qwen, Gemma, OLMo, Phi | GPT-2 | GPT-NeoX (Pythia) | OPT.
BLOCKS = ("model.layers", "transformer.h", "gpt_neox.layers", "model.decoder.layers")
FINAL_NORM = ("model.norm", "transformer.ln_f", "gpt_neox.final_layer_norm", "model.decoder.final_layer_norm", "model.final_layernorm")
ATTENTION = ("self_attn", "attn", "attention")
ATTENTION_OUT = ("self_attn.o_proj", "attn.c_proj", "attention.dense", "self_attn.out_proj", "self_attn.dense", "attn.attention.out_proj")
# Queries, keys and values one after another, or (GPT-NeoX) those of each head one after another.
JOINT, JOINT_BY_HEAD = ("attn.c_attn", "self_attn.qkv_proj"), ("attention.query_key_value",)
MLP = ("mlp",)
MLP_IN = ("mlp", "fc1")
MLP_OUT = ("mlp.down_proj", "mlp.c_proj", "mlp.dense_4h_to_h", "fc2", "mlp.fc2")
# What the activation function is applied to, and (gated MLPs) what it is multiplied with; Phi 3 computes both at once.
MLP_PRE, MLP_LINEAR = ("mlp.gate_proj", "mlp.c_fc", "mlp.dense_h_to_4h", "fc1", "mlp.fc1"), ("mlp.up_proj",)
MLP_JOINT = ("mlp.gate_up_proj",)
FIRST_NORM = ("input_layernorm", "ln_1", "self_attn_layer_norm")
# The norm between attention and MLP; parallel blocks have none.
MIDDLE_NORM = ("pre_feedforward_layernorm", "ln_2", "post_attention_layernorm", "final_layer_norm")
# Norms after attention and MLP (Gemma 2 and 3, OLMo 2 and 3): the block adds their output to the stream.
ATTENTION_WRITES = ("post_attention_layernorm",)
MLP_WRITES = ("post_feedforward_layernorm",)

Part = Callable[[Tensor], Tensor]


def whole(tensor: Tensor) -> Tensor:
    """Return the tensor: the part of a tap that reads all of it."""
    return tensor


@dataclass(frozen=True, slots=True)
class Tap:
    """A module, its input or output, and what is made of that."""

    module: nn.Module
    reads: bool
    part: Part = whole

    def hook(self, use: Callable[[Any], Tensor | None]) -> Any:
        """Call `use` with the tensor in later forward passes; return the hook's handle.

        What `use` returns replaces the tensor, which must be `whole`. Forward passes of other threads are not seen: a live request may read the model
        while a collection does.
        """
        caller = threading.get_ident()

        def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
            if threading.get_ident() != caller:
                return None
            new = use(self._part(args[0] if args else kwargs.get("hidden_states")))
            if new is None:
                return None
            return ((new, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": new})

        def after(_: nn.Module, __: Any, output: Any) -> Any:
            if threading.get_ident() != caller:
                return None
            is_tuple = isinstance(output, tuple)
            new = use(self._part(output[0] if is_tuple else output))
            return (new, *output[1:]) if is_tuple and new is not None else new

        if self.reads:
            return self.module.register_forward_pre_hook(before, with_kwargs=True)
        return self.module.register_forward_hook(after)

    def _part(self, tensor: Any) -> Any:
        return self.part(tensor) if isinstance(tensor, Tensor) else tensor


def find_taps(model: Any, points: Sequence[Point], shape: ModelShape, device: torch.device) -> dict[Point, Tap]:
    """Return the taps of hook points, module paths with their widths; raises HookPointUnknownError and SubjectError."""
    sites = {layer: taps_of(model, layer, shape, device) for layer in {point.layer for point in points if isinstance(point, HookPoint)}}
    taps = {point: _module_tap(model, point) if isinstance(point, ModulePoint) else _site_tap(sites[point.layer], point, shape) for point in points}
    return _measured(model, taps, shape, device)


def _site_tap(taps: dict[str, Tap], point: HookPoint, shape: ModelShape) -> Tap:
    if point.site in taps:
        return taps[point.site]
    raise hooks.unknown(point.name, [HookPoint(layer, site).name for layer in range(shape.layers) for site in taps], shape.layers)


def _module_tap(model: Any, point: ModulePoint) -> Tap:
    names = {name: module for name, module in model.named_modules() if name}
    if point.path in names:
        return Tap(names[point.path], point.reads)
    raise unknown_module(point, list(names))


def taps_of(model: Any, layer: int, shape: ModelShape, device: torch.device) -> dict[str, Tap]:
    """Return the taps of a block by site, checked on a short row."""
    block = need(model, BLOCKS, "the blocks")[layer]
    found = {site: tap for site, find_tap in TAPS.items() if (tap := find_tap(block, shape)) is not None}
    ends, parts = {"pre": found["hook_resid_pre"], "post": found["hook_resid_post"]}, _writes(block)
    named = {f"{part}/{name}": tap for part, taps in parts.items() for name, tap in taps.items()}
    seen = record(model, found | named | ends, short_row(shape.vocabulary, device))
    of = {part: {name: seen[key] for name in taps if (key := f"{part}/{name}") in seen} for part, taps in parts.items()}
    proven = matching(seen["pre"], seen["post"], of["hook_attn_out"], of["hook_resid_mid"], of["hook_mlp_out"])
    fits = {site: tap for site, tap in found.items() if site in seen and seen[site].shape[-1] == hooks.SITES[site](shape)}
    return fits | {site: parts[site][name] for site, name in proven.items()}


def _measured(model: Any, taps: dict[Point, Tap], shape: ModelShape, device: torch.device) -> dict[Point, Tap]:
    """Return the taps with the widths of module paths; raises HookPointUnknownError."""
    paths = {point.name: tap for point, tap in taps.items() if isinstance(point, ModulePoint)}
    seen = record(model, paths, short_row(shape.vocabulary, device).repeat(2, 1)) if paths else {}
    found: dict[Point, Tap] = {}
    for point, tap in taps.items():
        if isinstance(point, ModulePoint):
            if point.name not in seen:
                raise HookPointUnknownError(
                    f"{point.name} is no tensor of one vector a token.",
                    why="The forward pass does not come to the module, or it takes or gives something else there.",
                    cure="Name another module, or its other side (`:in`, `:out`).",
                )
            point = replace(point, width=seen[point.name].shape[-1])
        found[point] = tap
    return found


@torch.inference_mode()
def record(model: Any, taps: dict[str, Tap], tokens: Tensor) -> dict[str, Tensor]:
    """Return each reached tap's tensor in one forward pass."""
    found: dict[str, Tensor] = {}

    def note(name: str, tensor: Any) -> None:
        # Some modules flatten the rows (OPT's MLP), some give what is equal in all rows (rotary embeddings).
        if isinstance(tensor, Tensor) and (tensor.shape[:2] == tokens.shape or tensor.shape[:1] == (tokens.numel(),)):
            found[name] = tensor.reshape(*tokens.shape, -1).clone()

    handles = [tap.hook(partial(note, name)) for name, tap in taps.items()]
    try:
        model(tokens, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return found


def stream(model: Any, layer: int, tokens: Tensor) -> tuple[Tensor, Tensor] | None:
    """Return the residual stream before and after a block; None for unknown blocks."""
    blocks = find(model, BLOCKS)
    if blocks is None:
        return None
    found = record(model, {"pre": Tap(blocks[layer], reads=True), "post": Tap(blocks[layer], reads=False)}, tokens)
    return (found["pre"], found["post"]) if len(found) == 2 else None


def find(root: Any, paths: tuple[str, ...]) -> Any | None:
    """Return the value at the first existing dotted path."""
    for path in paths:
        place = root
        for name in path.split("."):
            place = getattr(place, name, None)
        if place is not None:
            return place
    return None


def need(root: Any, paths: tuple[str, ...], what: str) -> Any:
    """Return the value at the first existing dotted path; raises SubjectError."""
    found = find(root, paths)
    if found is None:
        raise SubjectError(
            f"The backend `huggingface` does not find {what} in {type(root).__name__}.",
            why=f"It looks for {', '.join(paths)}.",
            cure="Use the backend `bridge`.",
        )
    return found


def _writes(block: Any) -> dict[str, dict[str, Tap]]:
    """Return the candidates for writes of attention and MLP, and the stream between.

    Granite scales its writes.
    """
    scale = getattr(block, "residual_multiplier", 1.0)
    scaled: Part = whole if scale == 1 else lambda tensor: tensor * scale

    def written(*names: str) -> dict[str, Tap]:
        return {name: Tap(part, False, scaled) for name in names if (part := find(block, (name,))) is not None}

    return {
        "hook_attn_out": written(*ATTENTION_WRITES, *ATTENTION),
        "hook_resid_mid": {name: Tap(part, reads=True) for name in (*MIDDLE_NORM, *MLP) if (part := find(block, (name,))) is not None},
        "hook_mlp_out": written(*MLP_WRITES, *MLP, *MLP_OUT),
    }


def _input(*paths: str) -> Callable[[Any, ModelShape], Tap | None]:
    return lambda block, _: None if (module := find(block, paths)) is None else Tap(module, reads=True)


def _output(*paths: str) -> Callable[[Any, ModelShape], Tap | None]:
    return lambda block, _: None if (module := find(block, paths)) is None else Tap(module, reads=False)


def _projected(part: int) -> Callable[[Any, ModelShape], Tap | None]:
    """Find queries (0), keys (1) or values (2), before rotation and norms of their own."""

    def found(block: Any, shape: ModelShape) -> Tap | None:
        if (module := find(block, (f"self_attn.{'qkv'[part]}_proj",))) is not None:
            return Tap(module, reads=False)
        queries, keys = shape.d_heads, shape.kv_heads * shape.d_head
        span = (slice(0, queries), slice(queries, queries + keys), slice(queries + keys, queries + 2 * keys))[part]
        if (module := find(block, JOINT)) is not None:
            return Tap(module, False, lambda tensor: tensor[..., span])
        if (module := find(block, JOINT_BY_HEAD)) is not None:
            return Tap(module, False, lambda tensor: tensor.reshape(*tensor.shape[:-1], shape.heads, 3, shape.d_head)[..., part, :].flatten(-2))
        return None

    return found


def _half(part: int, *paths: str) -> Callable[[Any, ModelShape], Tap | None]:
    """Find a matrix of an MLP, or that half of one that computes both."""

    def found(block: Any, shape: ModelShape) -> Tap | None:
        if (module := find(block, MLP_JOINT)) is not None:
            return Tap(module, False, lambda tensor: tensor.chunk(2, -1)[part])
        return _output(*paths)(block, shape)

    return found


def _first_norm(block: Any, _: ModelShape) -> Tap | None:
    return _normalised(find(block, FIRST_NORM))


def _second_norm(block: Any, _: ModelShape) -> Tap | None:
    # OLMo 2 and 3 have norms after attention and MLP alone.
    return None if find(block, FIRST_NORM) is None else _normalised(find(block, MIDDLE_NORM))


def _normalised(norm: Any | None) -> Tap | None:
    """Return the tap of a normalised input, before gain and bias."""
    if norm is None:
        return None
    epsilon = getattr(norm, "eps", getattr(norm, "variance_epsilon", 1e-5))
    centred = "LayerNorm" in type(norm).__name__

    def normalise(tensor: Tensor) -> Tensor:
        x = tensor.float()
        x = x - x.mean(-1, keepdim=True) if centred else x
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + epsilon)

    return Tap(norm, True, normalise)


# Sites with the same place in all families. For `hook_attn_out`, `hook_resid_mid` and `hook_mlp_out` see `_writes`.
TAPS: dict[str, Callable[[Any, ModelShape], Tap | None]] = {
    "hook_resid_pre": lambda block, _: Tap(block, reads=True),
    "ln1.hook_normalized": _first_norm,
    "attn.hook_in": _input(*ATTENTION),
    "attn.hook_q": _projected(0),
    "attn.hook_k": _projected(1),
    "attn.hook_v": _projected(2),
    "attn.hook_z": _input(*ATTENTION_OUT),
    "attn.hook_out": _output(*ATTENTION),
    "ln2.hook_normalized": _second_norm,
    "mlp.hook_in": _input(*MLP_IN),
    "mlp.hook_pre": _half(0, *MLP_PRE),
    "mlp.hook_pre_linear": _half(1, *MLP_LINEAR),
    "mlp.hook_post": _input(*MLP_OUT),
    "mlp.hook_out": _output(*MLP, "fc2"),
    "hook_resid_post": lambda block, _: Tap(block, reads=False),
}
