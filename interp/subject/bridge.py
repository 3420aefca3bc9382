"""Subjects of TransformerLens' TransformerBridge, with all its hook points."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformer_lens.hook_points import HookPoint
from transformer_lens.model_bridge import TransformerBridge
from transformers import AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from interp.domain.errors import StreamDiffersError, SubjectError
from interp.domain.spec import SubjectSpec
from interp.subject import hooks
from interp.subject.directions import matrix, unembedding
from interp.subject.hooks import HookPoint as SubjectPoint
from interp.subject.hooks import ModulePoint, Point
from interp.subject.huggingface import randomise
from interp.subject.loaded import DTYPES, Capture, HookReachedError, OpenedSubject, SubjectPlan, check_finite, check_weights_exist
from interp.subject.location import read_config, source_of
from interp.subject.residual import WRITES, is_close, matching, short_row
from interp.subject.served import module_needs_huggingface
from interp.subject.taps import stream
from interp.subject.text.tokenizer_file import panics_as_errors


class BridgeSubject(OpenedSubject):
    """A TransformerBridge that stops at the last of its hook points."""

    def __init__(self, plan: SubjectPlan, bridge: TransformerBridge) -> None:
        super().__init__(plan, bridge.original_model)
        self._bridge = bridge
        self._hooks = {point: bridge.hook_dict[point.tensor] for point in plan.points if isinstance(point, SubjectPoint)}

    @torch.inference_mode()
    def capture(self, tokens: Tensor) -> dict[str, Tensor]:
        own = {point: self._hooks[point] for point in self._plan.points if isinstance(point, SubjectPoint)}
        capture = Capture(own)
        try:
            for point, hook in own.items():
                hook.add_hook(_noting(capture, point))
            self._bridge(tokens.to(self.device), return_type=None)
        except HookReachedError:
            return capture.found
        finally:
            for hook in own.values():
                hook.remove_hooks("fwd")
        raise SubjectError(
            f"The forward pass never comes to {', '.join(point.name for point in own if point.name not in capture.found)}.",
            why="This architecture computes that step in one piece with others.",
            cure="Choose another hook point of the same block.",
        )

    def sites(self, layer: int) -> list[str]:
        return [site for site in hooks.SITES if SubjectPoint(layer, site).name in self._bridge.hook_dict]

    def attach(self, point: Point, use: Callable[[Tensor], Tensor | None], replaces: bool) -> Callable[[], None]:  # noqa: ARG002
        if isinstance(point, ModulePoint):
            raise module_needs_huggingface(point)
        hook_point = self._bridge.hook_dict[point.tensor]

        def hook_function(tensor: Tensor, *, hook: HookPoint) -> Tensor | None:  # noqa: ARG001
            return use(tensor)

        hook_point.add_hook(hook_function)
        return lambda: hook_point.remove_hooks("fwd")

    @torch.inference_mode()
    def logits(self, tokens: Tensor) -> Tensor:
        found: Tensor = self._bridge(tokens.to(self.device), return_type="logits")
        return found

    @torch.inference_mode()
    def output_directions(self, hook_point: str) -> Tensor:
        point = hooks.parse(hook_point, self._plan.shape)
        directions = unembedding(self._bridge.ln_final, self._bridge.unembed)
        block = self._bridge.blocks[point.layer]
        match point.site:
            case site if site in hooks.INDIRECT:
                return directions.new_zeros(point.d_in(self._plan.shape), 0)
            case "mlp.hook_post":
                return matrix(block.mlp.out) @ directions
            case "attn.hook_z":
                return matrix(block.attn.o)[point.columns(self._plan.shape)] @ directions
            case _:
                return directions


def open_at(spec: SubjectSpec, hook_point: str) -> BridgeSubject:
    """Open the model on its device; raises SubjectError, HookPointUnknownError, TokenizerMismatchError and FileMissingError."""
    plan = SubjectPlan.of(spec, hook_point)
    points = [point for point in plan.points if isinstance(point, SubjectPoint)]
    for point in plan.points:
        if isinstance(point, ModulePoint):
            raise module_needs_huggingface(point)
    check_weights_exist(spec)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        model, reference = _read_first(spec, plan, {point.layer for point in points})
        # It also opens the tokenizer.
        with panics_as_errors():
            bridge = TransformerBridge.boot_transformers(
                source_of(spec), device=plan.device, dtype=DTYPES[spec.dtype], revision=spec.revision, hf_model=model
            )
    except (ValueError, OSError, RuntimeError, NotImplementedError, KeyError) as cause:
        raise SubjectError(
            f"{spec.model} cannot be opened by TransformerBridge.",
            why=str(cause).splitlines()[0] if str(cause) else type(cause).__name__,
            cure="Try the backend `huggingface`.",
        ) from cause
    bridge.eval()
    check_finite(bridge.original_model, spec)
    known = bridge.hook_dict
    for point in points:
        if point.tensor not in known:
            raise hooks.unknown(point.name, [name for name in hooks.every_name(plan.shape) if name in known], plan.shape.layers)
        _check_stream(bridge, plan, point, reference.get(point.layer))
    return BridgeSubject(plan, bridge)


Ends = tuple[Tensor, Tensor]


@torch.inference_mode()
def _read_first(spec: SubjectSpec, plan: SubjectPlan, layers: set[int]) -> tuple[Any, dict[int, Ends | None]]:
    """Return the model by transformers, with its residual stream at each layer.

    The Bridge changes the model's modules afterwards. A model of several parts is opened by the Bridge, and has no such reference: (None, {}).
    """
    if "text_config" in read_config(spec) and spec.weights != "random":
        return None, {}
    # The attention of the Bridge, so that the streams have no other difference.
    attention = {} if spec.weights == "random" else {"attn_implementation": "eager"}
    model: Any = AutoModelForCausalLM.from_pretrained(
        source_of(spec), revision=spec.revision, dtype=DTYPES[spec.dtype], trust_remote_code=False, **attention
    )
    if spec.weights == "random":
        randomise(model)
    model.to(plan.device).eval()
    tokens = short_row(plan.shape.vocabulary, plan.device)
    return model, {layer: stream(model, layer, tokens) for layer in layers}


@torch.inference_mode()
def _check_stream(bridge: TransformerBridge, plan: SubjectPlan, at: SubjectPoint, reference: Ends | None) -> None:
    """Raise StreamDiffersError if the Bridge's stream is not the model's, or its identities fail."""
    sites = ("hook_resid_pre", "hook_attn_out", "hook_resid_mid", "hook_mlp_out", "hook_resid_post")
    seen = _record(bridge, plan, at.layer, sites)
    pre, post = seen.get("hook_resid_pre"), seen.get("hook_resid_post")
    if pre is None or post is None:
        return
    if reference is not None and not (is_close(pre, reference[0]) and is_close(post, reference[1])):
        raise _differs(plan, at, "The residual stream that TransformerBridge computes is not that of the model's own forward pass.")
    if at.site not in WRITES or at.site not in seen:
        return
    parts = [{name: seen[name]} if name in seen else {} for name in sites[1:4]]
    if at.site not in matching(pre, post, *parts):
        raise _differs(plan, at, "What attention and MLP add to the residual stream does not sum up to it with this hook point's tensor.")


def _record(bridge: TransformerBridge, plan: SubjectPlan, layer: int, sites: tuple[str, ...]) -> dict[str, Tensor]:
    seen: dict[str, Tensor] = {}
    names = {site: f"blocks.{layer}.{site}" for site in sites}
    points = {site: bridge.hook_dict[name] for site, name in names.items() if name in bridge.hook_dict}

    def note(site: str) -> Callable[..., None]:
        def hook_function(tensor: Tensor, *, hook: HookPoint) -> None:  # noqa: ARG001
            seen[site] = tensor.clone()

        return hook_function

    try:
        for site, point in points.items():
            point.add_hook(note(site))
        bridge(short_row(plan.shape.vocabulary, plan.device), return_type=None)
    finally:
        for point in points.values():
            point.remove_hooks("fwd")
    return seen


def _differs(plan: SubjectPlan, at: SubjectPoint, why: str) -> StreamDiffersError:
    return StreamDiffersError(f"{plan.spec.model}: {at.name} cannot be read by the backend `bridge`.", why=why, cure="Use the backend `huggingface`.")


def _noting(capture: Capture, point: SubjectPoint) -> Callable[..., None]:
    def hook_function(tensor: Tensor, *, hook: HookPoint) -> None:  # noqa: ARG001
        capture.note(point, tensor)

    return hook_function
