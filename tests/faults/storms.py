"""A storm of 429 at the judge."""

import time

from api.demo.fake_llm.faults import Faults
from interp.domain.lifecycle import JOB_ENDS, Stage
from tests.faults.moments import status_of
from tests.faults.trial import Fault, Scene
from tests.faults.waiting import until

# Most with `Retry-After`, some without; what is let through is answered.
STORM = Faults(rate_limited=0.6, rate_limited_silently=0.3, retry_after_seconds=0.2)
REFUSED, LONG_REFUSED = 60, 300
# Workers that are turned away soon ask so rarely that a long storm has fewer to refuse.
LONGEST_SECONDS = 120.0


def storm(scene: Scene) -> None:
    """Nine of ten requests are turned away, until so many have been: the long one for two minutes at most."""
    server = scene.cluster.server
    before, begun = server.totals.by_status[429], time.monotonic()

    def is_over() -> bool:
        refused = server.totals.by_status[429] - before
        is_long_enough = refused >= (LONG_REFUSED if scene.is_long else REFUSED)
        is_long_ago = refused >= REFUSED and time.monotonic() - begun > LONGEST_SECONDS
        return is_long_enough or is_long_ago or status_of(scene.cluster.engine, scene.job_id) in JOB_ENDS

    server.faults = STORM
    try:
        until(is_over, "the storm to pass")
    finally:
        server.faults = Faults()


FAULTS = (Fault("storm", "429 storm at the judge", storm, (Stage.EXPLAIN, Stage.SCORE)),)
