"""`python -m examples.superposition.train`: a toy model of superposition as a subject, text of its tokens, and dictionaries of its embedding.

All is written under this folder. A token stands for a few features that are on, and its embedding is the sum of their directions. The subject's one
layer adds nothing, so that the residual stream after it is the embedding. `truth.npy` holds the features' directions, as a dictionary of directions.
Three dictionaries are trained, `topk-2`, `topk-3` and `topk-6`. One is put together from the truth, `planted`: it has each feature, and each pair's
sum as one more.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from examples.smollm2 import train as dictionaries
from examples.superposition.world import World, embed, tokens
from interp.domain.spec import SubjectSpec
from interp.subject.base import open_subject

HERE = Path(__file__).parent
BOS = "<|bos|>"
HOOK_POINT = "blocks.0.hook_resid_post"
CONTEXT = 32
LETTERS = CONTEXT - 1  # tokens of a document: one row of the subject
VOCABULARY = 4000
DOCUMENTS = 8000
BATCH, RATE = 1024, 4e-3
# k, features and steps of the trained dictionaries.
TRAINED = {"topk-2": (2, 128, 2000), "topk-3": (3, 80, 600), "topk-6": (6, 80, 600)}
THRESHOLD = 0.35  # of the planted one, below the weakest strength


def tokenizer(names: list[str]) -> PreTrainedTokenizerFast:
    """Whole words with their leading space; token i + 1 is ` names[i]`."""
    made = Tokenizer(models.WordLevel({BOS: 0} | {f"Ġ{name}": place + 1 for place, name in enumerate(names)}, unk_token=BOS))
    split = pre_tokenizers.Split(" ", behavior="merged_with_next")
    made.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    made.decoder = decoders.ByteLevel()
    made.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, 0)])
    wrapped = PreTrainedTokenizerFast(tokenizer_object=made, bos_token=BOS, eos_token=BOS, unk_token=BOS, pad_token=BOS)
    wrapped.model_max_length = CONTEXT
    return wrapped


def write_subject(names: list[str], embedding: Tensor, target: Path) -> None:
    """A Llama of one layer whose blocks write zeros, with the embedding float32 `[V, D]` of the tokens after BOS."""
    count, width = embedding.shape
    config = LlamaConfig(
        vocab_size=count + 1,
        hidden_size=width,
        intermediate_size=width,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        model.model.embed_tokens.weight.copy_(torch.cat([torch.zeros(1, width), embedding]))
        for part in (model.model.layers[0].self_attn.o_proj, model.model.layers[0].mlp.down_proj):
            part.weight.zero_()
    model.save_pretrained(target)
    tokenizer(names).save_pretrained(target)


def documents(names: list[str], count: int, seed: int) -> list[str]:
    """Texts of `LETTERS` tokens each, drawn alike."""
    drawn = np.random.default_rng(seed).integers(0, len(names), (count, LETTERS))
    return ["".join(f" {names[token]}" for token in row) for row in drawn]


def write_planted(world: World, strengths: np.ndarray, directions: np.ndarray, target: Path) -> None:
    """A JumpReLU dictionary in SAELens' form of all features and of each pair's sum; encoders are least squares on the tokens.

    Its sums fire beside their parts, so that it has what the report looks for; a good reconstruction it is not.
    """
    target.mkdir(parents=True, exist_ok=True)
    firsts, seconds = np.array(world.composites).T
    x = np.concatenate([strengths @ directions, np.ones((len(strengths), 1), np.float32)], axis=1)
    wanted = np.concatenate([strengths, np.minimum(strengths[:, firsts], strengths[:, seconds])], axis=1)
    weights = np.linalg.lstsq(x, wanted, rcond=None)[0].astype(np.float32)
    tensors = {
        "W_enc": weights[:-1],
        "b_enc": weights[-1],
        "W_dec": np.concatenate([directions, directions[firsts] + directions[seconds]]),
        "b_dec": np.zeros(world.width, np.float32),
        "threshold": np.full(wanted.shape[1], THRESHOLD, np.float32),
    }
    save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, target / "sae_weights.safetensors")
    config = {"architecture": "jumprelu", "d_in": world.width, "d_sae": wanted.shape[1], "dtype": "float32", "apply_b_dec_to_input": False}
    metadata = {"hook_name": HOOK_POINT, "model_name": "superposition", "hook_head_index": None, "prepend_bos": True}
    (target / "cfg.json").write_text(json.dumps(config | {"normalize_activations": "none", "metadata": metadata}, indent=2) + "\n")


def run(world: World, target: Path, count: int = DOCUMENTS) -> None:
    """Write `text.jsonl`, `subject`, `truth.npy` and the dictionaries under the target."""
    names, strengths = tokens(world, VOCABULARY)
    directions = embed(world)
    write_subject(names, torch.from_numpy(strengths) @ directions, target / "subject")
    np.save(target / "truth.npy", directions.numpy())
    texts = documents(names, count, world.seed + 2)
    (target / "text.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    write_planted(world, strengths, directions.numpy(), target / "planted")
    subject = open_subject(SubjectSpec(model=str(target / "subject"), device="cpu"), HOOK_POINT)
    rows = np.stack(subject.encode_texts(documents(names, count, world.seed + 3))).astype(np.int64)
    x = dictionaries.residuals(subject, torch.nn.functional.pad(torch.from_numpy(rows), (1, 0)))
    for name, (k, features, steps) in TRAINED.items():
        recipe = dictionaries.Recipe(0, features, k, len(x), steps, BATCH, RATE, world.seed)
        autoencoder, scale = dictionaries.train(recipe, x)
        dictionaries.save(autoencoder, scale, recipe, "superposition", target / name, CONTEXT)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", type=Path, default=HERE)
    target, started = parser.parse_args().target, time.process_time()
    run(World(), target)
    print(f"{time.process_time() - started:.0f} seconds of CPU")


if __name__ == "__main__":
    main()
