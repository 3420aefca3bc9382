"""Weights and configs of an attacker: refused with one error that says what to do, in bounded memory; nothing else comes out."""

import io
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from interp.corpus.documents import index
from interp.corpus.listing import list_files
from interp.dictionary import formats, torchfile
from interp.dictionary.canonical import Canonical
from interp.dictionary.torchfile import read_torch
from interp.dictionary.weights import check_expansion, check_finite, read_npy, read_npz, read_safetensors
from interp.domain.errors import CorpusError, DictionaryError, InputError, PickleRefusedError, SubjectError, WeightsNotFiniteError
from interp.domain.spec import CorpusSpec, DictionarySpec
from interp.security.bounded_json import DICTIONARY_CONFIG, MODEL_CONFIG, parse_json
from interp.subject.shape import ModelShape
from tests.security import checkpoints as made
from tests.security.checkpoints import FEATURES, HOOK_POINT, WIDTH
from tests.security.memory import peak

GIB = 1 << 30
# What reading a file of a few bytes may take at most, whatever it says of itself.
MOST_MIB = 100


def opened(source: Path, name: str = "auto", **spec: Any) -> Canonical:
    reading = formats.read(DictionarySpec(source=str(source), format=name, hook_point=HOOK_POINT, **spec))
    check_finite(reading.tensors, source)
    return reading.canonical()


def refused(work: Callable[[], Any], kind: type[InputError] = DictionaryError) -> InputError:
    """The refusal of what must be refused, in little memory."""
    with peak() as seen, pytest.raises(kind) as caught:
        work()
    assert seen.mib < MOST_MIB
    assert caught.value.cure
    assert len(str(caught.value)) < 2000
    return caught.value


def facts(shape: Any, offsets: Any, dtype: Any = "F32") -> dict[str, Any]:
    return {"a": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


HEADERS: dict[str, Any] = {
    "null": b"null",
    "a list": [],
    "a number": b"3",
    "nothing": b"",
    "no JSON": b"{",
    "deep": b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}",
    "a huge number": b'{"a":' + b"9" * 5000 + b"}",
    "half a character": b'{"\\ud800":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}',
    "a tensor is null": {"a": None},
    "a tensor is a list": {"a": [1]},
    "no shape": {"a": {"dtype": "F32", "data_offsets": [0, 16]}},
    "a shape that overflows to 0": facts([2**32, 2**32], [0, 0]),
    "a shape that overflows to 4": facts([2**62 + 1, 4], [0, 16]),
    "a negative shape": facts([-4], [0, -16]),
    "two negative lengths": facts([-2, -2], [0, 16]),
    "a length that is no number": facts(["4"], [0, 16]),
    "a length of truth": facts([True, 4], [0, 16]),
    "a fraction": facts([4.0], [0, 16]),
    "a text as shape": facts("4", [0, 16]),
    "sixty axes": facts([1] * 60 + [4], [0, 16]),
    "negative offsets": facts([4], [-16, 0]),
    "offsets that fall": facts([4], [16, 0]),
    "one offset": facts([4], [16]),
    "offsets beyond the file": facts([4], [2**40, 2**40 + 16]),
    "overlapping tensors": facts([4], [0, 16]) | {"b": {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]}},
    "the same bytes twice": facts([4], [0, 16]) | {"b": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}},
    "complex numbers": facts([2], [0, 16], "C64"),
    "a dtype that is a list": facts([4], [0, 16], ["F32"]),
}


@pytest.mark.parametrize("what", HEADERS)
def test_headers_of_safetensors(tmp_path: Path, what: str) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(made.safetensors(HEADERS[what], bytes(16)))
    refused(lambda: read_safetensors(path))


def test_a_header_as_long_as_a_huge_file(tmp_path: Path) -> None:
    path = made.sparse(tmp_path / "sae.safetensors", struct.pack("<Q", 3 * GIB), 4 * GIB)
    refused(lambda: read_safetensors(path))


