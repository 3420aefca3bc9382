"""Jobs whose files are valid, and what an attacker makes of one of their files: bytes changed, fields of configs and headers replaced."""

import copy
import gzip
import io
import json
import random
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import zstandard
from pyarrow import parquet

from interp.domain.spec import CorpusSpec, DictionarySpec, JobSpec, SubjectSpec
from tests.security import checkpoints as made
from tests.subject import tokenizers_of

WIDTH, FEATURES = 16, 20
HOOK_POINT = "blocks.1.hook_resid_post"


@dataclass(frozen=True)
class Case:
    """A job that is accepted as it is, and the files of it that are changed, as they are."""

    job: JobSpec
    files: dict[Path, bytes]


def draw(*shape: int) -> Any:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def standard() -> dict[str, Any]:
    return {"W_enc": draw(WIDTH, FEATURES), "b_enc": draw(FEATURES), "W_dec": draw(FEATURES, WIDTH), "b_dec": draw(WIDTH)}


def _save(folder: Path, config_name: str, config: Any, weights_name: str, weights: bytes) -> Path:
    folder.mkdir(parents=True)
    (folder / config_name).write_text(json.dumps(config), encoding="utf-8")
    (folder / weights_name).write_bytes(weights)
    return folder


def _saelens(folder: Path, architecture: str, more: dict[str, Any], **config: Any) -> Path:
    metadata = {"model_name": "tiny", "hook_name": HOOK_POINT, "prepend_bos": True, "seqpos_slice": [None, None], "context_size": 64}
    content = {"architecture": architecture, "d_in": WIDTH, "d_sae": FEATURES, "normalize_activations": "none", "metadata": metadata, **config}
    return _save(folder, "cfg.json", content, "sae_weights.safetensors", made.tensors(**standard(), **more))


def _old_saelens(folder: Path) -> Path:
    content = {"hook_point": HOOK_POINT, "model_name": "tiny", "activation_fn": "topk", "activation_fn_kwargs": {"k": 3}, "prepend_bos": True}
    return _save(folder, "cfg.json", content, "sae_weights.safetensors", made.tensors(**standard()))


def _gated(folder: Path) -> Path:
    return _saelens(folder, "gated", {"b_gate": draw(FEATURES), "b_mag": draw(FEATURES), "r_mag": draw(FEATURES)})


def _scaled(folder: Path) -> Path:
    factor = {"normalize_activations": "expected_average_only_in", "norm_scaling_factor": 2.0, "rescale_acts_by_decoder_norm": True}
    return _saelens(folder, "jumprelu", {"threshold": draw(FEATURES)}, **factor)


def _sparsify(folder: Path) -> Path:
    weights = made.tensors(encoder__weight=draw(FEATURES, WIDTH), encoder__bias=draw(FEATURES), W_dec=draw(FEATURES, WIDTH), b_dec=draw(WIDTH))
    return _save(folder / "layers.1", "cfg.json", {"activation": "topk", "k": 4, "signed": False, "transcode": False}, "sae.safetensors", weights)


