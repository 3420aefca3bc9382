"""A subject's weights are held against its config.json at submission; a .bin is read by the same small machine as a dictionary's .pt."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from interp.domain.errors import DictionaryError, FileMissingError, PickleRefusedError, SubjectError, WeightsNotFiniteError
from interp.domain.spec import SubjectSpec
from interp.planning.subject_weights import check_described, read_headers
from interp.subject.shape import ModelShape
from tests.security import checkpoints as made
from tests.security.mutants import Case, cases


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return cases(tmp_path)["subject, byte-level"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made.torch_file(tmp_path / "pytorch_model.bin", made.dict_of(a=made.tensor("0", (4, 4))), {"0": np.ones((4, 4))})
    return tmp_path


def spec(folder: Path) -> SubjectSpec:
    return SubjectSpec(model=str(folder))


def test_a_bin_is_read(folder: Path) -> None:
    (folder / "training_args.bin").write_bytes(b"\x80\x02cos\nsystem\n.")
    assert [tensor.shape for tensors in read_headers(spec(folder)).values() for tensor in tensors.values()] == [(4, 4)]


def test_a_bin_of_before_is_left_to_the_library(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.")
    assert read_headers(spec(tmp_path)) == {}


def test_a_bin_that_grows(folder: Path) -> None:
    made.torch_file(folder / "pytorch_model.bin", made.dict_of(a=made.tensor("0", (30_000, 30_000), (0, 0))), {"0": [1.0]})
    with pytest.raises(DictionaryError, match="do not fit"):
        read_headers(spec(folder))


def test_a_bin_that_is_packed(folder: Path) -> None:
    path = made.torch_file(folder / "pytorch_model.bin", made.dict_of(a=made.tensor("0", (4,))))
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(1 << 20))
    with pytest.raises(PickleRefusedError, match="packed"):
        read_headers(spec(folder))


def test_a_bin_that_runs_code(folder: Path) -> None:
    made.torch_file(folder / "pytorch_model.bin", made.name("os", "system") + made.tuple_of(made.text("true")) + b"R")
    with pytest.raises(PickleRefusedError):
        read_headers(spec(folder))


def test_no_weights(tmp_path: Path) -> None:
    with pytest.raises(FileMissingError):
        read_headers(spec(tmp_path))


def test_a_config_of_a_model_that_the_weights_are_not(folder: Path) -> None:
    weights = read_headers(spec(folder))
    sizes = {"architecture": "x", "d_mlp": 64, "heads": 2, "kv_heads": 2, "d_heads": 16, "context": 64}
    check_described(ModelShape(layers=2, d_model=16, vocabulary=300, **sizes), weights)
    for layers, width, vocabulary in ((2, 1 << 17, 300), (2000, 1 << 14, 300), (2, 1 << 10, 1 << 22)):
        with pytest.raises(SubjectError, match="larger model") as caught:
            check_described(ModelShape(layers=layers, d_model=width, vocabulary=vocabulary, **sizes), weights)
        assert caught.value.cure


def test_numbers_of_a_bin_that_are_none(case: Case) -> None:
    from interp.planning import preflight

    folder = Path(case.job.subject.model)
    (folder / "model.safetensors").unlink()
    made.torch_file(folder / "pytorch_model.bin", made.dict_of(a=made.tensor("0", (4,))), {"0": [1.0, float("nan"), 1.0, 1.0]})
    with pytest.raises(WeightsNotFiniteError, match=r"\[1\]"):
        preflight.check(case.job)
