"""Connections of one test do not outlive it."""

from collections.abc import Iterator

import pytest

from workers.llm.event_loop import close_clients


@pytest.fixture(autouse=True)
def connections_end_with_the_test() -> Iterator[None]:
    yield
    close_clients()
