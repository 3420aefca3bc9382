"""`python -m examples.pystdlib.measure [--json]`: the held-out figures of the subject and the dictionary, measured afresh.

Both are opened by the code that opens any user's model and dictionary; the yardstick trigram is trained on the train files on the way.
"""

import argparse
import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional
from transformers import AutoModelForCausalLM

from examples.pystdlib.data import BOS, HERE, rows, token_stream
from examples.pystdlib.trigram import Trigram
from interp.dictionary.module import Dictionary, open_dictionary
from interp.domain.spec import DictionarySpec

CONTEXT = 256
BATCH = 32


@dataclass(frozen=True)
class Figures:
    """All on held-out files. Losses in nats a token; the trigram and the subject predict the same tokens."""

    train_tokens: int
    held_out_tokens: int
    trigram_loss: float
    subject_loss: float
    gain_over_trigram: float
    spliced_loss: float
    zero_ablation_loss: float
    loss_recovered: float
    fvu: float
    l0: float
    dead_share: float


class Splice:
    """A hook on the subject's layer that leaves its output, or puts the dictionary's reconstruction or zeros in its place."""

    def __init__(self, dictionary: Dictionary) -> None:
        self.dictionary = dictionary
        self.mode = "leave"
        self.tokens = 0
        self.active = torch.zeros(dictionary.n_features, dtype=torch.int64)
        self.error = 0.0
        self.sums = torch.zeros(dictionary.d_in, dtype=torch.float64)
        self.squares = 0.0

    def __call__(self, _module: Any, _arguments: Any, output: Tensor) -> Tensor | None:
        if self.mode == "zero":
            # BOS is left: the dictionary never reads it, and neither figure should pay for it.
            return torch.cat([output[:, :1], torch.zeros_like(output[:, 1:])], dim=1)
        if self.mode == "splice":
            x = output[:, 1:].flatten(0, 1)
            codes = self.dictionary.encode(x)
            reconstruction = self.dictionary.decode(codes)
            self._count(x, codes, reconstruction)
            return torch.cat([output[:, :1], reconstruction.view_as(output[:, 1:])], dim=1)
        return None

    def _count(self, x: Tensor, codes: Tensor, reconstruction: Tensor) -> None:
        self.tokens += len(x)
        self.active += (codes > 0).sum(0)
        self.error += (x - reconstruction).double().pow(2).sum().item()
        self.sums += x.double().sum(0)
        self.squares += x.double().pow(2).sum().item()

    def fvu(self) -> float:
        """Residual sum of squares over the sum of squares about the mean."""
        return self.error / (self.squares - self.sums.pow(2).sum().item() / self.tokens)


@torch.inference_mode()
def losses(model: Any, batch: Tensor) -> tuple[float, int]:
    """Summed cross-entropy in nats and the number of targets over `[B, T]` ids; BOS is never a target."""
    logits = model(batch[:, :-1]).logits
    targets = batch[:, 1:].clone()
    targets[targets == 0] = -100
    total = functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="sum")
    return total.item(), int((targets != -100).sum())


def measure(limit: int | None) -> Figures:
    tokenizer = Tokenizer.from_file(str(HERE / "subject" / "tokenizer.json"))
    bos = tokenizer.token_to_id(BOS)
    train, held_out = token_stream(tokenizer, held_out=False), token_stream(tokenizer, held_out=True)
    cut = rows(held_out, CONTEXT, bos=bos)[:limit]

    # The same tokens as the subject's rows.
    stream = held_out[: len(cut) * (CONTEXT - 1)].astype(np.int64)
    log_probabilities = Trigram(train.astype(np.int64), tokenizer.get_vocab_size()).log_probabilities(stream)
    asked = stream != bos
    trigram = -float(log_probabilities[asked[2:]].mean())

    model = AutoModelForCausalLM.from_pretrained(HERE / "subject", dtype=torch.float32).eval()
    dictionary = open_dictionary(DictionarySpec(source=str(HERE / "dictionary")))
    splice = Splice(dictionary)
    layer = int(dictionary.hook_point.split(".")[1])
    model.model.layers[layer].register_forward_hook(splice)
    totals = dict.fromkeys(("leave", "splice", "zero"), 0.0)
    targets = 0
    batches = torch.from_numpy(cut).split(BATCH)
    for batch in track(batches, description="held-out rows", console=Console(stderr=True)):
        for mode in totals:
            splice.mode = mode
            total, count = losses(model, batch)
            totals[mode] += total
        targets += count
    clean, spliced, ablated = (totals[mode] / targets for mode in ("leave", "splice", "zero"))
    return Figures(
        train_tokens=len(train),
        held_out_tokens=targets,
        trigram_loss=trigram,
        subject_loss=clean,
        gain_over_trigram=trigram - clean,
        spliced_loss=spliced,
        zero_ablation_loss=ablated,
        loss_recovered=(ablated - spliced) / (ablated - clean),
        fvu=splice.fvu(),
        l0=splice.active.sum().item() / splice.tokens,
        dead_share=(splice.active == 0).float().mean().item(),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=None, help="held-out rows of 256 tokens to use (all by default)")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    figures = asdict(measure(arguments.rows))
    if arguments.json:
        print(json.dumps(figures))
        return
    table = Table("figure", "held-out value", title="examples/pystdlib")
    for name, value in figures.items():
        table.add_row(name.replace("_", " "), f"{value:,}" if isinstance(value, int) else f"{value:.4f}")
    Console().print(table)


if __name__ == "__main__":
    main()
