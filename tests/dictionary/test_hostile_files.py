"""Every family refuses hostile and damaged files with one clear error, and takes no memory for what they claim."""

import io
import json
import os
import pickle
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from interp.dictionary import formats
from interp.domain.errors import DictionaryError, InputError, PickleRefusedError, WeightsNotFiniteError
from interp.domain.spec import DictionarySpec
from tests.dictionary import files, test_gemma_scope, test_malformed_files, test_papers
from tests.dictionary.files import FEATURES, HOOK_POINT, WIDTH, randn, standard_tensors

LINEAR = {"weight": (FEATURES, WIDTH), "bias": (FEATURES,)}
# What a claim of gigabytes, or an archive of zeros, would take at once is more.
LITTLE = 16 << 20


def gemma_scope_npz(folder: Path) -> Path:
    return test_gemma_scope.first_edition(folder / "gemma-scope-2b-pt-res" / "layer_3" / "width_16k")


def goodfire(folder: Path) -> Path:
    t = {"encoder_linear.weight": randn(FEATURES, WIDTH), "encoder_linear.bias": randn(FEATURES), "decoder_linear.weight": randn(WIDTH, FEATURES)}
    torch.save({**t, "decoder_linear.bias": randn(WIDTH)}, folder / "x-SAE-l3.pth")
    return folder / "x-SAE-l3.pth"


def openai(folder: Path) -> Path:
    t = {"encoder.weight": randn(FEATURES, WIDTH), "decoder.weight": randn(WIDTH, FEATURES), "latent_bias": randn(FEATURES), "pre_bias": randn(WIDTH)}
    torch.save(t, folder / "8.pt")
    return folder / "8.pt"


def apollo(folder: Path) -> Path:
    t = {"encoder.0.weight": randn(FEATURES, WIDTH), "encoder.0.bias": randn(FEATURES), "decoder.weight": randn(WIDTH, FEATURES)}
    torch.save(
        {f"{HOOK_POINT.replace('.', '-')}.{name}": value for name, value in {**t, "decoder.bias": randn(WIDTH)}.items()}, folder / "samples_1.pt"
    )
    return folder / "samples_1.pt"


def gated(folder: Path) -> Path:
    t = standard_tensors()
    stored = {"W_gate": t["W_enc"], "W_dec": t["W_dec"], "b_dec": t["b_dec"], "b_gate": t["b_enc"], "b_mag": t["b_enc"] * 2, "r_mag": t["b_enc"] / 9}
    save_file(stored, folder / "gated.safetensors")
    return folder / "gated.safetensors"


def prolu(folder: Path) -> Path:
    torch.save(standard_tensors(), folder / "prolu.pt")
    return folder / "prolu.pt"


def directions(folder: Path) -> Path:
    save_file({"directions": randn(FEATURES, WIDTH)}, folder / "probes.safetensors")
    return folder / "probes.safetensors"


# The family, and a function that writes valid files of it into a folder.
FAMILIES: dict[str, Callable[[Path], Path]] = {
    "saelens": test_malformed_files.saelens,
    "sparsify": test_malformed_files.sparsify,
    "dictionary_learning": test_malformed_files.dictionary_learning,
    "gemma_scope": gemma_scope_npz,
    "bussmann": lambda folder: test_papers.bussmann(folder / "sae", "vanilla"),
    "llama_scope": lambda folder: test_papers.llama_scope(folder / "sae"),
    "circuit_tracer": lambda folder: test_papers.circuit_tracer(folder / "set", (0,)),
    "goodfire": goodfire,
    "openai": openai,
    "apollo": apollo,
    "gated": gated,
    "prolu": prolu,
    "directions": directions,
}


def weights_of(source: Path) -> Path:
    if source.is_file():
        return source
    return next(path for path in sorted(source.rglob("*")) if path.suffix in {".safetensors", ".pt", ".pth", ".npz"})


def opened(family: str, source: Path) -> None:
    spec = DictionarySpec(
        source=str(source), format=family if family == "prolu" else "auto", hook_point=HOOK_POINT if family != "circuit_tracer" else None
    )
    files.open_dictionary(spec)


class Evil:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.mark}",)