def test_a_header_of_small_values(tmp_path: Path) -> None:
    """Empty lists take twenty times their bytes."""
    path = tmp_path / "model.safetensors"
    path.write_bytes(made.safetensors(b'{"a":[' + b"[]," * 9_000_000 + b"1]}"))
    refused(lambda: read_safetensors(path))


STRIDES: dict[str, dict[str, Any]] = {
    "stride 0": {"size": (30_000, 30_000), "stride": (0, 0)},
    "a product that overflows": {"size": (2**33, 2**33), "stride": (0, 0)},
    "beyond its storage": {"size": (FEATURES, WIDTH), "offset": 1},
    "negative strides": {"size": (FEATURES, WIDTH), "stride": (-WIDTH, 1), "offset": FEATURES * WIDTH},
    "a negative offset": {"size": (FEATURES, WIDTH), "offset": -1},
    "a negative size": {"size": (-FEATURES, -WIDTH)},
    "sizes beyond 64 bits": {"size": (2**70, WIDTH), "stride": (0, 1)},
    "strides for another shape": {"size": (FEATURES, WIDTH), "stride": (1,)},
    "complex numbers": {"size": (FEATURES, WIDTH), "kind": "ComplexFloatStorage"},
    "no features": {"size": (0, WIDTH)},
    "no width": {"size": (FEATURES, 0)},
}


@pytest.mark.parametrize("what", STRIDES)
def test_views_of_a_pt(tmp_path: Path, what: str) -> None:
    path = made.openai(tmp_path / "8.pt", encoder__weight=made.tensor("2", **STRIDES[what]))
    refused(lambda: opened(path))


def test_many_views_of_one_storage(tmp_path: Path) -> None:
    """A file of 4 MB that stands for 12 GB."""
    views = made.dict_of(**{f"v{place}": made.tensor("0", (1 << 20,)) for place in range(3000)})
    path = made.torch_file(tmp_path / "a.pt", views, {"0": np.zeros(1 << 20)})
    refused(lambda: check_expansion(torchfile.tensors_of(read_torch(path)).values(), [path], path))
    four = {name: made.tensor("0", (1 << 10, 1 << 10)) for name in ("W_enc", "W_dec", "b_enc", "b_dec")}
    read = torchfile.tensors_of(read_torch(made.torch_file(tmp_path / "b.pt", made.dict_of(**four), {"0": np.zeros(1 << 20)})))
    check_expansion(read.values(), [tmp_path / "b.pt"], path)


def doubling(levels: int) -> bytes:
    """A dict of which every level holds the one below it twice."""
    steps = b"}q\x00"
    for level in range(levels):
        steps += b"}" + made.text("a") + b"h" + bytes([level]) + b"s" + made.text("b") + b"h" + bytes([level]) + b"s" + b"q" + bytes([level + 1])
    return steps


PICKLES: dict[str, bytes] = {
    "sixty million items": b"](" + b"N" * 30_000_000 + b"e",
    "many operations": b"](" + b"K\x01" * 400_000 + b"e",
    "dicts that double": doubling(40),
    "a memo at a huge place": b"}r" + struct.pack("<I", 2**27),
    "a dict that holds itself": b"}q\x00" + made.text("a") + b"h\x00s",
    "tuples that double, as a name": b")q\x00" + b"h\x00h\x00\x86q\x00" * 60 + made.text("x") + b"\x93",
    "tuples that double, as a key": b")q\x00" + b"h\x00h\x00\x86q\x00" * 60 + b"q\x01}h\x01Ns",
    "keys that collide": b"}(" + b"".join(made.number(place * (2**61 - 1)) + b"N" for place in range(30_000)) + b"u",
    "a long name": b"}" + made.text("x" * 600) + made.tensor("0", (1,)) + b"s",
    "another function": made.name("os", "system") + made.tuple_of(made.text("true")) + b"R",
    "a function that is none": made.text("x") + b")R",
    "a new object": made.name("collections", "OrderedDict") + b")\x81",
    "an extension": b"\x82\x01",
    "no mark": b"}u",
    "nothing on the stack": b"R",
    "no end": b"}(" + made.text("a"),
    "a text beyond the file": b"X\xff\xff\xff\x7fab",
    "a mark as the whole": b"(",
}


