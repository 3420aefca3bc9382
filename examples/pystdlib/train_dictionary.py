"""`python -m examples.pystdlib.train_dictionary`: a BatchTopK sparse autoencoder on the subject's middle layer, saved as SAELens saves it.

BatchTopK (Bussmann et al., 2412.06410): over a batch of B tokens the B·k largest activations stay. At inference that is a JumpReLU with one
threshold, the running mean of the smallest activation that stayed, and as such it is written.
"""

import argparse
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import LlamaForCausalLM

from examples.pystdlib.data import BOS, HERE, rows, token_stream

LAYER = 1
HOOK_POINT = f"blocks.{LAYER}.hook_resid_post"
CONTEXT = 256
BATCH = 4096
BUFFER_ROWS = 512
THRESHOLD_SAMPLE = 256
DEAD_AFTER = 150  # steps without firing before the auxiliary loss takes a feature up
AUXILIARY_K = 128
AUXILIARY_WEIGHT = 1 / 32


@dataclass(frozen=True)
class Recipe:
    features: int
    k: int
    steps: int
    rate: float
    seed: int


class Autoencoder(nn.Module):
    """x [B, D] -> features [B, F] -> x̂ [B, D], with unit-norm decoder rows and the decoder bias taken off the input."""

    def __init__(self, width: int, features: int) -> None:
        super().__init__()
        directions = nn.functional.normalize(torch.randn(features, width), dim=1)
        self.W_dec = nn.Parameter(directions)
        self.W_enc = nn.Parameter(directions.T.clone())
        self.b_enc = nn.Parameter(torch.zeros(features))
        self.b_dec = nn.Parameter(torch.zeros(width))

    def pre_activations(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            product = (x - self.b_dec) @ self.W_enc
        return torch.relu(product.float() + self.b_enc)

    @torch.no_grad()
    def normalise_decoder(self) -> None:
        self.W_dec.div_(self.W_dec.norm(dim=1, keepdim=True))


def truncated(folder: Path) -> LlamaForCausalLM:
    """The subject cut after LAYER, so that its last hidden state is the residual stream at the hook point."""
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model.model.layers = model.model.layers[: LAYER + 1]
    model.model.norm = nn.Identity()
    return model.eval()


@torch.inference_mode()
def residuals(model: LlamaForCausalLM, batch: Tensor) -> Tensor:
    """`[B, T]` ids -> float32 `[B·(T-1), D]`; the BOS position is left out, as it is in every statistic."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = model.model(batch).last_hidden_state
    return hidden[:, 1:].float().flatten(0, 1)


def shuffled_residuals(model: LlamaForCausalLM, cut: np.ndarray, generator: torch.Generator) -> Iterator[Tensor]:
    """Batches `[BATCH, D]` without end: rows in random order, tokens mixed within a buffer of rows."""
    while True:
        order = torch.randperm(len(cut), generator=generator).numpy()
        for first in range(0, len(order) - BUFFER_ROWS + 1, BUFFER_ROWS):
            chosen = torch.from_numpy(cut[order[first : first + BUFFER_ROWS]])
            buffer = torch.cat([residuals(model, part) for part in chosen.split(32)]).clone()
            mixed = buffer[torch.randperm(len(buffer), generator=generator)]
            yield from mixed[: len(mixed) // BATCH * BATCH].split(BATCH)


def train(recipe: Recipe, subject: Path, target: Path) -> None:
    torch.manual_seed(recipe.seed)
    generator = torch.Generator().manual_seed(recipe.seed)
    model = truncated(subject)
    bos = Tokenizer.from_file(str(subject / "tokenizer.json")).token_to_id(BOS)
    stream = token_stream(Tokenizer.from_file(str(subject / "tokenizer.json")), held_out=False)
    cut = rows(stream, CONTEXT, bos=bos)

    first = torch.cat([residuals(model, part) for part in torch.from_numpy(cut[:: len(cut) // 256]).split(32)]).clone()
    scale = math.sqrt(first.shape[1]) / first.norm(dim=1).mean().item()  # mean norm becomes sqrt(D), folded back on saving
    autoencoder = Autoencoder(first.shape[1], recipe.features)
    with torch.no_grad():
        autoencoder.b_dec.copy_(first.mean(0) * scale)
    optimiser = torch.optim.Adam(autoencoder.parameters(), lr=recipe.rate, betas=(0.9, 0.999))
    silent = torch.zeros(recipe.features, dtype=torch.int64)
    threshold = 0.0
    batches = shuffled_residuals(model, cut, generator)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"), TimeRemainingColumn())
    with Progress(*columns) as progress:
        for step in progress.track(range(recipe.steps), description="dictionary"):
            rate = recipe.rate * min(1.0, (step + 1) / 100, max(0.02, (recipe.steps - step) / (0.3 * recipe.steps)))
            for group in optimiser.param_groups:
                group["lr"] = rate
            threshold, report = update(autoencoder, optimiser, next(batches) * scale, recipe.k, silent, threshold)
            if (step + 1) % 100 == 0:
                progress.print(f"step {step + 1}: {report}, silent {int((silent > DEAD_AFTER).sum())}")
    save(autoencoder, scale, threshold, recipe, target)


def reconstruct(autoencoder: Autoencoder, x: Tensor, cut: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`[B, D]` -> (x̂ `[B, D]`, whether each feature fired `[F]`, mean L0): compiled, for its elementwise passes cost more than its products."""
    pre = autoencoder.pre_activations(x)
    stays = pre > cut
    kept = pre * stays
    with torch.autocast("cpu", dtype=torch.bfloat16):
        product = kept @ autoencoder.W_dec
    return product.float() + autoencoder.b_dec, stays.any(0), stays.sum() / len(x)


compiled_reconstruct = torch.compile(reconstruct)


@torch.no_grad()
def batch_threshold(autoencoder: Autoencoder, x: Tensor, k: int) -> Tensor:
    """The activation that k features a token pass, from a sample of the batch: exact top-k over B·F numbers would cost more than the step."""
    sample = autoencoder.pre_activations(x[:THRESHOLD_SAMPLE]).flatten()
    return sample.topk(THRESHOLD_SAMPLE * k).values[-1]


def update(autoencoder: Autoencoder, optimiser: torch.optim.Optimizer, x: Tensor, k: int, silent: Tensor, threshold: float) -> tuple[float, str]:
    """One step on `[B, D]`; returns the running threshold and a line of figures."""
    cut = batch_threshold(autoencoder, x, k)
    reconstruction, fired, active = compiled_reconstruct(autoencoder, x, cut)
    error = x - reconstruction
    loss = error.pow(2).sum(1).mean()
    silent += 1
    silent[fired] = 0
    dead = (silent > DEAD_AFTER).nonzero().flatten()
    if len(dead):
        loss = loss + AUXILIARY_WEIGHT * auxiliary_loss(autoencoder, x, error.detach(), dead)
    loss.backward()
    nn.utils.clip_grad_norm_(autoencoder.parameters(), 1.0)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    autoencoder.normalise_decoder()
    unexplained = (error.detach().pow(2).sum() / (x - x.mean(0)).pow(2).sum()).item()
    kept = cut.item() if threshold == 0.0 else 0.99 * threshold + 0.01 * cut.item()
    return kept, f"FVU {unexplained:.4f}, L0 {active.item():.1f}"


def auxiliary_loss(autoencoder: Autoencoder, x: Tensor, error: Tensor, dead: Tensor) -> Tensor:
    """The silent features' own reconstruction of what the others leave (Gao et al., 2406.04093, appendix A.2)."""
    candidates = torch.relu((x - autoencoder.b_dec) @ autoencoder.W_enc[:, dead] + autoencoder.b_enc[dead])
    values, indices = candidates.topk(min(AUXILIARY_K, len(dead)), dim=1)
    codes = torch.zeros_like(candidates).scatter(1, indices, values)
    return (error - codes @ autoencoder.W_dec[dead]).pow(2).sum(1).mean()


def save(autoencoder: Autoencoder, scale: float, threshold: float, recipe: Recipe, target: Path) -> None:
    """SAELens' form: `cfg.json` and `sae_weights.safetensors`, fp16, with the input scale folded into the biases."""
    target.mkdir(parents=True, exist_ok=True)
    weights = {
        "W_enc": autoencoder.W_enc,
        "b_enc": autoencoder.b_enc / scale,
        "W_dec": autoencoder.W_dec,
        "b_dec": autoencoder.b_dec / scale,
        "threshold": torch.full((recipe.features,), threshold / scale),
    }
    save_file({name: tensor.detach().to(torch.float16).contiguous() for name, tensor in weights.items()}, target / "sae_weights.safetensors")
    config = {
        "architecture": "jumprelu",
        "d_in": autoencoder.W_enc.shape[0],
        "d_sae": recipe.features,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {
            "model_name": "pystdlib",
            "hook_name": HOOK_POINT,
            "hook_head_index": None,
            "prepend_bos": True,
            "context_size": CONTEXT,
            "training": {"objective": "BatchTopK", "k": recipe.k, "steps": recipe.steps, "batch": BATCH, "rate": recipe.rate, "seed": recipe.seed},
        },
    }
    (target / "cfg.json").write_text(json.dumps(config, indent=2) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--features", type=int, default=3072)
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--steps", type=int, default=1400)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    train(Recipe(**vars(parser.parse_args())), HERE / "subject", HERE / "dictionary")
