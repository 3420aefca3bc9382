"""Text that a subject writes with a feature's direction added, and without."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from interp.collect.live.reading import Between, tokens_of
from interp.dictionary.module import NORM_SCALES, Dictionary
from interp.domain.errors import InputError, SubjectError
from interp.domain.live import MOST_TOKENS, SteerWork
from interp.subject import hooks
from interp.subject.hooks import HookPoint, Point
from interp.subject.loaded import OpenedSubject


@dataclass(frozen=True)
class Continuation:
    """The tokens that follow the prompt, drawn with the same numbers of one seed."""

    seed: int
    plain: tuple[int, ...]
    steered: tuple[int, ...]


@dataclass(frozen=True)
class Steered:
    """The prompt's tokens, and its continuations."""

    prompt: tuple[int, ...]
    continuations: tuple[Continuation, ...]


@torch.inference_mode()
def steer(subject: OpenedSubject, dictionary: Dictionary, work: SteerWork, between: Between) -> Steered:
    """Continue a prompt by each seed, without and with the feature's direction added.

    The direction is added at each token but the BOS, at the hook points that the dictionary writes, in the scale of its output (activation addition:
    Turner et al., arXiv 2308.10248; feature steering: Templeton et al. 2024). A text ends with a special token. `between` tokens may raise.
    Raises InputError for a prompt that is empty or too long, and SubjectError for a hook point that cannot be changed.
    """
    (prompt,) = tokens_of(subject, [work.prompt])
    ids = [*([] if subject.bos is None else [subject.bos]), *prompt.tolist()]
    most = min(work.max_new_tokens, subject.context - len(ids))
    if not len(prompt) or most < 1 or len(prompt) > MOST_TOKENS:
        raise InputError(
            f"The prompt has {len(prompt)} tokens.",
            why=f"It must have one, and leave room for one more in the {min(subject.context, MOST_TOKENS)} that {subject.name} reads.",
            cure="Give another prompt.",
        )
    pairs = len(work.seeds)
    steering = _Steering(dictionary, work, rows=2 * pairs, has_bos=subject.bos is not None)
    draw = _Draw(work.seeds, work.temperature)
    step, special = subject.decoding(), subject.vocabulary.special
    written: list[list[int]] = [[] for _ in range(2 * pairs)]
    open_rows = set(range(2 * pairs))
    tokens = torch.tensor([ids] * (2 * pairs), device=subject.device)
    with ExitStack() as attached:
        for point, change in steering.changes(subject):
            attached.callback(subject.attach(point, change, True))
        for _ in range(most):
            between()
            steering.begin(tokens, is_first=not any(written))
            following = draw(step(tokens))
            for row in sorted(open_rows):
                token = int(following[row])
                if token in special:
                    open_rows.discard(row)
                else:
                    written[row].append(token)
            if not open_rows:
                break
            tokens = following[:, None].to(subject.device)
    continuations = [Continuation(seed, tuple(written[place]), tuple(written[pairs + place])) for place, seed in enumerate(work.seeds)]
    return Steered(tuple(prompt.tolist()), tuple(continuations))


class _Steering:
    """What is added to the second half of the rows, by hook point."""

    def __init__(self, dictionary: Dictionary, work: SteerWork, rows: int, has_bos: bool) -> None:
        self._dictionary, self._rows, self._has_bos = dictionary, rows, has_bos
        self._direction = work.strength * dictionary.W_dec[work.feature]
        self._scale = NORM_SCALES[dictionary.input_norm]
        self._read = 0
        if self._scale is not None and dictionary.output_points != hooks.points_of(dictionary.hook_point):
            raise SubjectError(
                f"{dictionary.name} cannot steer.",
                why=f"The scale of its output is that of its input ({dictionary.input_norm}), which is another hook point's.",
                cure="Steer with a dictionary that writes where it reads.",
            )

    def begin(self, tokens: Tensor, is_first: bool) -> None:
        """Note how many tokens the text has by now."""
        self._read = tokens.shape[1] if is_first else self._read + tokens.shape[1]

    def changes(self, subject: OpenedSubject) -> list[tuple[Point, Callable[[Tensor], Tensor]]]:
        """Return each hook point with its change of a tensor `[B, T, ...]`."""
        found: list[tuple[Point, Callable[[Tensor], Tensor]]] = []
        start = 0
        for name in self._dictionary.output_points:
            (point,) = hooks.parse_all(name, subject.shape)
            if isinstance(point, HookPoint):
                if point.site == "hook_resid_mid":
                    raise SubjectError(
                        f"{point.name} cannot be changed.",
                        why="It is read beside the stream that goes on.",
                        cure="Steer another dictionary.",
                    )
                # The backend may run the model to find them, which must not meet our hooks.
                subject.sites(point.layer)
            width = point.d_in(subject.shape)
            part = self._direction[start : start + width]
            start += width
            found.append((point, self._adding(part, point.columns(subject.shape))))
        return found

    def _adding(self, part: Tensor, columns: slice) -> Callable[[Tensor], Tensor]:
        def change(tensor: Tensor) -> Tensor:
            rows = tensor.reshape(self._rows, -1, *tensor.shape[2:]) if tensor.dim() > 2 else tensor.reshape(self._rows, -1, tensor.shape[-1])
            flat = rows.flatten(2).clone()
            own = flat[self._rows // 2 :, :, columns]
            added = part.to(own.device, own.dtype).expand_as(own)
            if self._scale is not None:
                added = added * self._scale(own.flatten(0, 1).float()).view(*own.shape[:2], 1).to(own.dtype)
            if self._has_bos and own.shape[1] == self._read:
                # A pass over the whole text begins with the BOS, on which attention rests.
                added = added.clone()
                added[:, 0] = 0
            flat[self._rows // 2 :, :, columns] = own + added
            return flat.view(tensor.shape)

        return change


class _Draw:
    """Next tokens by temperature; a seed's two rows take the same random number."""

    def __init__(self, seeds: Sequence[int], temperature: float) -> None:
        self._draws = [np.random.default_rng(seed) for seed in seeds]
        self._temperature = temperature

    def __call__(self, logits: Tensor) -> Tensor:
        """Return tokens int64 [B] for logits [B, V]."""
        logits = logits.float().cpu()
        if not self._temperature:
            return logits.argmax(1)
        sums = (logits / self._temperature).softmax(1).double().cumsum(1)
        numbers = torch.tensor([draw.random() for draw in self._draws] * 2, dtype=torch.float64)[:, None]
        return torch.searchsorted(sums, numbers * sums[:, -1:], right=True).clamp(max=logits.shape[1] - 1)[:, 0]
