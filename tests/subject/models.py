"""Tiny random models of several families, saved as `save_pretrained` writes them."""

from pathlib import Path
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel, GPTNeoXConfig, GPTNeoXForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.models.gemma import GemmaConfig, GemmaForCausalLM

from tests.subject.tokenizers_of import byte_level

WIDTH, LAYERS, CONTEXT = 16, 3, 32


def build(family: str, folder: Path) -> Path:
    """A model whose norm weights and biases are not what they are at the start, so that leaving one out shows."""
    tokenizer = byte_level()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<|bos|>").save_pretrained(folder)
    torch.manual_seed(0)
    model = FAMILIES[family](tokenizer.get_vocab_size())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name or "ln_" in name or name.endswith("bias"):
                parameter.add_(torch.randn_like(parameter) * 0.3)
    model.save_pretrained(folder)
    return folder


def _llama(vocabulary: int) -> Any:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=WIDTH,
            intermediate_size=24,
            num_hidden_layers=LAYERS,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=CONTEXT,
            initializer_range=0.2,
            bos_token_id=0,
        )
    )


def _gemma(vocabulary: int) -> Any:
    return GemmaForCausalLM(
        GemmaConfig(
            vocab_size=vocabulary,
            hidden_size=WIDTH,
            intermediate_size=24,
            num_hidden_layers=LAYERS,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=8,
            max_position_embeddings=CONTEXT,
            initializer_range=0.2,
            bos_token_id=0,
        )
    )


def _gpt2(vocabulary: int) -> Any:
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=vocabulary, n_embd=WIDTH, n_layer=LAYERS, n_head=2, n_positions=CONTEXT, initializer_range=0.2, bos_token_id=0)
    )


def _neox(vocabulary: int) -> Any:
    return GPTNeoXForCausalLM(
        GPTNeoXConfig(
            vocab_size=vocabulary,
            hidden_size=WIDTH,
            intermediate_size=24,
            num_hidden_layers=LAYERS,
            num_attention_heads=2,
            max_position_embeddings=CONTEXT,
            initializer_range=0.2,
            bos_token_id=0,
        )
    )


FAMILIES = {"llama": _llama, "gemma": _gemma, "gpt2": _gpt2, "neox": _neox}
