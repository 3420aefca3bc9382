"""`python -m examples.smollm2.train`: a TopK sparse autoencoder on the middle of SmolLM2's residual stream, saved as SAELens saves it.

TopK (Gao et al., 2406.04093): of each token's feature activations the k largest stay, and features that fell silent learn from the error that the
others leave. The subject is opened, and its text cut into rows, as a job opens and cuts them. Activations are read once and kept in memory
(1.2 kB a token), so time is about equally reading and training. Documents whose hash falls in the lowest tenth are held out; the figures are theirs.
"""

import argparse
import hashlib
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModelForCausalLM

from interp.dictionary.module import Dictionary, open_dictionary
from interp.domain.spec import DictionarySpec, SubjectSpec
from interp.subject.base import Subject, open_subject

HERE = Path(__file__).parent
CONTEXT = 256
ROWS = 16  # read at once
HELD_OUT_SHARE = 0.1
DEAD_AFTER = 40  # steps without firing before the auxiliary loss takes a feature up
AUXILIARY_K = 64
AUXILIARY_WEIGHT = 1 / 32


@dataclass(frozen=True)
class Recipe:
    layer: int
    features: int
    k: int
    tokens: int
    steps: int
    batch: int
    rate: float
    seed: int

    @property
    def hook_point(self) -> str:
        return f"blocks.{self.layer}.hook_resid_post"


def is_held_out(text: str) -> bool:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64 < HELD_OUT_SHARE


