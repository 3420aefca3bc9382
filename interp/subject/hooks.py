"""Hook points: their TransformerLens names, and the size of their activations."""

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from interp.domain.errors import HookPointUnknownError
from interp.subject.shape import ModelShape

_RESIDUAL: Callable[[ModelShape], int] = lambda shape: shape.d_model  # noqa: E731

# The sites of a block, in the order of the data flow. The units of each write to the logits directly or through one matrix, so each decoder
# direction has promoted tokens.
SITES: dict[str, Callable[[ModelShape], int]] = {
    "hook_resid_pre": _RESIDUAL,
    "ln1.hook_normalized": _RESIDUAL,
    "attn.hook_in": _RESIDUAL,
    "attn.hook_q": lambda shape: shape.d_heads,
    "attn.hook_k": lambda shape: shape.kv_heads * shape.d_head,
    "attn.hook_v": lambda shape: shape.kv_heads * shape.d_head,
    "attn.hook_z": lambda shape: shape.d_heads,
    "attn.hook_out": _RESIDUAL,
    "hook_attn_out": _RESIDUAL,
    "hook_resid_mid": _RESIDUAL,
    "ln2.hook_normalized": _RESIDUAL,
    "mlp.hook_in": _RESIDUAL,
    "mlp.hook_pre": lambda shape: shape.d_mlp,
    "mlp.hook_pre_linear": lambda shape: shape.d_mlp,
    "mlp.hook_post": lambda shape: shape.d_mlp,
    "mlp.hook_out": _RESIDUAL,
    "hook_mlp_out": _RESIDUAL,
    "hook_resid_post": _RESIDUAL,
}
# Other names of the same points.
SAME_SITE = {"hook_in": "hook_resid_pre", "hook_out": "hook_resid_post"}
# Abbreviations of published dictionaries: `gpt2-small@8-res-jb`.
ABBREVIATIONS = {
    "hook_resid_pre": "res",
    "hook_resid_mid": "res_mid",
    "hook_resid_post": "res",
    "attn.hook_z": "att",
    "attn.hook_out": "att",
    "hook_attn_out": "att",
    "ln1.hook_normalized": "att_in",
    "ln2.hook_normalized": "mlp_in",
    "mlp.hook_in": "mlp_in",
    "mlp.hook_post": "neurons",
    "mlp.hook_out": "mlp",
    "hook_mlp_out": "mlp",
}
# Sites of one vector a head, with the number of heads; `[3]` after the name reads the fourth.
HEADS: dict[str, Callable[[ModelShape], int]] = {
    "attn.hook_q": lambda shape: shape.heads,
    "attn.hook_k": lambda shape: shape.kv_heads,
    "attn.hook_v": lambda shape: shape.kv_heads,
    "attn.hook_z": lambda shape: shape.heads,
}
# Between the hook points of a dictionary that reads or writes several.
JOIN = "+"
# What these hold is added to the residual stream, directly or through one matrix; the other sites hold the stream itself, or what is made of it.
ADDED = frozenset({"attn.hook_z", "attn.hook_out", "hook_attn_out", "mlp.hook_post", "mlp.hook_out", "hook_mlp_out"})
THROUGH_A_MATRIX = frozenset({"attn.hook_z", "mlp.hook_post"})
# What is between these and the stream is no matrix: an activation function, or a product.
INDIRECT = frozenset({"attn.hook_q", "attn.hook_k", "attn.hook_v", "mlp.hook_pre", "mlp.hook_pre_linear"})
_MODULE = re.compile(r"([A-Za-z_]\w*(?:\.\w+)+):(in|out)", re.ASCII)
_BLOCK = re.compile(r"blocks\.(\d{1,9})\.([^\[]+)(?:\[(\d{1,9})\])?")


