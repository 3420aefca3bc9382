"""Interface of the language model under study, opened at its hook points by a backend."""

import logging
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from interp.domain.errors import StreamDiffersError, SubjectError
from interp.domain.spec import SubjectSpec
from interp.domain.vocabulary import Vocabulary
from interp.observability.import_time import without_collecting
from interp.subject.location import read_config
from interp.subject.served import backend_for

if TYPE_CHECKING:
    import torch


class Subject(Protocol):
    """A model that gives activations `[B, T, D]` at its hook points.

    `hook_point` is one name, or several joined by `+`. D is `d_in`, the size that a dictionary reads there; V is the size of the vocabulary; `nbytes`
    are the bytes of the weights on the device.
    """

    name: str
    digest: str
    hook_point: str
    d_in: int
    context: int
    bos: int | None
    vocabulary: Vocabulary
    device: "torch.device"
    nbytes: int
    config: dict[str, Any]

    def activations(self, tokens: "torch.Tensor") -> "torch.Tensor":
        """Return `[B, T, D]` for tokens int64 `[B, T]`, stopping at the last hook point.

        Of several hook points the activations of one pass are concatenated, in the order of `hook_point`. The dtype is the subject's. Tokens are
        padded on the right: values there are arbitrary, and others do not depend on them (causal attention).
        """
        ...

    def at(self, hook_point: str) -> "Subject":
        """Return the same model, reading some of the hook points that it was opened at."""
        ...

    def part(self, x: "torch.Tensor", hook_point: str) -> "torch.Tensor":
        """Return what some of its hook points hold, of activations `[N, D]` of all."""
        ...

    def output_directions(self, hook_point: str) -> "torch.Tensor":
        """Return float32 `[D, V]`: the effect of a hook point's axes on logits (direct path).

        The final norm's weight is folded into the unembedding, its scale left out. Axes inside an attention or MLP block go through that block's
        output matrix first (logit lens, nostalgebraist 2020; direct logit attribution, Elhage et al. 2021).
        """
        ...

    def encode_texts(self, texts: Sequence[str]) -> list[NDArray[np.uint32]]:
        """Return the token ids of each text; special tokens are neither added nor recognised."""
        ...


LOG = logging.getLogger(__name__)
# The modules of the backends, imported when needed: transformer_lens takes seconds.
BACKENDS = {"bridge": "interp.subject.bridge", "huggingface": "interp.subject.huggingface"}


def open_subject(spec: SubjectSpec, hook_point: str) -> Subject:
    """Open the subject; raises SubjectError, HookPointUnknownError, TokenizerMismatchError and FileMissingError.

    Where the Bridge reads a stream other than the model's own, the backend `huggingface` is used; `config["backend_reason"]` says why.
    """
    if spec.backend != "auto" and spec.backend not in BACKENDS:
        raise SubjectError(f"{spec.backend!r} is no backend.", cure=f"Known: auto, {', '.join(sorted(BACKENDS))}.")
    backend = backend_for(spec, read_config(spec), hook_point)
    spec = spec.model_copy(update={"backend": backend})
    try:
        return _opener(backend)(spec, hook_point)
    except StreamDiffersError as differs:
        found = _opener("huggingface")(spec, hook_point)
        found.config |= {"backend": "huggingface", "backend_reason": f"{differs.what} {differs.why}"}
        LOG.warning("%s", found.config["backend_reason"])
        return found


def _opener(backend: str) -> Callable[[SubjectSpec, str], Subject]:
    with without_collecting():
        opener: Callable[[SubjectSpec, str], Subject] = import_module(BACKENDS[backend]).open_at
    return opener
