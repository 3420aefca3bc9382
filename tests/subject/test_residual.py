"""A hook point's name means one tensor, whatever the backend: what attention and MLP write sums up to the stream, or the name is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    Olmo2Config,
    Olmo2ForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedTokenizerFast,
)

from interp.domain.errors import HookPointUnknownError, SubjectError
from interp.domain.spec import SubjectSpec
from interp.subject.base import open_subject
from interp.subject.residual import matching
from tests.subject import models
from tests.subject.tokenizers_of import byte_level

SITES = ("hook_resid_pre", "hook_attn_out", "hook_resid_mid", "hook_mlp_out", "hook_resid_post")
COMMON: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
}
FAMILIES: dict[str, Any] = {
    "olmo2": lambda vocabulary: Olmo2ForCausalLM(Olmo2Config(vocab_size=vocabulary, **COMMON)),
    "granite": lambda vocabulary: GraniteForCausalLM(GraniteConfig(vocab_size=vocabulary, **COMMON, residual_multiplier=0.25)),
    "cohere": lambda vocabulary: CohereForCausalLM(CohereConfig(vocab_size=vocabulary, **COMMON)),
    "opt": lambda vocabulary: OPTForCausalLM(
        OPTConfig(
            vocab_size=vocabulary,
            hidden_size=16,
            ffn_dim=24,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=64,
            init_std=0.2,
            word_embed_proj_dim=16,
        )
    ),
}


@pytest.fixture(scope="module", params=[*FAMILIES, "llama", "gemma", "gpt2", "neox"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp(request.param)
    if request.param not in FAMILIES:
        return models.build(request.param, path)
    tokenizer = byte_level()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<|bos|>").save_pretrained(path)
    torch.manual_seed(0)
    model = FAMILIES[request.param](tokenizer.get_vocab_size())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name or name.endswith("bias"):
                parameter.add_(torch.randn_like(parameter) * 0.3)
    model.save_pretrained(path)
    return path


def read(folder: Path, backend: str, ids: torch.Tensor) -> dict[str, torch.Tensor]:
    found = {}
    for site in SITES:
        try:
            found[site] = open_subject(SubjectSpec(model=str(folder), device="cpu", backend=backend), f"blocks.1.{site}").activations(ids)  # type: ignore[arg-type]
        except HookPointUnknownError as refused:
            assert refused.cure
        except SubjectError as refused:
            assert "never comes to" in refused.what
    return found


def test_both_backends_read_the_models_own_stream(folder: Path) -> None:
    from transformers import AutoModelForCausalLM

    ids = torch.randint(1, 300, (2, 12), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        hidden = AutoModelForCausalLM.from_pretrained(folder).eval()(ids, output_hidden_states=True).hidden_states
    here, there = (read(folder, backend, ids) for backend in ("huggingface", "bridge"))
    for found in (here, there):
        assert torch.allclose(found["hook_resid_pre"], hidden[1], atol=1e-4)
        pre, post = found["hook_resid_pre"], found["hook_resid_post"]
        written = [found[site] for site in ("hook_attn_out", "hook_mlp_out") if site in found]
        if len(written) == 2:
            assert torch.allclose(pre + written[0] + written[1], post, atol=1e-3)
        if {"hook_attn_out", "hook_resid_mid"} <= set(found):
            assert torch.allclose(pre + found["hook_attn_out"], found["hook_resid_mid"], atol=1e-3)
    for site in set(here) & set(there):
        assert torch.allclose(here[site], there[site], atol=1e-3), site


def test_candidates_are_chosen_by_the_identities() -> None:
    pre, write, other = (torch.randn(1, 8, 4, generator=torch.Generator().manual_seed(seed)) for seed in range(3))
    mid, post = pre + write, pre + write + other
    named = {"wrong": other * 2, "right": write}
    assert matching(pre, post, named, {"no": pre, "norm": mid}, {"mlp": other}) == {
        "hook_resid_mid": "norm",
        "hook_attn_out": "right",
        "hook_mlp_out": "mlp",
    }
    assert matching(pre, post, named, {}, {"mlp": other}) == {"hook_attn_out": "right", "hook_mlp_out": "mlp"}
    assert matching(pre, post, {"scaled": write * 4}, {"norm": mid}, {"scaled": other * 4}) == {}
