"""PostgreSQL restarted while a worker is in the middle of the transaction that finishes its chunk."""

import signal
import time

from sqlalchemy import select, text

from interp.store.db.tables import JobRow
from tests.faults.moments import ALL_STAGES
from tests.faults.trial import Fault, Scene
from tests.faults.waiting import until

WAITING = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND pid <> pg_backend_pid()")


def restart(scene: Scene) -> None:
    """A lock on the job's row stops the next worker that finishes, all its results written and not yet committed; then the server goes down."""
    engine = scene.cluster.engine
    with engine.connect() as holder:
        holder.execute(select(JobRow.id).where(JobRow.id == scene.job_id).with_for_update())
        until(lambda: holder.scalar(WAITING) or not scene.held, "a transaction to interrupt")
        scene.look()
        scene.cluster.postgres.restart(scene.random.choice([signal.SIGINT, signal.SIGQUIT, signal.SIGKILL]))
        holder.invalidate()
    engine.dispose()


def away(scene: Scene) -> None:
    """Longer than a lease."""
    scene.cluster.postgres.stop(signal.SIGQUIT)
    time.sleep(2 * scene.cluster.settings.lease_seconds)
    scene.cluster.postgres.start()
    scene.cluster.engine.dispose()


FAULTS = (
    Fault("postgres-restart", "PostgreSQL restarted mid-transaction", restart, ALL_STAGES),
    Fault("postgres-away", "PostgreSQL away for two leases", away, ALL_STAGES),
)
