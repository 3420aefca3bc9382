"""Forward passes over a batch: half as many rows at once whenever memory runs out."""

import logging

import torch
from torch import Tensor

from interp.domain.errors import SubjectError
from interp.subject.base import Subject
from interp.subject.loaded import give_back_memory

LOG = logging.getLogger(__name__)


class ForwardPasses:
    """A subject's activations, in as many forward passes as memory asks for.

    A number of rows that was too many is not tried again.
    """

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._most: int | None = None

    def activations(self, tokens: Tensor) -> Tensor:
        """Return the subject's activations `[B, T, D]`; raises SubjectError if one row is too many."""
        while True:
            rows = min(self._most or len(tokens), len(tokens))
            found = self._in_passes(tokens, rows)
            if found is not None:
                return found
            # After the error, whose traceback held the tensors of the forward pass.
            give_back_memory()
            if rows == 1:
                raise SubjectError(
                    f"A row of {tokens.shape[1]} tokens does not fit into memory beside {self._subject.name}.",
                    cure="Set collection.row_tokens to less, or the subject's dtype to bfloat16, or use a worker with more memory.",
                )
            self._most = rows // 2
            LOG.warning("%s: out of memory at %d rows of %d tokens; going on with %d at once.", self._subject.name, rows, tokens.shape[1], self._most)

    def _in_passes(self, tokens: Tensor, rows: int) -> Tensor | None:
        """Return the activations by `rows` rows a pass; None if memory ran out."""
        try:
            parts = [self._subject.activations(part) for part in torch.split(tokens, rows)]
            return parts[0] if len(parts) == 1 else torch.cat(parts)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return None


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory ran out; on the CPU torch raises a plain RuntimeError."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in str(error)