@pytest.mark.parametrize("what", PICKLES)
def test_pickles(tmp_path: Path, what: str) -> None:
    path = made.torch_file(tmp_path / "8.pt", PICKLES[what])
    refused(lambda: opened(path))


def test_a_pickle_changes_nothing_of_the_reader(tmp_path: Path) -> None:
    """Python's Unpickler sets the attributes that a BUILD names on whatever is below it, functions of the program too."""
    state = made.tuple_of(b"N", made.dict_of(__defaults__=b"N"[:0] + made.tuple_of(made.number(1)), __doc__=made.text("owned")))
    path = made.torch_file(tmp_path / "8.pt", made.name("torch._utils", "_rebuild_tensor_v2") + state.replace(b".defaults.", b"__defaults__") + b"b")
    refused(lambda: opened(path))
    assert torchfile._tensor.__defaults__ is None


def directory_of(size: int) -> bytes:
    """The end of a zip whose directory is said to have this many bytes."""
    return struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, size, 0, 0)


@pytest.mark.parametrize("name", ["8.pt", "params.npz"])
def test_a_zip_whose_directory_is_the_whole_file(tmp_path: Path, name: str) -> None:
    path = made.sparse(tmp_path / name, b"PK\x03\x04", 3 * GIB, directory_of(3 * GIB))
    refused(lambda: opened(path))


def npy(shape: Any, dtype: str = "<f4", data: bytes = b"") -> bytes:
    head = repr({"descr": dtype, "fortran_order": False, "shape": shape}).encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head) + 1) + head + b"\n" + data


def npz(path: Path, entries: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression, compresslevel=1) as archive:
        for name, content in entries.items():
            archive.writestr(f"{name}.npy", content)
    return path


def gemma(changes: dict[str, bytes]) -> dict[str, bytes]:
    arrays = made.standard() | {"threshold": made.draw(FEATURES)}
    return {name: npy(array.shape, data=array.tobytes()) for name, array in arrays.items()} | changes


def test_a_good_npz_is_read(tmp_path: Path) -> None:
    assert opened(npz(tmp_path / "params.npz", gemma({}))).W_enc.shape == (WIDTH, FEATURES)


def test_compressed_zeros(tmp_path: Path) -> None:
    zeros = npy((6, 6_000_000), data=bytes(144_000_000))
    path = npz(tmp_path / "params.npz", gemma({"W_enc": zeros}))
    del zeros
    assert path.stat().st_size < 1 << 20
    refused(lambda: opened(path))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_packed_in_ways_that_decide_their_memory(tmp_path: Path, method: int) -> None:
    refused(lambda: read_npz(npz(tmp_path / "params.npz", gemma({}), method)))


def test_a_packed_pickle(tmp_path: Path) -> None:
    path = made.torch_file(tmp_path / "8.pt", b"](" + b"N" * 30_000_000 + b"e", compression=zipfile.ZIP_DEFLATED)
    refused(lambda: opened(path))


ARRAYS: dict[str, bytes] = {
    "a shape beyond its numbers": npy((1 << 40,), data=bytes(16)),
    "a shape that overflows": npy((1 << 32, 1 << 32)),
    "a negative shape": npy((-4,), data=bytes(16)),
    "complex numbers": npy((2,), "<c8", bytes(16)),
    "objects": npy((2,), "|O", bytes(16)),
    "texts": npy((2,), "<U999999999"),
    "a record": npy((2,), "<f4").replace(b"'<f4'", b"[('a','<f4')]"),
    "a header that is no dict": b"\x93NUMPY\x01\x00\x04\x00[1]\n",
    "a deep header": b"\x93NUMPY\x01\x00" + struct.pack("<H", 9001) + b"(" * 9000 + b"\n",
    "nothing": b"",
}


