"""Subjects by way of TransformerLens' TransformerBridge: every hook point by its TransformerLens name."""

import torch
from torch import Tensor
from transformer_lens.hook_points import HookPoint
from transformer_lens.model_bridge import TransformerBridge
from transformers.utils import logging as transformers_logging

from interp.errors import SubjectError
from interp.spec import SubjectSpec
from interp.subject import hooks
from interp.subject.directions import matrix, unembedding
from interp.subject.opened import DTYPES, OpenedSubject, Plan, Reached, as_rows, check_finite, check_weights_exist
from interp.subject.untrained import untrained


class BridgeSubject(OpenedSubject):
    """A TransformerBridge that stops at its hook point."""

    def __init__(self, plan: Plan, bridge: TransformerBridge) -> None:
        super().__init__(plan, bridge.original_model)
        self._bridge = bridge
        self._point = plan.point
        self._hook = bridge.hook_dict[plan.point.name]

    @torch.inference_mode()
    def activations(self, tokens: Tensor) -> Tensor:
        self._hook.add_hook(_stop)
        try:
            self._bridge(tokens.to(self.device), return_type=None)
        except Reached as reached:
            return as_rows(reached.activations)
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
                return matrix(block.attn.o) @ directions
            case _:
                return directions


def open_at(spec: SubjectSpec, hook_point: str) -> BridgeSubject:
    """Opens the model on its device. Raises SubjectError, HookPointUnknown, TokenizerMismatch, FileMissing."""
    plan = Plan.of(spec, hook_point)
    check_weights_exist(spec)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        forgotten = untrained(spec, DTYPES[spec.dtype]) if spec.weights == "random" else None
        bridge = TransformerBridge.boot_transformers(
            spec.model, device=plan.device, dtype=DTYPES[spec.dtype], revision=spec.revision, hf_model=forgotten
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
    if plan.point.name not in known:
        raise hooks.unknown(hook_point, [name for name in hooks.every_name(plan.shape) if name in known], plan.shape.layers)
    return BridgeSubject(plan, bridge)


def _stop(tensor: Tensor, *, hook: HookPoint) -> None:  # noqa: ARG001
    raise Reached(tensor)
