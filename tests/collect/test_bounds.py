"""Memory and threads: what a collection takes, and gives back."""

import numpy as np
import pytest
import torch

from interp.collect.collector import cut
from interp.collect.lanes import Lanes
from interp.collect.memory import Extent, collection_bytes, reservoir_bytes
from interp.collect.run import Collection
from interp.spec import CollectionSpec
from tests.collect.fakes import WIDTH, FakeSubject, make_corpus, make_dictionary

CPU = torch.device("cpu")


def test_reservoirs_take_what_the_formula_says() -> None:
    spec, features = CollectionSpec(), 24
    with Collection(FakeSubject(), make_dictionary(features), make_corpus([50] * 4), spec, 0, np.arange(features)) as collection:
        reservoirs = [item for block in collection._collector.blocks for item in block.reservoirs.values()]
    held = sum(tensor.nbytes for item in reservoirs for tensor in (item.keys, item.payload) if tensor is not None)
    assert held == reservoir_bytes(features, spec)
    assert reservoir_bytes(1, spec) == 17_728
    assert collection_bytes(features, Extent(features, WIDTH), spec) > held


def test_lanes_leave_torch_as_it_was() -> None:
    threads, lanes = torch.get_num_threads(), Lanes(CPU)
    seen: list[int] = []

    def work(item: int) -> None:
        seen.append(item)
        assert torch.is_inference_mode_enabled()
        assert lanes.count == 1 or torch.get_num_threads() == 1
        if item == 1:
            raise ValueError("item 1")

    with pytest.raises(ValueError, match="item 1"):
        lanes.each(work, [0, 1, 2])
    lanes.close()
    assert torch.get_num_threads() == threads
    assert lanes.count == 1 or sorted(seen) == [0, 1, 2]


@pytest.mark.parametrize(("start", "stop", "parts", "grain"), [(0, 3072, 2, 256), (5, 900, 4, 256), (0, 3, 2, 256), (7, 7, 2, 4), (0, 1000, 3, 1)])
def test_ranges_adjoin_and_begin_at_whole_tiles(start: int, stop: int, parts: int, grain: int) -> None:
    ranges = cut(start, stop, parts, grain)
    assert [place for low, high in ranges for place in range(low, high)] == list(range(start, stop))
    assert len(ranges) <= parts
    assert all((low - start) % grain == 0 for low, _ in ranges)
