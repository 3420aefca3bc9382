"""Partial results as files: what is put together from parts is what one pass gives, whole or not there at all."""

import errno
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from interp.collect import partial_file
from interp.collect.partial import Partial, merge
from interp.collect.partial_file import combine, load, save
from interp.collect.reservoir import EMPTY
from interp.collect.run import collect
from interp.domain.errors import ArtifactMissingError, BlobCorruptError, DiskFullError, WorkInterruptedError
from interp.domain.evidence import ACTIVE_KINDS, ContextKind, Split
from interp.domain.spec import CollectionSpec, SplitCounts
from interp.files.artifact_store import Store
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


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.of(f"file://{tmp_path}", {}, tmp_path / "cache")


def test_what_is_saved_is_loaded(whole: Partial, store: Store) -> None:
    save(store, "new/partial", whole)
    loaded = load(store, "new/partial")
    assert loaded.origin == whole.origin
    assert_equal(loaded, whole)
    assert [item.name for item in (Path(store.root) / "new").iterdir()] == ["partial"]


def test_others_read_it_as_safetensors(whole: Partial, store: Store) -> None:
    save(store, "partial", whole)
    arrays = load_file(Path(store.root) / "partial")
    np.testing.assert_array_equal(arrays["histogram"], whole.histogram)
    np.testing.assert_array_equal(arrays["keys.TOP.EXPLAIN"], whole.keys[ContextKind.TOP, Split.EXPLAIN])


def test_a_range_of_features_loads_and_merges_alone(whole: Partial, store: Store) -> None:
    shards = [(0, 11), (11, 19), (19, 30)]
    for index, shard in enumerate(shards):
        save(store, str(index), run(shard))
    ranges = [(0, 5), (5, 23), (23, 24)]
    merged = [merge(load(store, str(index), span) for index in range(3)) for span in ranges]
    assert np.concatenate([part.features for part in merged]).tolist() == list(range(FEATURES))
    for part in merged:
        assert (part.tokens_seen, part.windows_seen) == (whole.tokens_seen, whole.windows_seen)
    for name in ("windows_active", "histogram", "sums", "maxima", "levels"):
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


@pytest.mark.parametrize("rows", [1, 7, 24, 100])
def test_a_combined_file_is_what_one_pass_gives(whole: Partial, store: Store, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(partial_file, "ROWS", rows)
    shards, done = [(0, 11), (11, 19), (19, 30)], []
    for index, shard in enumerate(shards):
        save(store, str(index), run(shard))
    combine(store, ["2", "0", "1"], "all", done.append)
    assert_equal(load(store, "all"), whole)
    assert done[-1] == FEATURES
    save(store, "whole", whole)
    assert (Path(store.root) / "all").read_bytes() == (Path(store.root) / "whole").read_bytes()


def test_combining_holds_two_parts_of_a_few_features_at_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    features, parts = 4096, 6
    part = wide(features)
    for index in range(parts):
        save(store, str(index), part)
    size = (Path(store.root) / "0").stat().st_size
    monkeypatch.setattr(partial_file, "ROWS", 64)
    tracemalloc.start()
    combine(store, [str(index) for index in range(parts)], "all", lambda done: None)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < size / 4, "a part is never whole in memory, let alone all of them"


def wide(features: int) -> Partial:
    """A partial of many features, without collecting one."""
    samples = [(kind, split) for kind in ContextKind for split in Split]
    return Partial(
        origin="wide",
        features=np.arange(features),
        tokens_seen=1,
        windows_seen=(1, 1),
        windows_active=np.ones((features, 2), np.int64),
        histogram=np.ones((features, 64), np.int64),
        sums=np.ones(features, np.int64),
        maxima=np.ones(features, np.float32),
        levels=np.zeros(features, np.float32),
        keys={sample: np.full((features, 10), EMPTY) for sample in samples},
        activations={sample: np.zeros((features, 10, 8), np.float16) for sample in samples if sample[0] in ACTIVE_KINDS},
    )


def test_combining_stops_where_it_is_told_to_and_leaves_nothing(whole: Partial, store: Store) -> None:
    def stop(done: int) -> None:
        raise WorkInterruptedError("enough")

    save(store, "0", whole)
    with pytest.raises(WorkInterruptedError):
        combine(store, ["0"], "all", stop)
    assert store.names("") == ["0"]


def test_a_part_that_is_gone_and_one_that_is_cut_off_are_told_apart(whole: Partial, store: Store) -> None:
    with pytest.raises(ArtifactMissingError, match="cleared away"):
        load(store, "nothing")
    save(store, "partial", whole)
    path = Path(store.root) / "partial"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BlobCorruptError, match="ends after"):
        load(store, "partial")
    path.write_bytes(b"no safetensors")
    with pytest.raises(BlobCorruptError):
        load(store, "partial")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_told(whole: Partial, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    draft = Path(store.root) / "draft"
    draft.symlink_to("/dev/full")
    monkeypatch.setattr(Path, "with_name", lambda self, name: draft)
    with pytest.raises(DiskFullError):
        save(store, "partial", whole)
    assert list(Path(store.root).iterdir()) == []


def test_a_write_that_breaks_off_leaves_what_was_there(whole: Partial, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    save(store, "partial", whole)
    before = (Path(store.root) / "partial").read_bytes()
    monkeypatch.setattr("interp.files.artifact_store.os.fsync", breaks)
    with pytest.raises(OSError, match="Input/output"):
        save(store, "partial", whole)
    assert [item.read_bytes() for item in Path(store.root).iterdir()] == [before]
