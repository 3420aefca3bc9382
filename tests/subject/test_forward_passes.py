"""Memory that runs out costs time, never the work or its result."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from interp.collect.run import collect
from interp.domain.errors import SubjectError
from interp.domain.spec import CollectionSpec
from interp.subject.forward_passes import ForwardPasses
from tests.collect.fakes import FakeSubject, make_corpus, make_dictionary

ERRORS: list[Exception] = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] data. DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."),
    MemoryError(),
]


class Small(FakeSubject):
    """A subject that runs out of memory above some rows, and notes how many each pass had."""

    def __init__(self, rows: int, error: Exception) -> None:
        super().__init__()
        self.rows, self.error, self.passes = rows, error, []

    def activations(self, tokens: Tensor) -> Tensor:
        self.passes.append(len(tokens))
        if len(tokens) > self.rows:
            raise self.error
        return super().activations(tokens)


@pytest.mark.parametrize("error", ERRORS, ids=["cuda", "cpu", "python"])
def test_rows_are_halved_until_they_fit_and_stay_so(error: Exception) -> None:
    subject = Small(3, error)
    passes, tokens = ForwardPasses(subject), torch.arange(160).reshape(10, 16) % 60
    assert torch.equal(passes.activations(tokens), FakeSubject().activations(tokens))
    assert torch.equal(passes.activations(tokens[:7]), FakeSubject().activations(tokens[:7]))
    assert subject.passes == [10, 5, *[2] * 5, 2, 2, 2, 1]


def test_evidence_does_not_depend_on_it() -> None:
    def evidence(subject: FakeSubject) -> Any:
        corpus, spec = make_corpus([100] * 4), CollectionSpec(row_tokens=32, window=8, batch_tokens=512)
        return collect(subject, make_dictionary(24), corpus, (0, 4), spec, 0, np.arange(24), lambda _: None)

    small = Small(1, ERRORS[0])
    one, other = evidence(small), evidence(FakeSubject())
    assert max(small.passes) > 1
    np.testing.assert_array_equal(one.histogram, other.histogram)
    for kind, values in one.activations.items():
        np.testing.assert_array_equal(values, other.activations[kind])


def test_a_row_that_does_not_fit_and_other_errors() -> None:
    tokens = torch.zeros(4, 16, dtype=torch.int64)
    with pytest.raises(SubjectError, match="A row of 16 tokens does not fit"):
        ForwardPasses(Small(0, ERRORS[0])).activations(tokens)
    with pytest.raises(RuntimeError, match="shapes"):
        ForwardPasses(Small(0, RuntimeError("shapes cannot be multiplied"))).activations(tokens)
