"""`python -m examples.beliefs.train`: text of a hidden Markov model, a small Llama trained on it, and a TopK dictionary of its residual stream.

All is written under this folder, and the command prints the held-out figures: the loss beside the entropy rate, and how well a linear probe of each
hook point recovers the optimal predictor's belief, beside its nulls. Training text is drawn afresh for each step; the job's text is of other seeds.
"""

import argparse
import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from torch import Tensor
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from examples.beliefs import process
from examples.beliefs.probing import last_two, one_hot, probe_figures, r_squared
from examples.smollm2 import train as dictionaries
from interp.domain.check_report import Figure
from interp.domain.spec import SubjectSpec
from interp.subject.base import open_subject

HERE = Path(__file__).parent
BOS = "<|bos|>"
CONTEXT = 32
LETTERS = CONTEXT - 1  # of a document: one row of the subject
LAYERS, WIDTH = 3, 64
LAYER = 1  # of the dictionary
SUBJECT_SEED, DICTIONARY_SEED, TEXT_SEED = 1, 2, 3
RATE, WARM_UP = 4e-3, 50


@dataclass(frozen=True)
class Sizes:
    """Steps and sequences a step of the subject; documents of the text; sequences and features of the dictionary."""

    steps: int = 400
    batch: int = 256
    documents: int = 4000
    sequences: int = 8000
    features: int = 32
    k: int = 4


def tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE without merges: a letter is a token."""
    vocabulary = {BOS: 0} | {letter: place + 1 for place, letter in enumerate(process.TOKENS)}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    made.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, 0)])
    wrapped = PreTrainedTokenizerFast(tokenizer_object=made, bos_token=BOS, eos_token=BOS, pad_token=BOS)
    wrapped.model_max_length = CONTEXT
    return wrapped


def build(layers: int = LAYERS, width: int = WIDTH) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=1 + len(process.TOKENS),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        bos_token_id=0,
        eos_token_id=0,
    )
    return LlamaForCausalLM(config)


def rows(count: int, seed: int) -> Tensor:
    """Token ids int64 `[count, CONTEXT]`, BOS first."""
    return functional.pad(torch.from_numpy(process.sample(process.mess3(), count, LETTERS, seed)) + 1, (1, 0))


def loss_of(model: Any, batch: Tensor) -> Tensor:
    """Mean cross-entropy in nats a letter over `[B, CONTEXT]` ids."""
    return functional.cross_entropy(model(batch[:, :-1]).logits.flatten(0, 1), batch[:, 1:].flatten())


def batches(sizes: Sizes) -> Iterator[tuple[float, Tensor]]:
    """Each step's learning rate and rows: a linear warm-up, then a cosine to nothing."""
    for step in range(sizes.steps):
        progress = max(0, step - WARM_UP) / max(1, sizes.steps - WARM_UP)
        rate = RATE * min(1.0, (step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * progress))
        # The seeds of steps are apart from those of the other texts.
        yield rate, rows(sizes.batch, 1_000_000 * SUBJECT_SEED + step)


def train_subject(sizes: Sizes, target: Path) -> None:
    """Write the trained model and its tokenizer, and the same model untrained as `untrained` beside it."""
    torch.manual_seed(SUBJECT_SEED)
    model: Any = build()
    for folder in (target, target.with_name("untrained")):
        tokenizer().save_pretrained(folder)
    model.save_pretrained(target.with_name("untrained"))
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.95), weight_decay=0.01)
    for step, (rate, batch) in enumerate(batches(sizes)):
        for group in optimiser.param_groups:
            group["lr"] = rate
        loss = loss_of(model, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        if (step + 1) % 100 == 0:
            print(f"step {step + 1}: {loss.item():.4f} nats", flush=True)
    model.save_pretrained(target)


def write_text(count: int, target: Path) -> None:
    """JSON lines, a sequence a document."""
    sequences = process.sample(process.mess3(), count, LETTERS, TEXT_SEED)
    target.write_text("".join(json.dumps({"text": process.text(sequence)}) + "\n" for sequence in sequences), encoding="utf-8")


def train_dictionary(sizes: Sizes, folder: Path, target: Path, seed: int = DICTIONARY_SEED) -> None:
    recipe = dictionaries.Recipe(LAYER, sizes.features, sizes.k, LETTERS * sizes.sequences, 500, 1024, 4e-3, seed)
    subject = open_subject(SubjectSpec(model=str(folder), device="cpu"), recipe.hook_point)
    x = dictionaries.residuals(subject, rows(sizes.sequences, seed))
    autoencoder, scale = dictionaries.train(recipe, x)
    dictionaries.save(autoencoder, scale, recipe, "mess3", target, CONTEXT)


@torch.inference_mode()
def losses(folder: Path, sequences: np.ndarray) -> dict[str, float]:
    """The subject's loss and the optimal predictor's on the same letters, in nats a letter; the difference with its standard error by sequences."""
    model: Any = LlamaForCausalLM.from_pretrained(folder).eval()
    batch = functional.pad(torch.from_numpy(sequences) + 1, (1, 0))
    logits = model(batch[:, :-1]).logits
    found = functional.cross_entropy(logits.transpose(1, 2), batch[:, 1:], reduction="none").numpy().mean(axis=1)
    best = -np.log(process.beliefs(process.mess3(), sequences)[1]).mean(axis=1)
    low, high = process.entropy_bounds(process.mess3(), 9)
    return {
        "loss": found.mean(),
        "optimal_loss": best.mean(),
        "excess": (found - best).mean(),
        "excess_se": (found - best).std(ddof=1) / len(best) ** 0.5,
        "entropy_rate": (low + high) / 2,
        "token_entropy": math.log(3),
    }


def beliefs_found(target: Path, sequences: np.ndarray) -> dict[str, Figure]:
    """R² of belief by a linear probe of each hook point, of the untrained subject, and of the last tokens alone."""
    truth = process.beliefs(process.mess3(), sequences)[0]
    codes = {"current token": sequences, "last two tokens": last_two(sequences)}
    found = {name: r_squared(one_hot(code), truth) for name, code in codes.items()}
    points = ["blocks.0.hook_resid_pre", *(f"blocks.{layer}.hook_resid_post" for layer in range(LAYERS))]
    for folder in ("subject", "untrained"):
        for point in points:
            found |= {f"{folder}, {point}, {kind}": figure for kind, figure in probe_figures(target / folder, point, sequences).items()}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", type=Path, default=HERE)
    for name, value in vars(Sizes()).items():
        parser.add_argument(f"--{name}", type=int, default=value)
    asked = vars(parser.parse_args())
    target, started = asked.pop("target"), time.process_time()
    run(Sizes(**asked), target)
    print(f"{time.process_time() - started:.0f} seconds of CPU")


def run(sizes: Sizes, target: Path) -> dict[str, float]:
    """Write `text.jsonl`, `subject`, `untrained` and `dictionary` under the target, print the held-out figures and return them."""
    write_text(sizes.documents, target / "text.jsonl")
    train_subject(sizes, target / "subject")
    train_dictionary(sizes, target / "subject", target / "dictionary")
    sequences = process.sample(process.mess3(), 2000, LETTERS, TEXT_SEED + 1)
    figures = losses(target / "subject", sequences)
    for name, value in figures.items():
        print(f"{name}: {value:.5f}")
    for name, figure in beliefs_found(target, sequences).items():
        print(f"R2 of belief, {name}: {figure.value:.4f} ± {figure.standard_error:.4f}")
    return figures


if __name__ == "__main__":
    main()
