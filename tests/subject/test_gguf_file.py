"""A job names a GGUF file, whose model computes the numbers of the model that it was written from; a hostile file ends with an error."""

import struct
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from interp.domain.errors import FileMissingError, SubjectError, WorkInterruptedError
from interp.domain.spec import DictionarySpec, JobSpec, SubjectSpec
from interp.planning import preflight
from interp.planning.fetching import fetch, needs_worker
from interp.subject.base import open_subject
from interp.subject.gguf import folder as gguf_folder
from interp.subject.gguf.conversion import convert
from interp.subject.gguf.header import numbers_in
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


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("huggingface_hub.utils._cache_assets.HF_ASSETS_CACHE", str(tmp_path / "assets"))
    return tmp_path / "assets"


def interrupted(_share: float) -> None:
    raise WorkInterruptedError("cancelled")


def test_a_job_names_a_gguf_file(tmp_path: Path, cache: Path, tiny_job: JobSpec) -> None:
    folder, file = models.build("llama", tmp_path / "model"), tmp_path / "tiny.Q8.gguf"
    write(folder, file)
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "/elsewhere"}', encoding="utf-8")
    np.save(tmp_path / "directions.npy", np.eye(WIDTH, dtype=np.float32))
    subject = SubjectSpec(model=str(file), device="cpu")
    dictionary = DictionarySpec(source=str(tmp_path / "directions.npy"), hook_point="blocks.1.attn.hook_q")
    collection = tiny_job.collection.model_copy(update={"row_tokens": CONTEXT, "window": 16})
    job = tiny_job.model_copy(update={"subject": subject, "dictionary": dictionary, "collection": collection})
    assert needs_worker(job)
    with pytest.raises(FileMissingError, match="not converted on this machine yet"):
        preflight.check(job)
    with pytest.raises(WorkInterruptedError):
        fetch(job, interrupted)
    assert not list(cache.glob("glossator/subjects/gguf/*")), "no draft is left"
    shares: list[float] = []
    assert fetch(job, shares.append) == job
    assert shares == sorted(shares)
    assert shares[-1] == 0.5, "the other half is the dictionary's"
    assert preflight.check(job).n_features == WIDTH
    assert len(list(cache.glob("glossator/subjects/gguf/*"))) == 1, "no draft is left"
    one, other = (open_subject(SubjectSpec(model=str(place), device="cpu"), dictionary.hook_point) for place in (folder, file))
    tokens = torch.randint(0, 250, (2, CONTEXT), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(one.activations(tokens), other.activations(tokens), rtol=1e-5, atol=1e-5)
    assert other.digest != one.digest, "the file's own"
    assert (other.name, other.bos, other.vocabulary.text(5)) == ("tiny.Q8", one.bos, one.vocabulary.text(5))
    assert other.encode_texts(["naïve café"])[0].tolist() == one.encode_texts(["naïve café"])[0].tolist()


def test_a_gguf_file_that_is_not_one(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + b"\xff" * 100)
    with pytest.raises(SubjectError, match="cannot be read"):
        convert(broken, tmp_path / "converted")
    with pytest.raises(FileMissingError):
        convert(tmp_path / "missing.gguf", tmp_path / "converted")


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def overlapping() -> bytes:
    """A hundred tensors of the same four kilobytes."""
    infos = b"".join(text(f"blk.{number}.attn_q.weight") + struct.pack("<IQIQ", 1, 1000, 0, 0) for number in range(100))
    head = b"GGUF" + struct.pack("<IQQ", 3, 100, 1) + text("general.architecture") + struct.pack("<I", 8) + text("llama") + infos
    return head + bytes(-len(head) % 32) + bytes(4000)


def described_too_large(file: Path) -> None:
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(1 << 14)
    writer.add_block_count(2000)
    writer.add_feed_forward_length(24)
    writer.add_head_count(2)
    writer.add_vocab_size(300)
    writer.add_tensor("token_embd.weight", np.zeros((300, 16), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_file_that_claims_more_than_it_holds(tmp_path: Path) -> None:
    (tmp_path / "overlapping.gguf").write_bytes(overlapping())
    described_too_large(tmp_path / "large.gguf")
    for name, message in (("overlapping", "overlap"), ("large", "larger model than the weights hold")):
        with pytest.raises(SubjectError, match=message):
            convert(tmp_path / f"{name}.gguf", tmp_path / "converted")


def pairs(kind: int, value: bytes) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("x") + struct.pack("<I", kind) + value


@pytest.mark.parametrize(
    "head",
    [
        pairs(9, struct.pack("<IQ", 0, 1 << 33)),  # as many values as the file has bytes, each an object of the library's reader
        pairs(9, struct.pack("<IQ", 9, 1 << 20)),  # arrays in arrays
        pairs(8, struct.pack("<Q", 1 << 63)),
        pairs(99, b""),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 60),
        b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 0),
        b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + text("t") + struct.pack("<I", 1 << 31),
        b"GGUF" + struct.pack(">IQQ", 3, 1, 1),
        b"PK" + bytes(100),
    ],
)
def test_a_hostile_header_is_left_before_it_grows(tmp_path: Path, head: bytes) -> None:
    file = tmp_path / "hostile.gguf"
    with file.open("wb") as handle:
        handle.write(head)
        handle.truncate(1 << 34)  # sparse
    with pytest.raises(SubjectError, match="The GGUF file cannot be read"):
        convert(file, tmp_path / "converted")


def test_a_header_that_ends_early(tmp_path: Path) -> None:
    folder, file = models.build("llama", tmp_path / "model"), tmp_path / "tiny.gguf"
    write(folder, file)
    content = file.read_bytes()
    assert numbers_in(file) == sum(tensor.numel() for tensor in AutoModelForCausalLM.from_pretrained(folder).state_dict().values())
    for stop in range(0, 6000, 111):
        file.write_bytes(content[:stop])
        with pytest.raises(SubjectError):
            numbers_in(file)


def test_an_error_of_the_process_is_the_job_s(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + b"\xff" * 100)
    with pytest.raises(SubjectError, match="does not begin as a GGUF file"):
        gguf_folder.convert_once(str(tmp_path / "broken.gguf"))
    assert not list(cache.glob("glossator/subjects/gguf/*")), "no draft is left"


def test_a_folder_with_a_gguf_file_alone_says_to_name_the_file(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(FileMissingError) as refused:
        read_config(SubjectSpec(model=str(tmp_path)))
    assert str(tmp_path / "model.gguf") in refused.value.cure
