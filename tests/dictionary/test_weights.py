"""Weight files are read as torch and numpy would read them; what is damaged or would run code is refused with one clear error."""

import json
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from interp.dictionary.torchfile import read_torch, tensors_of
from interp.dictionary.weights import StoredTensor, read_npy, read_npz, read_safetensors
from interp.domain.errors import DictionaryError, DictionaryFormatUnknownError, FileMissingError, PickleRefusedError, WeightsNotFiniteError
from tests.dictionary import files
from tests.dictionary.files import randn, saelens, standard_tensors

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.bool]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_safetensors_and_pt_of_every_dtype(tmp_path: Path, dtype: torch.dtype) -> None:
    tensor = (randn(3, 5, scale=3)).to(dtype)
    save_file({"a": tensor}, tmp_path / "a.safetensors")
    torch.save({"a": tensor}, tmp_path / "a.pt")
    for stored in (read_safetensors(tmp_path / "a.safetensors")["a"], read_torch(tmp_path / "a.pt")["a"]):
        assert stored.shape == (3, 5)
        assert stored.read().dtype == np.float32
        np.testing.assert_array_equal(stored.read(), tensor.float().numpy())


def test_pt_of_views_parameters_and_nested_dicts(tmp_path: Path) -> None:
    base = randn(6, 4)
    content = {
        "transposed": base.T,
        "part": base[2:5, 1],
        "scalar": torch.tensor(7),
        "empty": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(base),
        "state": OrderedDict(inner=base * 2),
        "settings": {"k": 32, "name": "TopK", "dtype": torch.float32, "shape": base.shape},
    }
    torch.save(content, tmp_path / "a.pt")
    read = read_torch(tmp_path / "a.pt")
    for name in ("transposed", "part", "scalar", "empty", "parameter"):
        expected = content[name]
        assert isinstance(expected, torch.Tensor)
        np.testing.assert_array_equal(read[name].read(), expected.detach().float().numpy())
    assert read["settings"] == {"k": 32, "name": "TopK", "dtype": "torch.float32", "shape": (6, 4)}
    assert set(tensors_of(read)) == {"transposed", "part", "scalar", "empty", "parameter", "state.inner"}


def test_npz_and_npy(tmp_path: Path) -> None:
    arrays = {"a": np.arange(6, dtype=np.float64).reshape(2, 3), "b": np.ones(3, dtype=np.float16)}
    np.savez(tmp_path / "a.npz", **arrays)
    np.save(tmp_path / "a.npy", arrays["a"])
    stored = read_npz(tmp_path / "a.npz")
    assert {name: value.shape for name, value in stored.items()} == {"a": (2, 3), "b": (3,)}
    for name, array in arrays.items():
        np.testing.assert_array_equal(stored[name].read(), array)
    np.testing.assert_array_equal(read_npy(tmp_path / "a.npy").read(), arrays["a"])


class Evil:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.mark}",)


def test_a_pickle_that_needs_code_is_refused_and_none_of_it_runs(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    torch.save({"encoder.weight": randn(3, 2), "config": Evil(mark)}, tmp_path / "8.pt")
    with pytest.raises(PickleRefusedError, match="system") as refused:
        files.opened(tmp_path / "8.pt")
    assert "safetensors" in refused.value.cure
    assert not mark.exists()


def test_a_bare_pickle_is_refused(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    (tmp_path / "8.pt").write_bytes(pickle.dumps(Evil(mark)))
    with pytest.raises(PickleRefusedError):
        files.opened(tmp_path / "8.pt")
    assert not mark.exists()


def test_object_arrays_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "params.npz", W_enc=np.array([Evil(tmp_path / "ran")], dtype=object))
    with pytest.raises(PickleRefusedError):
        files.opened(tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_not_finite_weights_name_tensor_and_place(tmp_path: Path, bad: float, dtype: torch.dtype) -> None:
    tensors = {name: tensor.to(dtype) for name, tensor in standard_tensors().items()}
    tensors["W_dec"][3, 5] = bad
    with pytest.raises(WeightsNotFiniteError, match=r"W_dec .* 1 of 480 numbers, the first at \[3, 5\]"):
        files.opened(saelens(tmp_path / "sae", "standard", tensors))


def test_a_file_cut_short(tmp_path: Path) -> None:
    folder = saelens(tmp_path / "sae", "standard", standard_tensors())
    weights = folder / "sae_weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(DictionaryError, match="cut short"):
        files.opened(folder)
    weights.write_bytes(b"\x08")
    with pytest.raises(DictionaryError, match="no safetensors"):
        files.opened(folder)


def test_a_tensor_beyond_its_storage_is_an_error_not_a_read(tmp_path: Path) -> None:
    torch.save({"a": randn(4)}, tmp_path / "good.pt")
    with zipfile.ZipFile(tmp_path / "good.pt") as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "bad.pt", "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content[:8] if "/data/" in name else content)
    stored = read_torch(tmp_path / "bad.pt")["a"]
    assert isinstance(stored, StoredTensor)
    with pytest.raises(DictionaryError, match="beyond its storage"):
        stored.read()


def test_missing_and_unknown(tmp_path: Path) -> None:
    with pytest.raises(FileMissingError, match="nowhere"):
        files.opened(tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("hello", encoding="utf-8")
    with pytest.raises(DictionaryFormatUnknownError, match=r"No file in it.*saelens"):
        files.opened(tmp_path)
    with pytest.raises(DictionaryFormatUnknownError, match=r"Known: .*saelens"):
        files.opened(tmp_path, format="salens")


def test_a_config_that_is_no_json(tmp_path: Path) -> None:
    folder = saelens(tmp_path / "sae", "standard", standard_tensors())
    (folder / "cfg.json").write_text(json.dumps({})[:1], encoding="utf-8")
    with pytest.raises(DictionaryError, match=r"cfg\.json cannot be read as JSON"):
        files.opened(folder)


@pytest.mark.parametrize("name", ["b_enc", "W_dec", "b_dec"])
def test_shapes_that_do_not_go_together(tmp_path: Path, name: str) -> None:
    tensors = standard_tensors()
    tensors[name] = tensors[name][:-1]
    with pytest.raises(DictionaryError, match="do not go together"):
        files.opened(saelens(tmp_path / "sae", "standard", tensors, apply_b_dec_to_input=False))