@dataclass(frozen=True, slots=True)
class HookPoint:
    """A place in a model: block, site, and the head if one alone is read."""

    layer: int
    site: str
    head: int | None = None

    @property
    def tensor(self) -> str:
        """Return TransformerLens' name of the tensor, with all its heads."""
        return f"blocks.{self.layer}.{self.site}"

    @property
    def name(self) -> str:
        return self.tensor if self.head is None else f"{self.tensor}[{self.head}]"

    @property
    def abbreviation(self) -> str:
        """Return the place as in a published dictionary's name: `8-res`, `5-att-h3`."""
        head = "" if self.head is None else f"-h{self.head}"
        return f"{self.layer}-{ABBREVIATIONS.get(self.site, self.site)}{head}"

    def d_in(self, shape: ModelShape) -> int:
        """Return the size of the activations; heads are concatenated."""
        whole = SITES[self.site](shape)
        return whole if self.head is None else whole // HEADS[self.site](shape)

    def columns(self, shape: ModelShape) -> slice:
        """Return the axes of the tensor `[B, T, D]`, heads concatenated, that are read."""
        width = self.d_in(shape)
        return slice(None) if self.head is None else slice(self.head * width, (self.head + 1) * width)


@dataclass(frozen=True, slots=True)
class ModulePoint:
    """Input or output of a module by its path in transformers' model.

    Only the opened model knows the `width`; it is 0 before.
    """

    path: str
    reads: bool
    width: int = field(default=0, compare=False)

    @property
    def name(self) -> str:
        return f"{self.path}:{'in' if self.reads else 'out'}"

    def d_in(self, _: ModelShape) -> int:
        return self.width

    def columns(self, _: ModelShape) -> slice:
        return slice(None)


Point = HookPoint | ModulePoint


def module_of(name: str) -> ModulePoint | None:
    """Return the point of a module path with `:in` or `:out`; None for other text."""
    match = _MODULE.fullmatch(name)
    return ModulePoint(match[1], match[2] == "in") if match else None


def split(name: str) -> HookPoint | None:
    """Return the hook point of a name, of whatever model; None for other text."""
    match = _BLOCK.fullmatch(name)
    return HookPoint(int(match[1]), SAME_SITE.get(match[2], match[2]), int(match[3]) if match[3] else None) if match else None


def points_of(names: str) -> tuple[str, ...]:
    """Return the hook points of a text that joins one or several by `+`."""
    return tuple(names.split(JOIN))


def canonical(names: str) -> str:
    """Return the canonical names of hook points joined by `+`; other text is returned unchanged."""
    return JOIN.join(point.name if (point := split(name)) else name for name in points_of(names))


def ends_of(names: str) -> tuple[str, ...]:
    """Return the first and the last of several hook points, or the only one."""
    points = points_of(names)
    return points if len(points) == 1 else (points[0], points[-1])


def is_added(name: str) -> bool:
    """Return whether what a hook point holds is added to the residual stream."""
    point = split(name)
    return point is not None and point.site in ADDED


def output_matrix(name: str) -> str:
    """Return a key of the matrix to the residual stream, "" without one."""
    point = split(name)
    return name if point is None or point.site in THROUGH_A_MATRIX | INDIRECT else ""


def parse_all(names: str, shape: ModelShape) -> tuple[Point, ...]:
    """Parse hook points and module paths, joined by `+`; raises HookPointUnknownError."""
    return tuple(module_of(name) or parse(name, shape) for name in points_of(names))


def parse(name: str, shape: ModelShape) -> HookPoint:
    """Parse a hook point of a model; raises HookPointUnknownError, which lists near names."""
    point = split(name)
    if point is None or point.site not in SITES or point.layer >= shape.layers:
        raise unknown(name, every_name(shape), shape.layers)
    if point.head is not None and point.head >= (heads := HEADS[point.site](shape) if point.site in HEADS else 0):
        raise HookPointUnknownError(
            f"{name!r} is no hook point of this subject.",
            why=f"{point.tensor} has {heads} heads, counted from 0." if heads else f"{point.tensor} has no heads.",
            cure=f"Use {point.tensor}" + (f", or a head up to {point.tensor}[{heads - 1}]." if heads else "."),
        )
    return point


def every_name(shape: ModelShape) -> list[str]:
    """Return all hook points of a model."""
    return [HookPoint(layer, site).name for layer in range(shape.layers) for site in SITES]


def unknown(name: str, names: list[str], layers: int) -> HookPointUnknownError:
    """Return the error for a name not among `names`, with the nearest of them."""
    near = difflib.get_close_matches(name, names, n=5, cutoff=0.5)
    return HookPointUnknownError(
        f"{name!r} is no hook point of this subject.",
        why=f"It has {layers} blocks, blocks.0 to blocks.{layers - 1}.",
        cure=f"Near names: {', '.join(near or names[:5])}.",
        near=near,
    )
