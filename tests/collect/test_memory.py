"""Memory and threads: what a collection takes, and gives back."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benches.memory import RESET
from interp.collect.memory import Extent, collection_bytes, features_at_once, partial_bytes, reservoir_bytes
from interp.collect.run import SharedPass, Wanted, collect
from interp.collect.worker_threads import WorkerThreads, split_range
from interp.domain.spec import CollectionSpec
from tests.collect.fakes import WIDTH, FakeSubject, make_corpus, make_dictionary

CPU = torch.device("cpu")


def test_reservoirs_take_what_the_formula_says() -> None:
    spec, features = CollectionSpec(), 24
    with SharedPass(FakeSubject(), [Wanted(make_dictionary(features), np.arange(features))], make_corpus([50] * 4), spec, 0) as collecting:
        reservoirs = [item for block in collecting.collections[0].blocks for item in block.reservoirs.values()]
    held = sum(tensor.nbytes for item in reservoirs for tensor in (item.keys, item.payload) if tensor is not None)
    assert held == reservoir_bytes(features, spec)
    assert reservoir_bytes(1, spec) == 17_728
    assert collection_bytes(features, Extent(features, WIDTH), spec) > held


def test_a_result_takes_what_the_formula_says() -> None:
    spec, features = CollectionSpec(), 24
    part = collect(FakeSubject(), make_dictionary(features), make_corpus([50] * 4), (0, 4), spec, 0, np.arange(features), lambda done: None)
    held = sum(getattr(part, name).nbytes for name in ("features", "windows_active", "histogram", "sums", "maxima", "levels"))
    held += sum(array.nbytes for arrays in (part.keys, part.activations) for array in arrays.values())
    assert held == partial_bytes(features, spec)
    assert partial_bytes(1, spec) == 7_928


@pytest.mark.skipif(not RESET.exists(), reason="Linux alone tells a peak of memory")
@pytest.mark.parametrize(("features", "of"), [(16384, 16384), (4096, 32768)])
def test_a_collection_takes_no_more_than_the_formula_says(features: int, of: int) -> None:
    """In a process of its own, for sparse features such as dictionaries have. Not so little either that memory would lie idle."""
    code = f"import tests.collect.peak; tests.collect.peak.measure({features}, {of})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    taken = int(done.stdout)
    formula = collection_bytes(features, Extent(of, WIDTH), CollectionSpec())
    assert formula / 3 < taken < formula


@given(st.integers(0, 10**11), st.integers(1, 1 << 20), st.booleans())
def test_as_many_features_as_fit(room: int, features: int, topk: bool) -> None:
    of, spec = Extent(features, 768, topk), CollectionSpec()
    fit = features_at_once(room, of, spec)
    assert fit == 0 or collection_bytes(fit, of, spec) <= room
    assert fit == features or collection_bytes(fit + 1, of, spec) > room


def test_worker_threads_leave_the_thread_count_of_torch() -> None:
    threads, workers = torch.get_num_threads(), WorkerThreads(CPU)
    seen: list[int] = []

    def work(item: int) -> None:
        seen.append(item)
        assert torch.is_inference_mode_enabled()
        assert workers.count == 1 or torch.get_num_threads() == 1
        if item == 1:
            raise ValueError("item 1")

    with pytest.raises(ValueError, match="item 1"):
        workers.each(work, [0, 1, 2])
    workers.close()
    assert torch.get_num_threads() == threads
    assert workers.count == 1 or sorted(seen) == [0, 1, 2]


@pytest.mark.parametrize(("start", "stop", "parts", "grain"), [(0, 3072, 2, 256), (5, 900, 4, 256), (0, 3, 2, 256), (7, 7, 2, 4), (0, 1000, 3, 1)])
def test_ranges_adjoin_and_begin_at_whole_tiles(start: int, stop: int, parts: int, grain: int) -> None:
    ranges = split_range(start, stop, parts, grain)
    assert [place for low, high in ranges for place in range(low, high)] == list(range(start, stop))
    assert len(ranges) <= parts
    assert all((low - start) % grain == 0 for low, _ in ranges)
