"""Both signs of linear dictionaries; digests and requests of before are as they were."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from interp.dictionary.formats import dictionary_digest
from interp.domain.errors import DictionaryError
from interp.domain.polarity import address, number
from interp.domain.spec import DictionarySpec, JobSpec
from interp.planning.preflight import wanted_ranges
from tests.dictionary import files
from tests.dictionary.files import HOOK_POINT, WIDTH, assert_same, inputs, randn


def test_the_second_half_are_the_negative_sides(tmp_path: Path) -> None:
    rows, bias = randn(5, WIDTH), randn(5)
    save_file({"directions": rows, "bias": bias}, tmp_path / "probes.safetensors")
    one, both = (files.opened(tmp_path / "probes.safetensors", hook_point=HOOK_POINT, polarity=polarity) for polarity in ("positive", "both"))
    projection = inputs() @ rows.T + bias
    assert (both.n_features, both.polarity, one.polarity) == (10, "both", "positive")
    assert_same(both.encode(inputs()), torch.cat([projection.clamp_min(0), (-projection).clamp_min(0)], dim=1))
    assert_same(both.decode(both.encode(inputs())), projection @ rows)
    assert one.digest != both.digest


def test_features_with_a_threshold_or_an_encoder_have_one_side(tmp_path: Path) -> None:
    save_file({"directions": randn(5, WIDTH), "threshold": torch.ones(5)}, tmp_path / "probes.safetensors")
    sae = files.saelens(tmp_path / "sae", "standard", files.standard_tensors())
    for source in (tmp_path / "probes.safetensors", sae):
        with pytest.raises(DictionaryError, match="has no negative sides") as refused:
            files.opened(source, hook_point=HOOK_POINT, polarity="both")
        assert "polarity" in refused.value.cure


def test_the_default_is_in_no_request_and_no_digest(tmp_path: Path) -> None:
    np.save(tmp_path / "probes.npy", np.eye(3, dtype=np.float32))
    spec = DictionarySpec(source=str(tmp_path / "probes.npy"), hook_point=HOOK_POINT)
    assert "polarity" not in spec.model_dump()
    assert spec.model_copy(update={"polarity": "both"}).model_dump(mode="json")["polarity"] == "both"
    assert dictionary_digest(spec) == "5a8c42499849cc5b1248a1d2e7cf222c95cc8a092bea7816466d25d406c13929"


def test_features_name_both_sides_of_each(tiny_job: JobSpec) -> None:
    both = tiny_job.model_copy(update={"dictionary": tiny_job.dictionary.model_copy(update={"polarity": "both"})})
    assert wanted_ranges(both, 64) == [(0, 32), (32, 64)]
    assert wanted_ranges(both.model_copy(update={"features": "0-2,5"}), 64) == [(0, 3), (5, 6), (32, 35), (37, 38)]


@pytest.mark.parametrize(("index", "polarity", "written"), [(3, "positive", "3"), (8, "positive", "8"), (3, "both", "3"), (8, "both", "3-")])
def test_addresses(index: int, polarity: str, written: str) -> None:
    assert address(index, 10, polarity) == written
    assert number(written, 10, polarity) == index
    assert number("3-", 10, "positive") is None
