"""What this machine has to compute on."""

import gc

import torch


def device_name() -> str:
    """The first GPU's name; `cpu` where there is none."""
    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else "cpu"


def device_memory() -> int | None:
    """Bytes of the first GPU; None where there is none."""
    return int(torch.cuda.get_device_properties(0).total_memory) if torch.cuda.is_available() else None


def give_back_memory() -> None:
    """Frees what let-go models held: modules of torch hold themselves in circles, and its allocator keeps a GPU's memory."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
