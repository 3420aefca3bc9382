"""Forward passes of a subject in which tensors at hook points are read or replaced."""

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

from interp.domain.errors import SubjectError
from interp.subject import hooks
from interp.subject.hooks import HookPoint, Point
from interp.subject.loaded import OpenedSubject

# Gets `[B, T, D]` at a hook point, heads concatenated.
Reader = Callable[[Tensor], None]


@torch.inference_mode()
def read(subject: OpenedSubject, tokens: Tensor, readers: Mapping[str, Reader]) -> Tensor:
    """Call each reader with its hook point's tensor; return the logits `[B, T, V]`.

    Tokens are int64 `[B, T]`. A hook point that the pass never comes to has its reader not called.
    """

    def reading(point: Point, use: Reader) -> Callable[[Tensor], None]:
        return lambda tensor: use(_rows(tensor, tokens)[..., point.columns(subject.shape)])

    return _pass(subject, tokens, {point: reading(point, use) for name, use in readers.items() for point in _points(subject, name)}, replaces=False)


@torch.inference_mode()
def replace(subject: OpenedSubject, tokens: Tensor, values: Mapping[str, Tensor], where: Tensor) -> Tensor:
    """Return logits `[B, T, V]` with other tensors at hook points.

    `values` has `[B, T, D]` by hook point. Only positions of `where`, bool `[B, T]`, are replaced. Raises SubjectError for a hook point whose tensor
    is not what the model goes on with.
    """

    def replacing(point: Point, value: Tensor) -> Callable[[Tensor], Tensor]:
        def use(tensor: Tensor) -> Tensor:
            rows = _rows(tensor, tokens).clone()
            columns = point.columns(subject.shape)
            rows[..., columns] = torch.where(where.to(rows.device)[..., None], value.to(rows.device, rows.dtype), rows[..., columns])
            return rows.view(tensor.shape)

        return use

    points = {name: _points(subject, name)[0] for name in values}
    _check_replaced(points.values())
    return _pass(subject, tokens, {point: replacing(point, values[name]) for name, point in points.items()}, replaces=True)


@torch.inference_mode()
def shift(subject: OpenedSubject, tokens: Tensor, added: Mapping[str, Tensor], where: Tensor) -> Tensor:
    """Return logits `[B, T, V]` with a vector of each row added at hook points.

    `added` has `[B, D]` by hook point, added at the positions of `where`, bool `[B, T]`. Raises SubjectError as `replace`.
    """

    def adding(point: Point, vectors: Tensor) -> Callable[[Tensor], Tensor]:
        def use(tensor: Tensor) -> Tensor:
            rows = _rows(tensor, tokens).clone()
            own = vectors.to(rows.device, rows.dtype)[:, None, :] * where.to(rows.device)[..., None]
            rows[..., point.columns(subject.shape)] += own
            return rows.view(tensor.shape)

        return use

    points = {name: _points(subject, name)[0] for name in added}
    _check_replaced(points.values())
    return _pass(subject, tokens, {point: adding(point, added[name]) for name, point in points.items()}, replaces=True)


def _check_replaced(points: Iterable[Point]) -> None:
    for point in points:
        if isinstance(point, HookPoint) and point.site == "hook_resid_mid":
            raise SubjectError(
                f"{point.name} cannot be replaced.",
                why="It is read at the input of a norm, beside the residual stream that goes on.",
                cure="Nothing is wrong with the dictionary: these figures are left out.",
            )


def losses(logits: Tensor, tokens: Tensor) -> Tensor:
    """Return the next token's cross-entropy, float32 `[B, T - 1]`, in nats."""
    rows = [
        functional.cross_entropy(row.float(), ids.to(row.device), reduction="none") for row, ids in zip(logits[:, :-1], tokens[:, 1:], strict=True)
    ]
    return torch.stack(rows)


def divergences(clean: Tensor, logits: Tensor) -> Tensor:
    """Return KL(clean || other) of the next token's distributions, float32 `[B, T]`, in nats.

    From log-probabilities: the logarithm of a probability in float32 is -inf below 1e-45, and 0 times that is NaN.
    """
    rows = [
        functional.kl_div(other.float().log_softmax(1), row.float().log_softmax(1), reduction="none", log_target=True).sum(1)
        for row, other in zip(clean, logits, strict=True)
    ]
    return torch.stack(rows)


def _pass(subject: OpenedSubject, tokens: Tensor, uses: Mapping[Point, Callable[[Tensor], Tensor | None]], replaces: bool) -> Tensor:
    removals: list[Callable[[], None]] = []
    # The backend may run the model to find them, which must not meet hooks of others.
    for point in uses:
        if isinstance(point, HookPoint):
            subject.sites(point.layer)
    try:
        for point, use in uses.items():
            removals.append(subject.attach(point, use, replaces))
        return subject.logits(tokens)
    finally:
        for remove in removals:
            remove()


def _points(subject: OpenedSubject, name: str) -> tuple[Point, ...]:
    return hooks.parse_all(name, subject.shape)


def _rows(tensor: Tensor, tokens: Tensor) -> Tensor:
    return tensor.reshape(*tokens.shape, -1)
