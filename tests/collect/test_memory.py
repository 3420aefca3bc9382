"""Memory and threads: what a collection takes, and gives back."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benches.memory import RESET
from interp.collect.memory import (
    GPU_BATCH_TOKENS,
    MOST_GROUPS,
    Extent,
    collection_bytes,
    fewest_groups,
    forward_bytes,
    gpu_batch_tokens,
    group_bytes,
    partial_bytes,
    reservoir_bytes,
)
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


DICTIONARIES = st.lists(st.tuples(st.integers(1, 1 << 20), st.builds(Extent, st.just(1 << 20), st.just(768), st.booleans())), min_size=1, max_size=3)


@given(st.integers(0, 10**11), DICTIONARIES)
def test_groups_fit_and_are_no_more_than_needed(room: int, parts: list[tuple[int, Extent]]) -> None:
    spec = CollectionSpec()
    groups = fewest_groups(room, parts, spec)
    assert groups is None or group_bytes(groups, parts, spec) <= room
    assert all(group_bytes(fewer, parts, spec) > room for fewer in range(1, groups or MOST_GROUPS + 1))


@given(st.integers(0, 10**11), DICTIONARIES)
def test_batches_on_a_gpu_fill_the_memory_but_cost_no_pass(room: int, parts: list[tuple[int, Extent]]) -> None:
    spec = CollectionSpec()

    def groups(tokens: int) -> float:
        beside = room - max(forward_bytes(of, tokens) for _, of in parts)
        return fewest_groups(beside, parts, spec.in_batches_of(tokens)) or float("inf")

    chosen = gpu_batch_tokens(lambda _spec: room, parts, spec)
    assert (max(GPU_BATCH_TOKENS), min(GPU_BATCH_TOKENS)) == (65_536, 2_048)
    assert groups(chosen) == min(groups(tokens) for tokens in GPU_BATCH_TOKENS)
    assert groups(chosen) == float("inf") or all(groups(tokens) > groups(chosen) for tokens in GPU_BATCH_TOKENS if tokens > chosen)
    assert groups(chosen) < float("inf") or chosen == 2_048


def test_an_ordinary_gpu_takes_the_largest_batches() -> None:
    spec = CollectionSpec()
    assert gpu_batch_tokens(lambda _spec: 60 * 10**9, [(65_536, Extent(65_536, 2304))], spec) == 65_536
    assert gpu_batch_tokens(lambda _spec: 12 * 10**9, [(16_384, Extent(65_536, 2304))], spec) == 16_384
    # What else grows with a batch is reckoned with.
    assert gpu_batch_tokens(lambda spec: 60 * 10**9 - 2 * 10**6 * spec.tokens_at_once, [(65_536, Extent(65_536, 2304))], spec) < 65_536


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
