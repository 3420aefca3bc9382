"""Partial results on disk."""

import errno
from pathlib import Path

import numpy as np
import pytest

from interp.collect import partial as partials
from interp.collect.partial import Partial, merge
from interp.collect.run import collect
from interp.errors import DiskFull
from interp.spec import CollectionSpec, SplitCounts
from tests.collect.fakes import FakeSubject, make_corpus, make_dictionary
from tests.collect.test_properties import assert_equal

FEATURES = 24
COUNTS = SplitCounts(top=3, uniform=4, weighted=0, inactive=5, near_miss=3)
SPEC = CollectionSpec(row_tokens=32, window=8, batch_tokens=512, explain=COUNTS)
CORPUS = make_corpus([90] * 30)


def run(documents: tuple[int, int], seed: int = 0) -> Partial:
    return collect(FakeSubject(), make_dictionary(FEATURES), CORPUS, documents, SPEC, seed, np.arange(FEATURES), lambda done: None)


@pytest.fixture(scope="module")
def whole() -> Partial:
    return run((0, 30))


def test_what_is_saved_is_loaded(whole: Partial, tmp_path: Path) -> None:
    path = tmp_path / "new" / "partial.safetensors"
    whole.save(path)
    loaded = Partial.load(path)
    assert loaded.origin == whole.origin
    assert_equal(loaded, whole)
    assert [item.name for item in path.parent.iterdir()] == [path.name]


def test_a_range_of_features_loads_and_merges_alone(whole: Partial, tmp_path: Path) -> None:
    shards = [(0, 11), (11, 19), (19, 30)]
    for index, shard in enumerate(shards):
        run(shard).save(tmp_path / str(index))
    ranges = [slice(0, 5), slice(5, 23), slice(23, 24)]
    merged = [merge([Partial.load(tmp_path / str(index), span) for index in range(3)]) for span in ranges]
    assert np.concatenate([part.features for part in merged]).tolist() == list(range(FEATURES))
    for part in merged:
        assert (part.tokens_seen, part.windows_seen) == (whole.tokens_seen, whole.windows_seen)
    for name in ("windows_active", "histogram", "sums", "maxima"):
        np.testing.assert_array_equal(np.concatenate([getattr(part, name) for part in merged]), getattr(whole, name))
    for sample, keys in whole.keys.items():
        np.testing.assert_array_equal(np.concatenate([part.keys[sample] for part in merged]), keys)
    for sample, values in whole.activations.items():
        np.testing.assert_array_equal(np.concatenate([part.activations[sample] for part in merged]), values)


def test_partials_of_different_origin_do_not_merge(whole: Partial) -> None:
    with pytest.raises(ValueError, match="do not merge"):
        merge([whole, run((0, 10), seed=1)])
    with pytest.raises(ValueError, match="nothing"):
        merge([])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_told(whole: Partial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draft = tmp_path / "draft"
    draft.symlink_to("/dev/full")
    monkeypatch.setattr(Path, "with_name", lambda self, name: draft)
    with pytest.raises(DiskFull):
        whole.save(tmp_path / "partial.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_breaks_off_leaves_nothing(whole: Partial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    whole.save(tmp_path / "partial.safetensors")
    before = (tmp_path / "partial.safetensors").read_bytes()
    monkeypatch.setattr(partials.os, "fsync", breaks)
    with pytest.raises(OSError, match="Input/output"):
        whole.save(tmp_path / "partial.safetensors")
    assert [item.read_bytes() for item in tmp_path.iterdir()] == [before]
