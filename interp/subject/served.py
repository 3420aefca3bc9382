"""Sites and backend of an architecture, by its config.json.

A job that names a site that it lacks is refused before a model is opened.
"""

import difflib
from collections.abc import Collection, Mapping
from typing import Any

from interp.domain.errors import HookPointUnknownError, SubjectError
from interp.domain.spec import SubjectSpec
from interp.security.foreign_config import Foreign, typed
from interp.subject import hooks
from interp.subject.hooks import HookPoint, ModulePoint, Point
from interp.subject.shape import ModelType

# MLPs of two matrices, and blocks that add attention and MLP to the stream at once.
UNGATED, PARALLEL = {"mlp.hook_pre_linear"}, {"hook_resid_mid"}
NORMALISED = {"ln1.hook_normalized", "ln2.hook_normalized"}
# Sites that neither backend has, by model type (tests/subject/test_taps.py); those of other types are found when the model is opened.
LACKS: dict[str | None, set[str]] = {
    "gpt2": UNGATED,
    "gpt_neox": UNGATED,
    "opt": UNGATED,
    # One norm for attention and MLP.
    "phi": UNGATED | PARALLEL | {"ln2.hook_normalized"},
    "cohere": PARALLEL | {"ln2.hook_normalized"},
    # Norms after attention and MLP alone, which the versions of TransformerLens name differently.
    "olmo2": NORMALISED,
    "olmo3": NORMALISED,
}

# Model types of which both backends agree at every site (tests/subject/test_taps.py); there `auto` takes the faster one.
AGREE = frozenset(
    {"gpt2", "gpt_neox", "llama", "mistral", "gemma", "gemma2", "gemma3_text", "qwen2", "qwen3", "olmo", "olmo2", "olmo3", "phi", "phi3", "granite"}
)
# The Bridge of TransformerLens 3.9 reads another stream than the model's.
BRIDGE_DIFFERS = frozenset({"cohere"})


class Blocks(Foreign):
    """Settings of config.json that decide the form of a block."""

    use_parallel_residual: bool | None = None


def lacking(config: Mapping[str, Any]) -> frozenset[str]:
    """Return the sites that a subject is known to lack."""
    kind = _kind(config)
    parallel = kind == "gpt_neox" and typed(Blocks, config, "config.json", SubjectError, "Save the model again.").use_parallel_residual is not False
    return frozenset(LACKS.get(kind, set()) | (PARALLEL if parallel else set()))


def backend_for(spec: SubjectSpec, config: Mapping[str, Any], hook_point: str = "") -> str:
    """Return the backend that opens a subject; `auto` is the fastest that serves it."""
    if spec.backend != "auto":
        return spec.backend
    only = spec.load_in or spec.device == "spread" or any(hooks.module_of(name) for name in hooks.points_of(hook_point))
    return "huggingface" if only or _kind(config) in AGREE | BRIDGE_DIFFERS else "bridge"


def check_served(point: Point, config: Mapping[str, Any], backend: str, tensors: Collection[str] = ()) -> None:
    """Raise HookPointUnknownError for a place that the subject or backend is known to lack.

    `tensors` are the names of all weights, if they are known.
    """
    if isinstance(point, ModulePoint):
        if backend == "bridge":
            raise module_needs_huggingface(point)
        _check_module(point, tensors)
        return
    missing = lacking(config)
    if point.site in missing:
        names = [HookPoint(point.layer, site).name for site in hooks.SITES if site not in missing]
        near = difflib.get_close_matches(point.name, names, n=5, cutoff=0.5)
        raise HookPointUnknownError(
            f"{point.name!r} is no hook point of this subject.",
            why=f"Blocks of the type {config.get('model_type')} have no such tensor.",
            cure=f"Near names: {', '.join(near)}.",
            near=near,
        )


def _kind(config: Mapping[str, Any]) -> str | None:
    return typed(ModelType, config, "config.json", SubjectError, "Save the model again.").model_type


def module_needs_huggingface(point: ModulePoint) -> HookPointUnknownError:
    """Return the error for a module path with the backend `bridge`."""
    return HookPointUnknownError(f"The backend `bridge` reads no module path ({point.name}).", cure="Use the backend `auto` or `huggingface`.")


def unknown_module(point: ModulePoint, names: Collection[str]) -> HookPointUnknownError:
    """Return the error for a module that the model does not have."""
    near = difflib.get_close_matches(point.path, names, n=5, cutoff=0.5)
    return HookPointUnknownError(
        f"{point.path!r} is no module of this subject.",
        why="A module path is one of transformers' model, as `named_modules` lists them.",
        cure=f"Near names: {', '.join(near)}." if near else "Name a hook point instead, such as blocks.0.hook_resid_post.",
        near=near,
    )


def _check_module(point: ModulePoint, tensors: Collection[str]) -> None:
    """Raise HookPointUnknownError for a path whose parent has no weights."""
    parts = {name.rsplit(".", count)[0] for name in tensors for count in range(1, name.count(".") + 1)}
    # Checkpoints of a model without its head leave out the first name; modules such as activation functions have no weights.
    parent = point.path.rpartition(".")[0]
    wanted = {point.path, parent, parent.partition(".")[2]}
    if parts and not wanted & parts:
        raise unknown_module(point, sorted(parts))
