"""Parts of a subject that all backends share."""

import gc
from collections.abc import Callable, Collection, Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from interp.domain.errors import FileMissingError, SubjectError, WeightsNotFiniteError
from interp.domain.spec import SubjectSpec
from interp.domain.vocabulary import Vocabulary
from interp.security import allowed_files
from interp.subject import hooks
from interp.subject.hooks import Point
from interp.subject.location import check_folder, read_config, reading, subject_digest, subject_name
from interp.subject.shape import ModelShape
from interp.subject.text.tokenizer import TextEncoder, open_encoder

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class HookReachedError(Exception):
    """Ends the forward pass at the last hook point, since the rest is not needed."""


class Capture:
    """Tensors of hook points in one forward pass, which it ends once it has all."""

    def __init__(self, points: Collection[Point]) -> None:
        self.found: dict[str, Tensor] = {}
        self._count = len(set(points))

    def note(self, point: Point, tensor: Tensor) -> None:
        """Keep the tensor of a hook point; raises HookReachedError at the last."""
        last = len(self.found) + 1 == self._count
        # The rest of the forward pass may change a tensor in place.
        self.found[point.name] = tensor if last else tensor.clone()
        if last:
            raise HookReachedError


@dataclass(frozen=True)
class SubjectPlan:
    """A subject before its weights are read."""

    spec: SubjectSpec
    shape: ModelShape
    points: tuple[Point, ...]
    encoder: TextEncoder
    device: torch.device
    name: str
    digest: str

    @classmethod
    def of(cls, spec: SubjectSpec, hook_point: str) -> "SubjectPlan":
        """Read config and tokenizer; raises SubjectError, HookPointUnknownError, TokenizerMismatchError and FileMissingError."""
        config = read_config(spec)
        shape = ModelShape.from_config(config)
        points = hooks.parse_all(hook_point, shape)
        return cls(
            spec=spec,
            shape=shape,
            points=points,
            encoder=open_encoder(spec, config, shape),
            device=pick_device(spec.device),
            name=subject_name(spec, config),
            digest=subject_digest(spec),
        )


class OpenedSubject:
    """Parts of `Subject` that do not depend on the backend.

    `is_concurrent`: forward passes of several threads at once do not disturb one another.
    """

    is_concurrent = False

    def __init__(self, plan: SubjectPlan, model: nn.Module) -> None:
        self.name = plan.name
        self.digest = plan.digest
        self.hook_point = hooks.JOIN.join(point.name for point in plan.points)
        self.d_in = sum(point.d_in(plan.shape) for point in plan.points)
        self.context = plan.shape.context
        self.device = plan.device
        self.nbytes = weights_bytes(model, plan.device)
        self.bos = plan.encoder.bos
        self.vocabulary: Vocabulary = plan.encoder.vocabulary
        self.config: dict[str, Any] = {
            "model": plan.spec.model,
            "revision": plan.spec.revision,
            "architecture": plan.shape.architecture,
            "layers": plan.shape.layers,
            "model_width": plan.shape.d_model,
            "vocabulary": plan.shape.vocabulary,
            "context": plan.shape.context,
            "dtype": plan.spec.dtype,
            "weights": plan.spec.weights,
            "device": str(plan.device),
            "backend": plan.spec.backend,
        }
        self._encoder = plan.encoder
        self._plan = plan
        self._points = {point.name: point for point in plan.points}
        embedding: Any = getattr(model, "get_input_embeddings", lambda: None)
        self._embedding = embedding()

    def capture(self, tokens: Tensor) -> dict[str, Tensor]:
        """Return each hook point's tensor, `[B, T, ...]`, of one forward pass."""
        raise NotImplementedError

    def sites(self, layer: int) -> list[str]:
        """Return the sites of a block that the backend may read."""
        raise NotImplementedError

    def attach(self, point: Point, use: Callable[[Tensor], Tensor | None], replaces: bool) -> Callable[[], None]:
        """Call `use` with the point's tensor in later forward passes; return what ends that.

        With `replaces`, what `use` returns takes the tensor's place; raises SubjectError where the backend cannot do that.
        """
        raise NotImplementedError

    def logits(self, tokens: Tensor) -> Tensor:
        """Return the logits `[B, T, V]` of tokens int64 `[B, T]`."""
        raise NotImplementedError

    def decoding(self) -> Callable[[Tensor], Tensor]:
        """Return a function from the next tokens int64 `[B, n]` to the logits `[B, V]`."""
        read: list[Tensor] = []

        def step(tokens: Tensor) -> Tensor:
            read.append(tokens)
            return self.logits(torch.cat(read, dim=1))[:, -1]

        return step

    @property
    def shape(self) -> ModelShape:
        return self._plan.shape

    @property
    def embedding(self) -> Tensor | None:
        """Return W_E float32 `[V, d_model]`, or None where it is not one matrix in memory."""
        weight = getattr(self._embedding, "weight", None)
        return weight.detach().float() if isinstance(weight, Tensor) and weight.dim() == 2 and not weight.is_meta else None

    @torch.inference_mode()
    def activations(self, tokens: Tensor) -> Tensor:
        found = self.capture(tokens)
        parts = [found[point.name].flatten(2)[..., point.columns(self._plan.shape)].to(self.device) for point in self._plan.points]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)

    def at(self, hook_point: str) -> Self:
        """Return the same model, reading some of the hook points that it was opened at."""
        found = copy(self)
        found._plan = replace(self._plan, points=tuple(self._points[name] for name in hooks.points_of(hook_point)))
        found.hook_point, found.d_in = hook_point, sum(point.d_in(self._plan.shape) for point in found._plan.points)
        return found

    def part(self, x: Tensor, hook_point: str) -> Tensor:
        """Return what some of its hook points hold, of activations `[N, D]` of all."""
        widths = [point.d_in(self._plan.shape) for point in self._plan.points]
        columns = dict(zip((point.name for point in self._plan.points), torch.split(x, widths, dim=1), strict=True))
        return torch.cat([columns[name] for name in hooks.points_of(hook_point)], dim=1)

    def encode_texts(self, texts: Sequence[str]) -> list[NDArray[np.uint32]]:
        return self._encoder.encode_texts(texts)