def rows(subject: Subject, texts: list[str], count: int, seed: int) -> Tensor:
    """int64 `[rows, CONTEXT]` with about `count` tokens: documents in random order, one after the other, each row led by BOS."""
    chosen: list[np.ndarray] = []
    found = 0
    for document in np.random.default_rng(seed).permutation(len(texts)):
        if found >= count:
            break
        chosen += subject.encode_texts([texts[document]])
        found += len(chosen[-1])
    stream = np.concatenate(chosen)[:count].astype(np.int64)
    body = CONTEXT - 1
    cut = stream[: len(stream) // body * body].reshape(-1, body)
    return torch.from_numpy(np.concatenate([np.full((len(cut), 1), subject.bos or 0), cut], axis=1))


@torch.inference_mode()
def residuals(subject: Subject, cut: Tensor) -> Tensor:
    """bfloat16 `[tokens, D]` at the hook point; BOS is left out, as it is in every statistic."""
    parts = [subject.activations(part)[:, 1:].flatten(0, 1).bfloat16() for part in track(cut.split(ROWS), description="activations")]
    return torch.cat(parts)


class Autoencoder(nn.Module):
    """x [B, D] -> features [B, F] -> x̂ [B, D], with unit-norm decoder rows and the decoder bias taken off the input."""

    def __init__(self, width: int, features: int, mean: Tensor) -> None:
        super().__init__()
        directions = functional.normalize(torch.randn(features, width), dim=1)
        self.W_dec = nn.Parameter(directions)
        self.W_enc = nn.Parameter(directions.T.clone())
        self.b_enc = nn.Parameter(torch.zeros(features))
        self.b_dec = nn.Parameter(mean.clone())

    def pre_activations(self, x: Tensor) -> Tensor:
        return torch.relu((x - self.b_dec) @ self.W_enc + self.b_enc)

    def decode(self, values: Tensor, indices: Tensor) -> Tensor:
        return functional.embedding_bag(indices, self.W_dec, per_sample_weights=values, mode="sum")


def train(recipe: Recipe, x: Tensor) -> tuple[Autoencoder, float]:
    """Return the dictionary of `x · scale`, and the scale, which gives the input a mean norm of sqrt(D)."""
    torch.manual_seed(recipe.seed)
    width = x.shape[1]
    scale = width**0.5 / x[:: max(1, len(x) // 8192)].float().norm(dim=1).median().item()
    autoencoder = Autoencoder(width, recipe.features, (x[: 2**16].float() * scale).median(0).values)
    optimiser = torch.optim.Adam(autoencoder.parameters(), lr=recipe.rate)
    silent = torch.zeros(recipe.features, dtype=torch.int64)
    order = torch.randperm(len(x))
    for step in track(range(recipe.steps), description="dictionary"):
        rate = recipe.rate * min(1.0, (step + 1) / 50, max(0.02, (recipe.steps - step) / (0.3 * recipe.steps)))
        for group in optimiser.param_groups:
            group["lr"] = rate
        places = torch.arange(step * recipe.batch, (step + 1) * recipe.batch) % len(x)
        figures = update(autoencoder, optimiser, x[order[places]].float() * scale, recipe.k, silent)
        if (step + 1) % 25 == 0:
            print(f"step {step + 1}: {figures}, silent {int((silent > DEAD_AFTER).sum())}", flush=True)
    return autoencoder, scale


def update(autoencoder: Autoencoder, optimiser: torch.optim.Optimizer, x: Tensor, k: int, silent: Tensor) -> str:
    """Take one step on `[B, D]`, and return a line of figures."""
    pre = autoencoder.pre_activations(x)
    values, indices = pre.topk(k, dim=1, sorted=False)
    error = x - autoencoder.decode(values, indices) - autoencoder.b_dec
    loss = error.pow(2).sum(1).mean()
    silent += 1
    silent[indices[values > 0]] = 0
    dead = (silent > DEAD_AFTER).nonzero().flatten()
    if len(dead):
        taken, places = pre[:, dead].topk(min(AUXILIARY_K, len(dead)), dim=1, sorted=False)
        loss = loss + AUXILIARY_WEIGHT * (error.detach() - autoencoder.decode(taken, dead[places])).pow(2).sum(1).mean()
    loss.backward()
    nn.utils.clip_grad_norm_(autoencoder.parameters(), 1.0)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    with torch.no_grad():
        autoencoder.W_dec.div_(autoencoder.W_dec.norm(dim=1, keepdim=True))
    return f"FVU {(error.detach().pow(2).sum() / (x - x.mean(0)).pow(2).sum()).item():.4f}"


def save(autoencoder: Autoencoder, scale: float, recipe: Recipe, model: str, target: Path, context: int = CONTEXT) -> None:
    """SAELens' form: `cfg.json` and `sae_weights.safetensors`, with the input scale folded into the biases."""
    target.mkdir(parents=True, exist_ok=True)
    weights = {
        "W_enc": autoencoder.W_enc,
        "b_enc": autoencoder.b_enc / scale,
        "W_dec": autoencoder.W_dec,
        "b_dec": autoencoder.b_dec / scale,
    }
    save_file({name: tensor.detach().contiguous() for name, tensor in weights.items()}, target / "sae_weights.safetensors")
    config = {
        "architecture": "topk",
        "k": recipe.k,
        "d_in": autoencoder.W_enc.shape[0],
        "d_sae": recipe.features,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "rescale_acts_by_decoder_norm": False,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {
            "model_name": model,
            "hook_name": recipe.hook_point,
            "hook_head_index": None,
            "prepend_bos": True,
            "context_size": context,
            "training": {"objective": "TopK"} | asdict(recipe),
        },
    }
    (target / "cfg.json").write_text(json.dumps(config, indent=2) + "\n")


class Splice:
    """A hook on the subject's layer that leaves its output, or puts the reconstruction or zeros in its place; BOS is always left."""

    def __init__(self, dictionary: Dictionary) -> None:
        self.dictionary = dictionary
        self.mode = "leave"
        self.read: list[Tensor] = []
        self.error = 0.0
        self.active = torch.zeros(dictionary.n_features, dtype=torch.int64)

    def __call__(self, _module: Any, _arguments: Any, output: Tensor) -> Tensor | None:
        if self.mode == "leave":
            return None
        x = output[:, 1:].flatten(0, 1)
        put = torch.zeros_like(x)
        if self.mode == "spliced":
            codes = self.dictionary.encode(x)
            put = self.dictionary.decode(codes)
            self.read.append(x)
            self.active += (codes > 0).sum(0)
            self.error += (x - put).double().pow(2).sum().item()
        return torch.cat([output[:, :1], put.view(len(output), -1, output.shape[2])], dim=1)


@torch.inference_mode()
def measure(folder: Path, dictionary: Dictionary, layer: int, cut: Tensor) -> dict[str, float | int]:
    """Held-out figures; losses in nats a token, FVU about the mean of the held-out activations."""
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    splice = Splice(dictionary)
    model.model.layers[layer].register_forward_hook(splice)
    losses = dict.fromkeys(("leave", "spliced", "zeros"), 0.0)
    for batch in track(cut.split(ROWS), description="held-out rows"):
        for splice.mode in losses:
            logits = model(batch[:, :-1]).logits.float()
            losses[splice.mode] += functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten(), reduction="sum").item() / cut[:, 1:].numel()
    x = torch.cat(splice.read).double()
    return {
        "tokens": cut[:, 1:].numel(),
        "l0": splice.active.sum().item() / len(x),
        "fvu": splice.error / (x - x.mean(0)).pow(2).sum().item(),
        "loss": losses["leave"],
        "loss_spliced": losses["spliced"],
        "loss_zeros": losses["zeros"],
        "loss_recovered": (losses["zeros"] - losses["spliced"]) / (losses["zeros"] - losses["leave"]),
        "silent_share": (splice.active == 0).double().mean().item(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subject", type=Path, default=HERE / "subject")
    parser.add_argument("--text", type=Path, default=HERE / "text.jsonl", help="JSON lines with `text`")
    parser.add_argument("--target", type=Path, default=HERE / "dictionary")
    parser.add_argument("--held-out", type=int, default=16_000, help="tokens to measure on")
    for name, value in {"layer": 14, "features": 2304, "k": 32, "tokens": 400_000, "steps": 400, "batch": 2048, "rate": 2e-3, "seed": 0}.items():
        parser.add_argument(f"--{name}", type=type(value), default=value)
    asked = vars(parser.parse_args())
    folder, text, target, held_out = (asked.pop(name) for name in ("subject", "text", "target", "held_out"))
    recipe, started = Recipe(**asked), time.monotonic()
    texts = [json.loads(line)["text"] for line in text.read_text(encoding="utf-8").splitlines()]
    subject = open_subject(SubjectSpec(model=str(folder)), recipe.hook_point)
    cut = rows(subject, [text for text in texts if not is_held_out(text)], recipe.tokens, recipe.seed)
    tested = rows(subject, [text for text in texts if is_held_out(text)], held_out, recipe.seed)
    x = residuals(subject, cut)
    read = time.monotonic()
    autoencoder, scale = train(recipe, x)
    trained = time.monotonic()
    save(autoencoder, scale, recipe, subject.name, target)
    figures = measure(folder, open_dictionary(DictionarySpec(source=str(target))), recipe.layer, tested)
    seconds = {"tokens_a_second": len(x) / (read - started), "read_seconds": read - started, "train_seconds": trained - read}
    print(json.dumps({name: round(value, 4) for name, value in (figures | {"trained_on": len(x)} | seconds).items()}))


if __name__ == "__main__":
    main()
