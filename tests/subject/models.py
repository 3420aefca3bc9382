"""Tiny random models of several families, saved as `save_pretrained` writes them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import GPT2Config, GPT2LMHeadModel, GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerFast

from tests.subject.tokenizers_of import byte_level

WIDTH, LAYERS, CONTEXT = 16, 3, 32


def build(family: str, folder: Path, **sizes: Any) -> Path:
    """A model whose norm weights and biases are not what they are at the start, so that leaving one out shows; `sizes` are for Llama and its like."""
    tokenizer = byte_level()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<|bos|>").save_pretrained(folder)
    torch.manual_seed(0)
    model = (FAMILIES | MORE)[family](tokenizer.get_vocab_size(), **sizes)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name or "ln_" in name or name.endswith("bias"):
                parameter.add_(torch.randn_like(parameter) * 0.3)
    model.save_pretrained(folder)
    return folder


# Sizes of all; heads of two families are not d_model / heads wide.
SIZES: dict[str, Any] = {
    "hidden_size": WIDTH,
    "intermediate_size": 24,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": CONTEXT,
    "initializer_range": 0.2,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
}


def _gpt2(vocabulary: int) -> Any:
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=vocabulary, n_embd=WIDTH, n_layer=LAYERS, n_head=2, n_positions=CONTEXT, initializer_range=0.2, bos_token_id=0)
    )


def _neox(vocabulary: int) -> Any:
    sizes = {name: size for name, size in SIZES.items() if name != "num_key_value_heads"}
    return GPTNeoXForCausalLM(GPTNeoXConfig(vocab_size=vocabulary, **sizes))


def _like(model: str, config: str | None = None, **settings: Any) -> Callable[..., Any]:
    """A family that takes the sizes by Llama's names."""
    return lambda vocabulary, **sizes: getattr(transformers, f"{model}ForCausalLM")(
        getattr(transformers, f"{config or model}Config")(vocab_size=vocabulary, **(SIZES | settings | sizes))
    )


FAMILIES = {"llama": _like("Llama"), "gemma": _like("Gemma", head_dim=8), "gpt2": _gpt2, "neox": _neox}
# Families that the tests of all sites open too.
MORE = {
    "mistral": _like("Mistral"),
    "gemma2": _like("Gemma2", head_dim=10),
    "gemma3": _like("Gemma3", "Gemma3Text", head_dim=10),
    "qwen2": _like("Qwen2"),
    "qwen3": _like("Qwen3", head_dim=10),
    "olmo": _like("Olmo"),
    "olmo2": _like("Olmo2"),
    "olmo3": _like("Olmo3"),
    "phi": _like("Phi", partial_rotary_factor=0.5),
    "phi3": _like("Phi3"),
    "granite": _like("Granite", residual_multiplier=0.25),
    "cohere": _like("Cohere"),
}