def weights_bytes(model: nn.Module, device: torch.device) -> int:
    """Return the bytes of a model's weights on a device; shared ones count once."""
    tensors = {tensor.data_ptr(): tensor for tensor in (*model.parameters(), *model.buffers()) if _same(tensor.device, device)}
    return sum(tensor.nbytes for tensor in tensors.values())


def _same(one: torch.device, other: torch.device) -> bool:
    """Return whether two devices are one; `cuda` is `cuda:0`."""
    return (one.type, one.index or 0) == (other.type, other.index or 0)


def pick_device(asked: str) -> torch.device:
    """Return the device (`auto`, `spread`: the first GPU, else the CPU); raises SubjectError if missing."""
    if asked in ("auto", "spread"):
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(asked)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as cause:
        raise SubjectError(f"The device {asked!r} is not there.", why=str(cause).splitlines()[0], cure="Use `auto` or `cpu`.") from cause
    return device


def check_weights_exist(spec: SubjectSpec) -> None:
    """Raise FileMissingError for a folder without weights, and the errors of `check_folder`."""
    check_folder(spec)
    with reading(spec) as folder:
        if folder is not None and not any(Path(name).suffix in {".safetensors", ".bin"} for name in allowed_files.names_in(folder)):
            raise FileMissingError(
                f"{folder} holds no weights.", why="No .safetensors or .bin file is there.", cure="Save the model with `save_pretrained`."
            )


def check_finite(model: nn.Module, spec: SubjectSpec) -> None:
    """Raise WeightsNotFiniteError for NaN or infinity in the weights."""
    for name, parameter in model.named_parameters():
        # Weights on disk are read layer by layer.
        if parameter.is_floating_point() and not parameter.is_meta and not bool(torch.isfinite(parameter).all()):
            raise WeightsNotFiniteError(
                f"{spec.model}: {name} holds NaN or infinity.",
                why="The training diverged, the file is damaged, or float16 overflowed.",
                cure="Use another checkpoint, or dtype bfloat16 or float32.",
            )


def device_name() -> str:
    """Return the first GPU's name; `cpu` without a GPU."""
    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else "cpu"


def device_memory() -> int | None:
    """Return the bytes of the first GPU; None without a GPU."""
    return int(torch.cuda.get_device_properties(0).total_memory) if torch.cuda.is_available() else None


def give_back_memory() -> None:
    """Free the memory of unused models: torch's modules are cyclic, its allocator keeps GPU memory."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
