"""Subjects of transformers: a forward hook on a module, with the fastest attention."""

import zlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, BitsAndBytesConfig
from transformers.utils import logging as transformers_logging

from interp.domain.errors import SubjectError
from interp.domain.spec import SubjectSpec
from interp.subject import hooks
from interp.subject.directions import matrix, unembedding
from interp.subject.loaded import DTYPES, Capture, HookReachedError, OpenedSubject, SubjectPlan, check_finite, check_weights_exist
from interp.subject.location import source_of
from interp.subject.taps import ATTENTION_OUT, BLOCKS, FINAL_NORM, MLP_OUT, Tap, find_taps, need, taps_of, whole


class HuggingFaceSubject(OpenedSubject):
    """A transformers model that stops at the last of its hook points."""

    is_concurrent = True

    def __init__(self, plan: SubjectPlan, model: Any, taps: dict[hooks.Point, Tap]) -> None:
        """Create the subject; `taps` has the points of the plan, with their widths."""
        widths = {point: point for point in taps}
        super().__init__(replace(plan, points=tuple(widths[point] for point in plan.points)), model)
        self._model, self._taps = model, taps
        self._layers: dict[int, dict[str, Tap]] = {}

    @torch.inference_mode()
    def capture(self, tokens: Tensor) -> dict[str, Tensor]:
        own = {point: self._taps[point] for point in self._plan.points}
        capture = Capture(own)
        handles = [tap.hook(partial(capture.note, point)) for point, tap in own.items()]
        try:
            self._model(tokens.to(self.device), use_cache=False)
        except HookReachedError:
            # OPT's MLP flattens the rows.
            return {name: found.view(*tokens.shape, -1) if found.dim() == 2 else found for name, found in capture.found.items()}
        finally:
            for handle in handles:
                handle.remove()
        missing = [point.name for point in own if point.name not in capture.found]
        raise SubjectError(f"The forward pass never comes to {', '.join(missing)}.", cure="Try the backend `bridge`.")

    def sites(self, layer: int) -> list[str]:
        if layer not in self._layers:
            self._layers[layer] = taps_of(self._model, layer, self._plan.shape, self.device)
        return list(self._layers[layer])

    def attach(self, point: hooks.Point, use: Callable[[Tensor], Tensor | None], replaces: bool) -> Callable[[], None]:
        tap = self._taps.get(point)
        if tap is None and isinstance(point, hooks.HookPoint) and point.site in self.sites(point.layer):
            tap = self._layers[point.layer][point.site]
        if tap is None:
            tap = find_taps(self._model, [point], self._plan.shape, self.device)[point]
        if replaces and tap.part is not whole:
            raise SubjectError(
                f"{point.name} cannot be replaced by the backend `huggingface`.",
                why="It is a part of a module's tensor, or computed from one.",
                cure="Set subject.backend to `bridge`.",
            )
        remove: Callable[[], None] = tap.hook(use).remove
        return remove

    @torch.inference_mode()
    def logits(self, tokens: Tensor) -> Tensor:
        found: Tensor = self._model(tokens.to(self.device), use_cache=False).logits
        return found

    def decoding(self) -> Callable[[Tensor], Tensor]:
        cache: Any = None

        @torch.inference_mode()
        def step(tokens: Tensor) -> Tensor:
            nonlocal cache
            found = self._model(tokens.to(self.device), past_key_values=cache, use_cache=True)
            cache = found.past_key_values
            last: Tensor = found.logits[:, -1]
            return last

        return step

    @torch.inference_mode()
    def output_directions(self, hook_point: str) -> Tensor:
        point = next((point for point in self._plan.points if point.name == hook_point), None) or hooks.parse(hook_point, self._plan.shape)
        norm = need(self._model, FINAL_NORM, "the final norm")
        directions = unembedding(norm, self._model.get_output_embeddings())
        if isinstance(point, hooks.ModulePoint):
            return directions if point.width == len(directions) else directions.new_zeros(point.width, 0)
        block = need(self._model, BLOCKS, "the blocks")[point.layer]
        match point.site:
            case site if site in hooks.INDIRECT:
                return directions.new_zeros(point.d_in(self._plan.shape), 0)
            case "mlp.hook_post":
                return matrix(need(block, MLP_OUT, "the MLP's output matrix")) @ directions
            case "attn.hook_z":
                return matrix(need(block, ATTENTION_OUT, "attention's output matrix"))[point.columns(self._plan.shape)] @ directions
            case _:
                return directions


def open_at(spec: SubjectSpec, hook_point: str) -> HuggingFaceSubject:
    """Open the model on its device; raises SubjectError, HookPointUnknownError, TokenizerMismatchError and FileMissingError."""
    plan = SubjectPlan.of(spec, hook_point)
    check_weights_exist(spec)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            source_of(spec), revision=spec.revision, dtype=DTYPES[spec.dtype], trust_remote_code=False, **placement(spec, plan.device)
        )
    except ImportError as cause:
        raise SubjectError(
            f"{spec.model} cannot be opened with device {spec.device!r} and load_in {spec.load_in!r}.",
            why=str(cause).splitlines()[0],
            cure="pip install 'glossator[large]' (accelerate and bitsandbytes), or leave out both settings.",
        ) from cause
    except (ValueError, OSError, RuntimeError, KeyError) as cause:
        raise SubjectError(
            f"{spec.model} cannot be opened by transformers.",
            why=str(cause).splitlines()[0] if str(cause) else type(cause).__name__,
            cure="Check that it is a causal language model, saved whole.",
        ) from cause
    if not placement(spec, plan.device):
        model.to(plan.device)
    model.eval()
    check_finite(model, spec)
    if spec.weights == "random":
        randomise(model)
    return HuggingFaceSubject(plan, model, find_taps(model, plan.points, plan.shape, plan.device))


def placement(spec: SubjectSpec, device: torch.device) -> dict[str, Any]:
    """Return transformers' settings of a model that is spread over devices or quantised."""
    if spec.weights == "random":  # drawn on one device, unquantised
        return {}
    found: dict[str, Any] = {"device_map": "auto"} if spec.device == "spread" else {}
    if spec.load_in:
        found = {"device_map": {"": device}} | found | {"quantization_config": quantisation(spec)}
    return found


def quantisation(spec: SubjectSpec) -> BitsAndBytesConfig:
    """Return how bitsandbytes keeps the matrices.

    Four bits are NF4, whose levels fit normal weights: FP4, the library's own default, errs by a third more. Source: Dettmers et al., QLoRA
    (arXiv 2305.14314).
    """
    if spec.load_in == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)  # type: ignore[no-untyped-call]
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=DTYPES[spec.dtype])  # type: ignore[no-untyped-call]


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