def zip_with(entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return made.getvalue()


def npy(shape: tuple[int, ...], content: bytes) -> bytes:
    head = str({"descr": "<f4", "fortran_order": False, "shape": shape}).encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + content


def changed_tensor(path: Path, axes: int, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Change the file's largest tensor of some axes, as its own library writes it."""
    match path.suffix:
        case ".safetensors":
            tensors: dict[str, Any] = load_file(path)
        case ".npz":
            tensors = {name: torch.from_numpy(array) for name, array in np.load(path).items()}
        case _:
            tensors = torch.load(path, weights_only=True)
    found = [name for name, value in tensors.items() if isinstance(value, torch.Tensor) and value.ndim == axes]
    name = max(found, key=lambda name: tensors[name].numel())
    tensors[name] = change(tensors[name].clone())
    match path.suffix:
        case ".safetensors":
            save_file({name: value.contiguous() for name, value in tensors.items()}, path)
        case ".npz":
            np.savez(path, **{name: value.numpy() for name, value in tensors.items()})
        case _:
            torch.save(tensors, path)


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def source(family: str, tmp_path: Path) -> Path:
    made = FAMILIES[family](tmp_path)
    opened(family, made)
    return made


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_are_none(family: str, source: Path, bad: float) -> None:
    def spoil(tensor: torch.Tensor) -> torch.Tensor:
        tensor.view(-1)[5] = bad
        return tensor

    changed_tensor(weights_of(source), 2, spoil)
    with pytest.raises(WeightsNotFiniteError) as refused:
        opened(family, source)
    assert refused.value.cure


def test_a_width_that_does_not_fit(family: str, source: Path) -> None:
    if family == "directions":
        tensors = {"directions": randn(FEATURES, WIDTH), "threshold": randn(FEATURES + 1)}
        save_file(tensors, source)
    else:
        changed_tensor(weights_of(source), 1, lambda tensor: tensor[:-1])
    with pytest.raises(DictionaryError) as refused:
        opened(family, source)
    assert refused.value.cure


def test_a_pickle_that_needs_code(family: str, source: Path, tmp_path: Path) -> None:
    """Nothing of it runs, whether it is in the file's own form or a bare pickle under the file's name."""
    weights, mark = weights_of(source), tmp_path / "ran"
    contents = [pickle.dumps({"state": Evil(mark)})]
    if weights.suffix in (".pt", ".pth"):
        whole = torch.load(weights, weights_only=True)
        saved = io.BytesIO()
        torch.save({**whole, "config": Evil(mark)}, saved)
        contents.append(saved.getvalue())
    for content in contents:
        weights.write_bytes(content)
        with pytest.raises(PickleRefusedError if weights.suffix in (".pt", ".pth") else InputError) as refused:
            opened(family, source)
        assert refused.value.cure
        assert not mark.exists()


def hostile(suffix: str) -> list[bytes]:
    """Small files that claim gigabytes: bombs, and headers that lie about shapes and offsets."""
    if suffix == ".safetensors":
        facts = [
            {"shape": [1 << 20, 1 << 12], "dtype": "F32", "data_offsets": [0, 1 << 34]},
            {"shape": [1 << 20, 1 << 12], "dtype": "F32", "data_offsets": [0, 8]},
            {"shape": [-1, 4], "dtype": "F32", "data_offsets": [0, 8]},
            {"shape": [2], "dtype": "F32", "data_offsets": [1 << 40, (1 << 40) + 8]},
        ]
        names = ("W_enc", "encoder.weight", "directions", "W_gate")
        headers = [json.dumps(dict.fromkeys(names, fact)).encode() for fact in facts]
        return [*(struct.pack("<Q", len(header)) + header + bytes(8) for header in headers), struct.pack("<Q", 1 << 40) + b"{}"]
    zeros = bytes(1 << 25)
    if suffix == ".npz":
        bombs = {f"{name}.npy": npy((4096, 2048), zeros) for name in ("W_enc", "W_dec")}
        return [zip_with(bombs, zipfile.ZIP_DEFLATED), zip_with({"W_enc.npy": npy((1 << 40, 1 << 20), b"")})]
    saved = io.BytesIO()
    torch.save({"encoder.weight": torch.zeros(1).expand(1 << 15, 1 << 15), "W_enc": torch.zeros(1).expand(1 << 15, 1 << 15)}, saved)
    torch_bomb = zip_with({"a/data.pkl": pickle.dumps({}) + zeros, "a/data/0": zeros}, zipfile.ZIP_DEFLATED)
    return [torch_bomb, saved.getvalue()]


def test_files_that_claim_gigabytes(family: str, source: Path) -> None:
    weights = weights_of(source)
    contents = hostile(weights.suffix if weights.suffix != ".pth" else ".pt")
    for content in contents:
        weights.write_bytes(content)
        tracemalloc.start()
        with pytest.raises(InputError) as refused:
            opened(family, source)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert refused.value.cure
        assert peak < LITTLE


def test_every_family_is_attacked() -> None:
    assert set(formats.FORMATS) - set(FAMILIES) <= {"neurons", "crosscoder", "cross_layer_transcoder"}
