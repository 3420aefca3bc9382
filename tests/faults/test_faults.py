"""Each fault in its short form, on one service of separate processes: the job completes without a hand, and nobody could tell from its book."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from interp.domain.errors import ServerMissingError
from tests.faults.cluster import Cluster, cluster
from tests.faults.job import Reference, reference, scripted
from tests.faults.registry import FAULTS
from tests.faults.trial import attempt
from tests.servers import WANTED

pytestmark = pytest.mark.timeout(300)
SHORT = [fault for fault in FAULTS.values() if fault.short]


@pytest.fixture(scope="module")
def service() -> Iterator[tuple[Cluster, Reference]]:
    """The processes, started once: between two trials the database is emptied."""
    with ExitStack() as stack:
        # PostgreSQL runs as another user, who may not enter pytest's own folders.
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="glossator-faults-", ignore_cleanup_errors=True)))
        folder.chmod(0o755)
        server = stack.enter_context(scripted())
        undisturbed = reference(folder, server)
        try:
            found = stack.enter_context(cluster(folder, server))
        except ServerMissingError as error:
            pytest.skip(f"{WANTED}PostgreSQL and Redis: {error}")
        yield found, undisturbed


@pytest.mark.parametrize("key", [fault.key for fault in SHORT])
def test_nothing_is_lost(service: tuple[Cluster, Reference], key: str) -> None:
    found, undisturbed = service
    fault = FAULTS[key]
    reason = fault.blocks(found)
    if reason is not None:
        pytest.skip(reason)
    for seed in range(fault.short):
        outcome = attempt(found, undisturbed, fault, seed)
        assert outcome.is_recovered, f"{outcome}\n{found.logs()}"
