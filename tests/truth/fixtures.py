"""The planted dictionary of the tests: small, made once a process."""

import pytest
import torch

from benches.truth.world import World, build


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    torch.set_num_threads(1)
    return build(tmp_path_factory.mktemp("planted"), max_tokens=150_000, pairs=15)