@pytest.mark.parametrize("what", ARRAYS)
def test_headers_of_npy(tmp_path: Path, what: str) -> None:
    (tmp_path / "a.npy").write_bytes(ARRAYS[what])
    refused(lambda: read_npy(tmp_path / "a.npy"))
    refused(lambda: read_npz(npz(tmp_path / "params.npz", {"a": ARRAYS[what]})))


def test_a_header_of_npy_as_long_as_a_huge_file(tmp_path: Path) -> None:
    path = made.sparse(tmp_path / "a.npy", b"\x93NUMPY\x02\x00" + struct.pack("<I", 3 * GIB), 4 * GIB)
    refused(lambda: read_npy(path))


def test_large_weights_are_checked_in_little_memory(tmp_path: Path) -> None:
    """A file of any size is looked through in blocks."""
    size = 40_000_000
    head = made.safetensors({"a": {"dtype": "F32", "shape": [size], "data_offsets": [0, 4 * size]}})
    path = made.sparse(tmp_path / "model.safetensors", head, len(head) + 4 * size - 4, struct.pack("<f", float("nan")))
    found = refused(lambda: check_finite(read_safetensors(path), path), WeightsNotFiniteError)
    assert f"[{size - 1}]" in found.why


CONFIGS: dict[str, dict[str, Any]] = {
    "k beyond the features": {"architecture": "topk", "k": FEATURES + 1},
    "k below 0": {"architecture": "topk", "k": -1},
    "k is 0": {"architecture": "topk", "k": 0},
    "k is a text": {"architecture": "topk", "k": "4"},
    "k is true": {"architecture": "topk", "k": True},
    "k is a fraction": {"architecture": "topk", "k": 4.5},
    "k is huge": {"architecture": "topk", "k": 10**60},
    "an architecture that is a list": {"architecture": ["standard"]},
    "a flag that is a text": {"apply_b_dec_to_input": "no"},
    "a factor that is NaN": {"normalize_activations": "expected_average_only_in", "norm_scaling_factor": float("nan")},
    "a factor that is infinite": {"normalize_activations": "expected_average_only_in", "norm_scaling_factor": float("inf")},
    "a factor that is a list": {"normalize_activations": "expected_average_only_in", "norm_scaling_factor": [2.0]},
    "metadata that are a list": {"metadata": [1]},
    "metadata that are null": {"metadata": None},
    "a hook point that is a number": {"metadata": {"hook_name": 3}},
    "a model that is an object": {"metadata": {"hook_name": HOOK_POINT, "model_name": {}}},
    "a model whose name is a page": {"metadata": {"hook_name": HOOK_POINT, "model_name": "x" * 5000}},
    "a model named with an escape": {"metadata": {"hook_name": HOOK_POINT, "model_name": "\x1b[2J"}},
    "loading that is a list": {"metadata": {"hook_name": HOOK_POINT, "model_from_pretrained_kwargs": [1]}},
    "NUL": {"metadata": {"hook_name": HOOK_POINT, "note": "\x00"}},
    "half a character": {"metadata": {"hook_name": HOOK_POINT, "note": "\ud800"}},
    "an old model name that is a number": {"metadata": ..., "hook_name": HOOK_POINT, "model_name": 7},
    "an old k that is a text": {"metadata": ..., "activation_fn": "topk", "activation_fn_kwargs": {"k": "4"}},
    "old settings that are a list": {"metadata": ..., "activation_fn_kwargs": [1]},
    "an old norm that is a list": {"metadata": ..., "normalize_activations": [1]},
}


@pytest.mark.parametrize("what", CONFIGS)
def test_configs_of_saelens(tmp_path: Path, what: str) -> None:
    source = made.saelens(tmp_path / "sae", **CONFIGS[what])
    refused(lambda: opened(source))


