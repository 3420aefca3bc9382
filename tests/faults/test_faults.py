"""Each fault in its short form, on one service of separate processes: the job completes without a hand, and nobody could tell from its book. And whom
such a service tells of it.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from standardwebhooks import Webhook as Verifier

from interp.domain.errors import ServerMissingError
from interp.domain.spec import WebhookSpec
from tests.faults.cluster import WEBHOOK_SECRET, Cluster, cluster
from tests.faults.job import Reference, reference, scripted
from tests.faults.registry import FAULTS
from tests.faults.trial import attempt
from tests.faults.waiting import until
from tests.servers import WANTED
from tests.workers.receiver import receiver

pytestmark = pytest.mark.timeout(300)
SHORT = [fault for fault in FAULTS.values() if fault.short]


@pytest.fixture(scope="module")
def service() -> Iterator[tuple[Cluster, Reference]]:
    """The processes, started once: between two trials the database is emptied.

    They are forks; in the long form each is started by itself.
    """
    with ExitStack() as stack:
        # PostgreSQL runs as another user, who may not enter pytest's own folders.
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="glossator-faults-", ignore_cleanup_errors=True)))
        folder.chmod(0o755)
        server = stack.enter_context(scripted())
        undisturbed = reference(folder, server)
        try:
            found = stack.enter_context(cluster(folder, server, is_forked=True))
        except ServerMissingError as error:
            pytest.skip(f"{WANTED}PostgreSQL and Redis: {error}")
        yield found, undisturbed


def test_a_receiver_is_told_once_and_signed_though_it_stumbled_at_first(service: tuple[Cluster, Reference]) -> None:
    """The webhook of a job that completes is answered with 500 once, then taken; that of one more job shows that upkeep has looked again since."""
    found, undisturbed = service
    found.clean()
    with receiver() as to:
        to.answers = [500, 204]
        webhook = WebhookSpec(url=to.url, events=("job.completed", "job.cancelled"))
        spec = undisturbed.spec.model_copy(update={"features": "0-3", "scorers": (), "webhook": webhook}).model_dump(mode="json")

        def is_told(job_id: str) -> bool:
            assert not found.ended, f"{found.ended}\n{found.logs()}"
            return any(row["delivered_at"] for row in found.client.list_webhook_deliveries(job_id))

        done = found.client.submit_job(spec)["id"]
        until(lambda: is_told(done), "the webhook of the job that completed", every=0.2)
        other = found.client.cancel_job(found.client.submit_job(spec)["id"])["id"]
        until(lambda: is_told(other), "the webhook of the job that was cancelled", every=0.2)
        (told,) = found.client.list_webhook_deliveries(done)

    assert (told["event"], told["attempts"]) == ("job.completed", 2)
    assert [sent.json["data"]["id"] for sent in to.sent] == [done, done, other]
    assert [sent.headers["webhook-id"] for sent in to.sent[:2]] == [told["id"]] * 2
    for sent in to.sent:
        Verifier(WEBHOOK_SECRET).verify(sent.body, sent.headers)
    assert to.sent[1].json == told["payload"]


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