def _pt(folder: Path, name: str, **tensors: Any) -> Path:
    """A .pt with a storage for each tensor; what is bytes stands in the pickle as it is."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {key: value for key, value in tensors.items() if not isinstance(value, bytes)}
    parts = {key: value if isinstance(value, bytes) else made.tensor(key, value.shape) for key, value in tensors.items()}
    return made.torch_file(folder / name, made.dict_of(**parts), arrays)


def _dictionary_learning(folder: Path) -> Path:
    trainer = {"dict_class": "AutoEncoderTopK", "k": 4, "lm_name": "tiny", "submodule_name": "resid_post_layer_1"}
    _save(folder, "config.json", {"trainer": trainer, "buffer": {"d_submodule": WIDTH}}, "ae.pt", b"")
    _pt(
        folder, "ae.pt", encoder__weight=draw(FEATURES, WIDTH), encoder__bias=draw(FEATURES), decoder__weight=draw(WIDTH, FEATURES), b_dec=draw(WIDTH)
    )
    return folder


def _openai(folder: Path) -> Path:
    beside = {"activation": made.text("TopK"), "activation_state_dict": made.dict_of(k=made.number(4))}
    weights = {"encoder__weight": draw(FEATURES, WIDTH), "decoder__weight": draw(WIDTH, FEATURES)}
    return _pt(folder, "1.pt", pre_bias=draw(WIDTH), latent_bias=draw(FEATURES), **weights, **beside)


def _apollo(folder: Path) -> Path:
    names = {
        "encoder__0__weight": (FEATURES, WIDTH),
        "encoder__0__bias": (FEATURES,),
        "decoder__weight": (WIDTH, FEATURES),
        "decoder__bias": (WIDTH,),
    }
    return _pt(folder, "samples_1.pt", **{f"blocks-1-hook_resid_post__{name}": draw(*shape) for name, shape in names.items()})


def _gemma_npz(folder: Path) -> Path:
    folder.mkdir(parents=True)
    np.savez(folder / "params.npz", **standard(), threshold=draw(FEATURES))
    return folder


def _gemma_safetensors(folder: Path) -> Path:
    arrays = {name.lower(): array for name, array in (standard() | {"threshold": draw(FEATURES)}).items()}
    return _save(folder, "config.json", {"hf_hook_point_in": "model.layers.1.output"}, "params.safetensors", made.tensors(**arrays))


def _directions(folder: Path) -> Path:
    folder.mkdir(parents=True)
    np.save(folder / "directions.npy", draw(FEATURES, WIDTH))
    return folder / "directions.npy"


def _bussmann(folder: Path) -> Path:
    config = {"sae_type": "batchtopk", "top_k": 4, "input_unit_norm": True, "hook_point": HOOK_POINT, "model_name": "tiny", "seq_len": 64}
    _save(folder, "config.json", config, "sae.pt", b"")
    _pt(folder, "sae.pt", **standard())
    return folder


def _llama_scope(folder: Path) -> Path:
    norms = {"norm_activation": "dataset-wise", "dataset_average_activation_norm": {"in": 4.0, "out": 2}, "sparsity_include_decoder_norm": True}
    config = {"hook_point_in": HOOK_POINT, "hook_point_out": HOOK_POINT, "act_fn": "jumprelu", "jump_relu_threshold": 0.5, "top_k": 5, **norms}
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "hyperparams.json").write_text(json.dumps(config), encoding="utf-8")
    weights = {"encoder__weight": draw(FEATURES, WIDTH), "encoder__bias": draw(FEATURES), "decoder__weight": draw(WIDTH, FEATURES)}
    (folder / "checkpoints" / "final.safetensors").write_bytes(made.tensors(**weights, decoder__bias=draw(WIDTH)))
    return folder


def _circuit_tracer(folder: Path) -> Path:
    weights = standard() | {"W_enc": draw(FEATURES, WIDTH), "activation_function__threshold": abs(draw(FEATURES)), "W_skip": draw(WIDTH, WIDTH)}
    settings = "model_name: tiny\nfeature_input_hook: hook_resid_post\nfeature_output_hook: hook_mlp_out\n"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(settings, encoding="utf-8")
    (folder / "layer_1.safetensors").write_bytes(made.tensors(**weights))
    return folder


def _goodfire(folder: Path) -> Path:
    weights = {
        "encoder_linear__weight": draw(FEATURES, WIDTH),
        "encoder_linear__bias": draw(FEATURES),
        "decoder_linear__weight": draw(WIDTH, FEATURES),
    }
    return _pt(folder, "tiny-SAE-l1.pth", **weights, decoder_linear__bias=draw(WIDTH))


def _gated_in_papers_names(folder: Path) -> Path:
    biases = {"b_gate": draw(FEATURES), "b_mag": draw(FEATURES), "r_mag": draw(FEATURES), "b_dec": draw(WIDTH)}
    folder.mkdir(parents=True)
    (folder / "gated.safetensors").write_bytes(made.tensors(W_gate=draw(WIDTH, FEATURES), W_dec=draw(FEATURES, WIDTH), **biases))
    return folder / "gated.safetensors"


DICTIONARIES: dict[str, Callable[[Path], Path]] = {
    "SAELens": lambda folder: _saelens(folder, "topk", {}, k=4),
    "SAELens, gated": _gated,
    "SAELens, scaled": _scaled,
    "SAELens, old": _old_saelens,
    "sparsify": _sparsify,
    "dictionary_learning": _dictionary_learning,
    "OpenAI": _openai,
    "Apollo": _apollo,
    "Gemma Scope, npz": _gemma_npz,
    "Gemma Scope, safetensors": _gemma_safetensors,
    "directions": _directions,
    "Bussmann": _bussmann,
    "Llama Scope": _llama_scope,
    "circuit-tracer": _circuit_tracer,
    "Goodfire": _goodfire,
    "gated": _gated_in_papers_names,
}
TOKENIZERS: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "byte-level": (tokenizers_of.byte_level, {"bos_token": "<|bos|>"}),
    "SentencePiece": (tokenizers_of.sentencepiece, {"bos_token": {"content": "<s>"}, "eos_token": "</s>"}),
    "Unigram": (tokenizers_of.unigram, {"bos_token": "<s>", "unk_token": "<unk>"}),
    "WordPiece": (tokenizers_of.word_piece, {"cls_token": "[CLS]", "tokenizer_class": "BertTokenizerFast"}),
}


CORPORA = ("lines.jsonl", "lines.jsonl.gz", "lines.jsonl.zst", "texts.parquet", "chats.parquet")


def cases(folder: Path) -> dict[str, Case]:
    """A valid job for each family of weights, each kind of tokenizer and each form of a corpus."""
    corpus = folder / "corpus"
    corpus.mkdir()
    for number in range(20):
        (corpus / f"{number}.txt").write_text(f"document {number}", encoding="utf-8")
    plain = _subject(folder / "plain" / "subject", "byte-level")
    found = {}
    for name, make in DICTIONARIES.items():
        source = make(folder / "dictionaries" / name.replace(" ", "-").replace(",", ""))
        found[name] = _case(plain, source, corpus, source.parent if source.is_file() else source)
    good = DICTIONARIES["SAELens"](folder / "good")
    for name in TOKENIZERS:
        subject = _subject(folder / "subjects" / name, name)
        found[f"subject, {name}"] = _case(subject, good, corpus, subject)
    found["neurons"] = _case(subject, subject, corpus, subject, format="neurons")
    return found | _corpora(folder / "corpora", _subject(folder / "chat" / "subject", "byte-level"), good)


def _corpora(folder: Path, subject: Path, source: Path) -> dict[str, Case]:
    """A job on each form of a corpus, which is what is changed."""
    template = {"bos_token": "<|bos|>", "chat_template": "{% for m in messages %}{{ m.content }}{% endfor %}"}
    (subject / "tokenizer_config.json").write_text(json.dumps(template), encoding="utf-8")
    texts = [f"document {number}" for number in range(20)]
    chats = [[{"role": "user", "content": text}] for text in texts]
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts).encode()
    columns: Any = {"texts.parquet": texts, "chats.parquet": chats}
    contents = {"lines.jsonl": lines, "lines.jsonl.gz": gzip.compress(lines), "lines.jsonl.zst": zstandard.compress(lines)}
    found = {}
    for name in CORPORA:
        corpus = folder / name
        corpus.mkdir(parents=True)
        if name in columns:
            parquet.write_table(pyarrow.table({"text": columns[name]}), corpus / name, row_group_size=7)
        else:
            (corpus / name).write_bytes(contents[name])
        case = _case(subject, source, corpus, corpus)
        spec = CorpusSpec(path=str(corpus), chat=name == "chats.parquet")
        found[f"corpus, {name}"] = replace(case, job=case.job.model_copy(update={"corpus": spec}))
    return found


def _subject(folder: Path, kind: str) -> Path:
    make, settings = TOKENIZERS[kind]
    tokenizers_of.saved(make(), folder, settings, bos_token_id=0)
    (folder / "model.safetensors").write_bytes(made.tensors(norm=draw(WIDTH)))
    (folder / "special_tokens_map.json").write_text(json.dumps(settings), encoding="utf-8")
    (folder / "generation_config.json").write_text(json.dumps({"bos_token_id": 0, "eos_token_id": [1, 2]}), encoding="utf-8")
    return folder


def _case(subject: Path, source: Path, corpus: Path, changed: Path, **spec: Any) -> Case:
    job = JobSpec(
        subject=SubjectSpec(model=str(subject), device="cpu"),
        dictionary=DictionarySpec(source=str(source), hook_point=HOOK_POINT, **spec),
        corpus=CorpusSpec(path=str(corpus)),
        collection={"row_tokens": 64},  # type: ignore[arg-type]
    )
    return Case(job, {path: path.read_bytes() for path in sorted(changed.rglob("*")) if path.is_file()})


# What a field may be replaced by: other types, edges of integers, what is no number, texts that are none, trees.
NUMBERS = (0, 1, -1, 2, 7, 3.5, -0.0, 1e-45, 1e38, 1e308, float("nan"), float("inf"), 10**9, 10**18, 10**40, 10**400)
EDGES = (2**31, 2**32, 2**53, 2**63, 2**64, -(2**63))
STRINGS = ("", "x", "4", "x" * 300, "x" * 100_000, "\x00", "\x1b[2J", "\ud800", "../../etc/passwd")
HOOK_POINTS = ("blocks.1.hook_resid_post", "blocks.99999999999999999999.hook_resid_post", "blocks.१.hook_resid_post")
NAMES = ("topk", "gated", "jumprelu", "layer_norm", "expected_average_only_in", "F64", "F8_E4M3", "C64", "ByteLevel", "BPE", "Unigram")
LISTS: tuple[Any, ...] = ([], [0], [None], [-1], [2**40, 2**40], [0, 0], ["x"] * 1000, [[[[[[[]]]]]]], list(range(3000)))
OBJECTS: tuple[Any, ...] = ({}, {"a": {"a": {}}}, {"content": 3}, {"k": "4"}, {"type": "ByteLevel"})
HOSTILE: tuple[Any, ...] = (None, True, False, *NUMBERS, *EDGES, *STRINGS, *HOOK_POINTS, *NAMES, *LISTS, *OBJECTS)
# One change leads further in than many, of which the first that is met is refused.
CHANGES = (1, 1, 1, 1, 2, 4)


def mutant(content: bytes, name: str, chance: random.Random) -> bytes:
    """The file with one to four changes: of its fields where it has any, else of its bytes."""
    suffix = name.rsplit(".", 1)[-1]
    if chance.random() < 0.6:
        if suffix == "json":
            return _written(_fields(json.loads(content), chance), chance)
        if suffix == "safetensors":
            return _headed(content, chance)
        if suffix in ("npz", "pt"):
            return _packed(content, chance)
    return _bytes(content, chance)


def _fields(tree: Any, chance: random.Random) -> Any:
    tree = copy.deepcopy(tree)
    for _ in range(chance.choice(CHANGES)):
        places = list(_places(tree))
        if not places:
            return tree
        # The upper fields are what readers look at: a vocabulary has hundreds below.
        place, key = places[min(chance.randrange(len(places)), chance.randrange(len(places)))]
        act = chance.random()
        if act < 0.15:
            del place[key]
        elif act < 0.25 and isinstance(place, dict):
            place[chance.choice(["k", "x", "architecture", "\ud800", ""])] = copy.deepcopy(chance.choice(HOSTILE))
        elif act < 0.4:
            place[key] = copy.deepcopy(chance.choice(places)[0])
        else:
            place[key] = copy.deepcopy(chance.choice(HOSTILE))
    return tree if chance.random() > 0.03 else chance.choice(HOSTILE)


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every (object or list, key), those that are nearer to the root first."""
    level = [tree]
    while level:
        below = []
        for node in level:
            items = list(node.items()) if isinstance(node, dict) else list(enumerate(node)) if isinstance(node, list) else []
            for key, value in items:
                yield node, key
                below.append(value)
        level = below


