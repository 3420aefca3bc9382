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
from interp.subject.huggingface import randomise
from interp.subject.loaded import DTYPES, HookReachedError, OpenedSubject, SubjectPlan, as_rows, check_finite, check_weights_exist
from interp.subject.location import read_config
from interp.subject.residual import WRITES, is_close, matching, short_row
from interp.subject.taps import stream
from interp.subject.text.tokenizer_file import panics_as_errors


class BridgeSubject(OpenedSubject):
    """A TransformerBridge that stops at its hook point."""

    def __init__(self, plan: SubjectPlan, bridge: TransformerBridge) -> None:
        super().__init__(plan, bridge.original_model)
        self._bridge = bridge
        self._point = plan.point
        self._hook = bridge.hook_dict[plan.point.tensor]

    @torch.inference_mode()
    def activations(self, tokens: Tensor) -> Tensor:
        self._hook.add_hook(_stop)
        try:
            self._bridge(tokens.to(self.device), return_type=None)
        except HookReachedError as reached:
            return as_rows(reached.activations)[..., self._columns]
        finally:
            self._hook.remove_hooks("fwd")
        raise SubjectError(
            f"The forward pass never comes to {self.hook_point}.",
            why="This architecture computes that step in one piece with others.",
            cure="Choose another hook point of the same block.",
        )

    @torch.inference_mode()
    def output_directions(self) -> Tensor:
        directions = unembedding(self._bridge.ln_final, self._bridge.unembed)
        block = self._bridge.blocks[self._point.layer]
        match self._point.site:
            case "mlp.hook_post":
                return matrix(block.mlp.out) @ directions
            case "attn.hook_z":
                return matrix(block.attn.o)[self._columns] @ directions
            case _:
                return directions


def open_at(spec: SubjectSpec, hook_point: str) -> BridgeSubject:
    """Open the model on its device; raises SubjectError, HookPointUnknownError, TokenizerMismatchError and FileMissingError."""
    plan = SubjectPlan.of(spec, hook_point)
    check_weights_exist(spec)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        model, reference = _read_first(spec, plan)
        # It also opens the tokenizer.
        with panics_as_errors():
            bridge = TransformerBridge.boot_transformers(
                spec.model, device=plan.device, dtype=DTYPES[spec.dtype], revision=spec.revision, hf_model=model
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
    if plan.point.tensor not in known:
        raise hooks.unknown(hook_point, [name for name in hooks.every_name(plan.shape) if name in known], plan.shape.layers)
    _check_stream(bridge, plan, reference)
    return BridgeSubject(plan, bridge)


Ends = tuple[Tensor, Tensor]


@torch.inference_mode()
def _read_first(spec: SubjectSpec, plan: SubjectPlan) -> tuple[Any, Ends | None]:
    """Return the model by transformers, with its residual stream on a short row.

    The Bridge changes the model's modules afterwards. A model of several parts is opened by the Bridge, and has no such reference: (None, None).
    """
    if "text_config" in read_config(spec) and spec.weights != "random":
        return None, None
    # The attention of the Bridge, so that the streams have no other difference.
    attention = {} if spec.weights == "random" else {"attn_implementation": "eager"}
    model: Any = AutoModelForCausalLM.from_pretrained(
        spec.model, revision=spec.revision, dtype=DTYPES[spec.dtype], trust_remote_code=False, **attention
    )
    if spec.weights == "random":
        randomise(model)
    model.to(plan.device).eval()
    return model, stream(model, plan.point.layer, short_row(plan.shape.vocabulary, plan.device))


@torch.inference_mode()
def _check_stream(bridge: TransformerBridge, plan: SubjectPlan, reference: Ends | None) -> None:
    """Raise StreamDiffersError if the Bridge's stream is not the model's, or its identities fail."""
    sites = ("hook_resid_pre", "hook_attn_out", "hook_resid_mid", "hook_mlp_out", "hook_resid_post")
    seen = _record(bridge, plan, sites)
    pre, post = seen.get("hook_resid_pre"), seen.get("hook_resid_post")
    if pre is None or post is None:
        return
    if reference is not None and not (is_close(pre, reference[0]) and is_close(post, reference[1])):
        raise _differs(plan, "The residual stream that TransformerBridge computes is not that of the model's own forward pass.")
    site = plan.point.site
    if site not in WRITES or site not in seen:
        return
    parts = [{name: seen[name]} if name in seen else {} for name in sites[1:4]]
    if site not in matching(pre, post, *parts):
        raise _differs(plan, "What attention and MLP add to the residual stream does not sum up to it with this hook point's tensor.")


def _record(bridge: TransformerBridge, plan: SubjectPlan, sites: tuple[str, ...]) -> dict[str, Tensor]:
    seen: dict[str, Tensor] = {}
    names = {site: f"blocks.{plan.point.layer}.{site}" for site in sites}
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


def _differs(plan: SubjectPlan, why: str) -> StreamDiffersError:
    return StreamDiffersError(
        f"{plan.spec.model}: {plan.point.name} cannot be read by the backend `bridge`.", why=why, cure="Use the backend `huggingface`."
    )


def _stop(tensor: Tensor, *, hook: HookPoint) -> None:  # noqa: ARG001
    raise HookReachedError(tensor)
