"""A GGUF file becomes a folder whose model computes the numbers of the model that it was written from."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from interp.domain.errors import FileMissingError, SubjectError
from interp.domain.spec import SubjectSpec
from interp.subject.base import open_subject
from interp.subject.gguf_file import convert
from interp.subject.location import read_config
from tests.subject import models
from tests.subject.models import CONTEXT, LAYERS, WIDTH

NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def write(folder: Path, file: Path) -> None:
    """A Llama in float32, as llama.cpp's converter writes it."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(24)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(model.config.rms_norm_eps)
    writer.add_rope_dimension_count(8)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(tokenizer))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([tokenizer.convert_ids_to_tokens(token) for token in range(len(tokenizer))])
    writer.add_token_types([3 if token == 0 else 1 for token in range(len(tokenizer))])
    merges = [" ".join(pair) for pair in read_merges(folder)]
    writer.add_token_merges(merges)
    writer.add_bos_token_id(0)
    for name, tensor in model.state_dict().items():
        writer.add_tensor(gguf_name(name), permuted(name, tensor.float().numpy()))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def read_merges(folder: Path) -> list[Any]:
    import json

    merges = json.loads((folder / "tokenizer.json").read_text())["model"]["merges"]
    return [pair.split(" ") if isinstance(pair, str) else pair for pair in merges]


def gguf_name(name: str) -> str:
    if name.startswith("model.layers."):
        layer, part = name.removeprefix("model.layers.").removesuffix(".weight").split(".", 1)
        return f"blk.{layer}.{NAMES[part]}.weight"
    return {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight", "lm_head.weight": "output.weight"}[name]


def permuted(name: str, array: Any) -> Any:
    """Rows of queries and keys in the order of llama.cpp's rotation."""
    heads = 2 if "q_proj" in name else 1 if "k_proj" in name else 0
    if not heads:
        return array
    return np.ascontiguousarray(array.reshape(heads, 2, len(array) // heads // 2, -1).swapaxes(1, 2).reshape(array.shape))


def test_a_gguf_file_becomes_a_folder(tmp_path: Path) -> None:
    folder = models.build("llama", tmp_path / "model")
    write(folder, tmp_path / "tiny.Q8.gguf")
    convert(tmp_path / "tiny.Q8.gguf", tmp_path / "converted")
    one, other = (open_subject(SubjectSpec(model=str(place), device="cpu"), "blocks.1.attn.hook_q") for place in (folder, tmp_path / "converted"))
    tokens = torch.randint(0, 250, (2, CONTEXT), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(one.activations(tokens), other.activations(tokens), rtol=1e-5, atol=1e-5)
    assert (other.name, other.bos, other.vocabulary.text(5)) == ("tiny.Q8", one.bos, one.vocabulary.text(5))
    assert other.encode_texts(["naïve café"])[0].tolist() == one.encode_texts(["naïve café"])[0].tolist()


def test_a_gguf_file_that_is_not_one(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + b"\xff" * 100)
    with pytest.raises(SubjectError, match="cannot read"):
        convert(broken, tmp_path / "converted")
    with pytest.raises(FileMissingError):
        convert(tmp_path / "missing.gguf", tmp_path / "converted")


def test_a_job_that_names_a_gguf_file_is_told_how_to_convert_it(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    for place in (tmp_path / "model.gguf", tmp_path):
        with pytest.raises(FileMissingError) as refused:
            read_config(SubjectSpec(model=str(place)))
        assert "python -m interp.subject.gguf_file" in refused.value.cure