def _written(tree: Any, chance: random.Random) -> bytes:
    text = json.dumps(tree).encode()
    return text if chance.random() > 0.05 else b'{"a":' * 500 + text + b"}" * 500


def _headed(content: bytes, chance: random.Random) -> bytes:
    """Of safetensors the header's fields, with the length that it then has."""
    length = struct.unpack("<Q", content[:8])[0]
    header = _written(_fields(json.loads(content[8 : 8 + length]), chance), chance)
    return made.safetensors(header, content[8 + length :])


def _packed(content: bytes, chance: random.Random) -> bytes:
    """Of a zip one entry, packed again so that its checksums hold."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    chosen = "archive/data.pkl" if "archive/data.pkl" in entries and chance.random() < 0.8 else chance.choice(sorted(entries))
    entries[chosen] = _bytes(entries[chosen], chance)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", chance.choice([zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])) as archive:
        for name, entry in entries.items():
            archive.writestr(name, entry)
    return packed.getvalue()


def _bytes(content: bytes, chance: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(chance.choice(CHANGES)):
        size = len(changed)
        # Headers stand at the beginning, directories of zips at the end.
        place = chance.choice([chance.randrange(size + 1), chance.randrange(min(size, 300) + 1), size - chance.randrange(min(size, 300) + 1)])
        length = chance.choice([1, 1, 2, 4, 8, 16])
        act = chance.randrange(6)
        if act == 0:
            changed[place : place + length] = bytes(chance.randrange(256) for _ in range(length))
        elif act == 1:
            changed[place : place + length] = bytes([chance.choice([0, 0x7F, 0x80, 0xFF])]) * length
        elif act == 2:
            del changed[place : place + chance.choice([length, size // 3])]
        elif act == 3:
            changed[place:place] = changed[place : place + chance.choice([length, 200])]
        elif act == 4 and place < size:
            changed[place] ^= 1 << chance.randrange(8)
        else:
            changed[place : place + length] = struct.pack("<Q", chance.choice([2**31, 2**32 - 1, 2**40, 2**63]))[:length]
    return bytes(changed)
