"""A job that takes seconds: a random two-layer Llama, a random dictionary of 32 features, some hundred generated documents."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np

from interp.domain.spec import CollectionSpec, CorpusSpec, DictionarySpec, JobSpec, ScorerSpec, SplitCounts, SubjectSpec

WIDTH, LAYERS, FEATURES = 32, 2, 32
HOOK_POINT = "blocks.1.hook_resid_pre"
DOCUMENTS = 200
WORDS = ["def", "return", "self", "None", "if", "else", "for", "in", "while", "class", "import", "from", "print", "value", "index", "name", "list"]
COUNTS = SplitCounts(top=4, uniform=4, weighted=4, inactive=6, near_miss=2)


def build(folder: Path) -> JobSpec:
    """Writes subject, dictionary and corpus under the folder, the same every time, and gives a job on them."""
    texts = some_texts()
    (folder / "corpus.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    write_subject(folder / "subject", texts)
    write_dictionary(folder / "dictionary", WIDTH, FEATURES)
    return JobSpec(
        subject=SubjectSpec(model=str(folder / "subject"), device="cpu", backend="huggingface"),
        dictionary=DictionarySpec(source=str(folder / "dictionary"), name="tiny@1-res"),
        corpus=CorpusSpec(path=str(folder / "corpus.jsonl")),
        collection=CollectionSpec(
            row_tokens=64, window=16, explain=COUNTS, test=COUNTS, batch_tokens=256, shard_tokens=4096, output_tokens=3, firing_level="zero"
        ),
        scorers=(ScorerSpec(name="detection", nulls=5), ScorerSpec(name="simulation", nulls=5)),
        seed=7,
    )


def write_subject(folder: Path, texts: list[str], width: int = WIDTH, layers: int = LAYERS) -> None:
    """A Llama with random weights and a byte-level tokenizer of its own, as `save_pretrained` writes them."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=320, special_tokens=["<s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>").save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=64,
        bos_token_id=0,
        initializer_range=0.2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)


def write_dictionary(folder: Path, width: int, features: int, **changes: Any) -> None:
    """A ReLU dictionary in SAELens' form whose features fire at some tokens in a hundred; `changes` replaces tensors."""
    from safetensors.numpy import save_file

    draw = np.random.default_rng(1)
    decoder = draw.standard_normal((features, width)).astype(np.float32)
    decoder /= np.linalg.norm(decoder, axis=1, keepdims=True)
    tensors = {
        "W_enc": np.ascontiguousarray(decoder.T),
        "b_enc": np.full(features, -1.5, dtype=np.float32),
        "W_dec": decoder,
        "b_dec": np.zeros(width, dtype=np.float32),
    } | changes
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "sae_weights.safetensors")
    metadata = {"hook_name": HOOK_POINT, "model_name": "tiny"}
    config = {"architecture": "standard", "d_in": width, "d_sae": features, "dtype": "float32", "apply_b_dec_to_input": False}
    (folder / "cfg.json").write_text(json.dumps(config | {"normalize_activations": "none", "metadata": metadata}))


def some_texts() -> list[str]:
    draw = random.Random(0)
    return [" ".join(draw.choice(WORDS) + draw.choice(["", "", "(", ".", ":\n    "]) for _ in range(draw.randint(30, 90))) for _ in range(DOCUMENTS)]