SHAPES: dict[str, dict[str, Any]] = {
    "W_dec of one axis": {"W_dec": made.draw(FEATURES * WIDTH)},
    "W_enc of one axis": {"W_enc": made.draw(FEATURES * WIDTH)},
    "W_enc of three axes": {"W_enc": made.draw(WIDTH, FEATURES, 1)},
    "b_enc of two axes": {"b_enc": made.draw(FEATURES, 1)},
    "no features": {"W_enc": made.draw(WIDTH, 0), "b_enc": made.draw(0), "W_dec": made.draw(0, WIDTH)},
    "no width": {"W_enc": made.draw(0, FEATURES), "b_dec": made.draw(0), "W_dec": made.draw(FEATURES, 0)},
}


@pytest.mark.parametrize("what", SHAPES)
@pytest.mark.parametrize("architecture", ["standard", "topk"])
def test_shapes_of_saelens(tmp_path: Path, what: str, architecture: str) -> None:
    source = made.saelens(tmp_path / "sae", SHAPES[what], architecture=architecture, k=2)
    refused(lambda: opened(source))


def test_numbers_that_overflow_when_they_are_converted(tmp_path: Path) -> None:
    """Each is finite in the file."""
    huge = np.full((FEATURES, WIDTH), 1e38)
    refused(lambda: opened(made.saelens(tmp_path / "norm", {"W_dec": huge}, rescale_acts_by_decoder_norm=True)), WeightsNotFiniteError)
    factor = {"normalize_activations": "expected_average_only_in", "norm_scaling_factor": 1e-45}
    refused(lambda: opened(made.saelens(tmp_path / "factor", **factor)), WeightsNotFiniteError)
    gate = {"b_gate": made.draw(FEATURES), "b_mag": made.draw(FEATURES), "r_mag": np.full(FEATURES, 1000.0)}
    refused(lambda: opened(made.saelens(tmp_path / "gate", gate, architecture="gated")), WeightsNotFiniteError)


def test_a_decoder_row_of_zeros_is_a_dead_feature(tmp_path: Path) -> None:
    decoder = made.draw(FEATURES, WIDTH)
    decoder[3] = 0
    found = opened(made.saelens(tmp_path / "sae", {"W_dec": decoder}, rescale_acts_by_decoder_norm=True))
    assert not found.W_dec[3].any()
    assert not found.W_enc[:, 3].any()


TOP_K = made.text("activation") + made.text("TopK") + made.text("activation_state_dict")
BESIDE: dict[str, bytes] = {
    "k is a text": TOP_K + made.dict_of(k=made.text("4")),
    "no k": made.text("activation") + made.text("TopK"),
    "k beyond the features": made.text("activation")
    + made.text("TopK")
    + made.text("activation_state_dict")
    + made.dict_of(k=made.number(FEATURES + 1)),
    "k below 0": TOP_K + made.dict_of(k=made.number(-1)),
    "an activation that is a list": made.text("activation") + b"]",
    "an activation of tuples that double": made.text("activation") + b")q\x00" + b"h\x00h\x00\x86q\x00" * 60,
    "settings that are a number": made.text("activation_state_dict") + made.number(3),
}


@pytest.mark.parametrize("what", BESIDE)
def test_settings_of_openai(tmp_path: Path, what: str) -> None:
    path = made.openai(tmp_path / "8.pt", beside=BESIDE[what])
    refused(lambda: opened(path))


def test_a_good_pt_is_read(tmp_path: Path) -> None:
    assert opened(made.openai(tmp_path / "8.pt")).W_enc.shape == (WIDTH, FEATURES)


