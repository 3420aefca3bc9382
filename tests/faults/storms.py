"""A storm of 429 at the judge."""

from interp.lifecycle import JOB_ENDS, Stage
from interp.llm.scripted.faults import Faults
from tests.faults.moments import status_of
from tests.faults.trial import Fault, Scene
from tests.faults.waiting import until

# Most with `Retry-After`, some without; what is let through is answered.
STORM = Faults(rate_limited=0.6, rate_limited_silently=0.3, retry_after_seconds=0.2)
REFUSED, LONG_REFUSED = 60, 300


def storm(scene: Scene) -> None:
    """Nine of ten requests are turned away, until so many have been."""
    server = scene.cluster.server
    wanted = server.ledger.by_status[429] + (LONG_REFUSED if scene.is_long else REFUSED)
    server.faults = STORM
    try:
        until(lambda: server.ledger.by_status[429] >= wanted or status_of(scene.cluster.engine, scene.job_id) in JOB_ENDS, "the storm to pass")
    finally:
        server.faults = Faults()


FAULTS = (Fault("storm", "429 storm at the judge", storm, (Stage.EXPLAIN, Stage.SCORE)),)
