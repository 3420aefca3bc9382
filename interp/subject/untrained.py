"""A subject that has learned nothing: the control that asks what a dictionary's labels owe to the text alone."""

import zlib
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM

from interp.domain.spec import SubjectSpec

SEED = 0


def untrained(spec: SubjectSpec, dtype: torch.dtype) -> Any:
    """The subject as transformers opens it, on the CPU, its weights forgotten. Raises what `from_pretrained` raises."""
    model = AutoModelForCausalLM.from_pretrained(spec.model, revision=spec.revision, dtype=dtype, trust_remote_code=False)
    forget(model)
    return model


@torch.no_grad()
def forget(model: nn.Module, seed: int = SEED) -> None:
    """Draws every parameter anew, in place, from a normal distribution with that parameter's own mean and standard deviation.

    Fresh weights of the usual scale would leave the residual stream so small that a trained dictionary never fires; with each matrix's own moments it
    does. A parameter's draw depends on its name and `seed` alone, and tied parameters stay tied. Source: the re-randomised control of Heap et al.,
    Sparse autoencoders can interpret randomly initialized transformers (arXiv 2501.17727), embeddings included.
    """
    for name, parameter in model.named_parameters():
        if parameter.is_floating_point():
            generator = torch.Generator().manual_seed(zlib.crc32(name.encode()) + (seed << 32))
            trained = parameter.float()
            drawn = torch.randn(parameter.shape, generator=generator) * float(trained.std(correction=0)) + float(trained.mean())
            parameter.copy_(drawn)