TEXTS: dict[str, bytes] = {
    "deep": b'{"a":' * 3000 + b"1" + b"}" * 3000,
    "many values": b'{"a":[' + b"[]," * 300_000 + b"1]}",
    "many texts": b'{"a":[' + b'"x",' * 300_000 + b"1]}",
    "a huge number": b'{"a":' + b"9" * 100 + b"}",
    "a float that is none": b'{"a":1e999}',
    "NaN": b'{"a":NaN}',
    "NUL": b'{"a":"\\u0000"}',
    "half a character": b'{"a":"\\uD800"}',
    "no UTF-8": b'{"a":"\xff"}',
    "a large file": b'{"a":"' + b"x" * (5 << 20) + b'"}',
    "a text without end": b'{"a":"' + b'\\"' * 400_000,
    "a text that ends in a backslash": b'{"a":"' + b'\\"' * 400_000 + b"\\",
}


@pytest.mark.parametrize("what", TEXTS)
def test_json_beyond_the_limits(what: str) -> None:
    with peak() as seen, pytest.raises(ValueError, match=r"."):
        parse_json(TEXTS[what], DICTIONARY_CONFIG)
    assert seen.mib < MOST_MIB


def test_json_as_others_write_it() -> None:
    """Mamba's config.json holds Infinity; nothing that is read of it is a float then."""
    assert parse_json(b'{"time_step_limit":[0.0,Infinity],"a":1e999}', MODEL_CONFIG) == {"time_step_limit": [0.0, "Infinity"], "a": "1e999"}
    assert parse_json('{"a":"\\ud83d\\ude42 \U0001f642 \\"[[[\\\\","b":[{}]}'.encode(), DICTIONARY_CONFIG) == {"a": '🙂 🙂 "[[[\\', "b": [{}]}


def test_a_line_of_a_corpus_that_is_millions_of_values(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_bytes(b'{"text":"x","more":[' + b"[]," * 3_000_000 + b"1]}\n")
    spec = CorpusSpec(path=str(path))
    listing = list_files(spec)
    with pytest.raises(CorpusError, match="values") as caught, peak() as seen:
        index(spec, listing)
    assert caught.value.cure
    assert seen.mib < MOST_MIB


def test_a_long_line_of_a_corpus(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    line = {"text": "long " * 100_000, "more": [[{"a": "[[[,,,"}]] * 1000, "score": float("nan")}
    path.write_text(json.dumps(line) + "\n" + json.dumps({"text": "short"}) + "\n", encoding="utf-8")
    assert len(index(CorpusSpec(path=str(path))).entries) == 2


SIZES: dict[str, dict[str, Any]] = {
    "a vocabulary of a thousand million": {"vocab_size": 10**9},
    "a width of a thousand million": {"hidden_size": 10**9},
    "layers": {"num_hidden_layers": 10**9},
    "heads": {"num_attention_heads": 10**9},
    "an MLP": {"intermediate_size": 10**12},
    "a huge number": {"vocab_size": 10**50},
    "below 0": {"vocab_size": -1},
    "a text": {"vocab_size": "300"},
    "true": {"hidden_size": True},
    "more heads than width": {"num_attention_heads": 64},
    "a type that is a list": {"model_type": ["llama"]},
    "architectures that are a text": {"architectures": "LlamaForCausalLM"},
    "architectures of numbers": {"architectures": [3]},
    "a text_config that is a text": {"text_config": "x"},
    "a text_config of another type": {"text_config": {"model_type": 3}},
}


@pytest.mark.parametrize("what", SIZES)
def test_sizes_of_a_model(what: str) -> None:
    config = {"model_type": "llama", "hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 2, "vocab_size": 300} | SIZES[what]
    refused(lambda: ModelShape.from_config(config), SubjectError)


def test_neurons_of_a_wide_model_are_not_made_at_submission(tmp_path: Path) -> None:
    config = {"model_type": "llama", "hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 200_000}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    reading = formats.read(DictionarySpec(source=str(tmp_path), format="neurons", hook_point="blocks.1.mlp.hook_post"))
    assert reading.numbers == 2 * 200_000**2


def test_pickled_objects_are_told_from_numbers(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.array([{}], dtype=object), allow_pickle=True)
    (tmp_path / "a.npy").write_bytes(buffer.getvalue())
    refused(lambda: read_npy(tmp_path / "a.npy"), PickleRefusedError)
