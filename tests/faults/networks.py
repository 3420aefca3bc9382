"""The network between all processes and their database cut, twice: refused, then silent for longer than a lease."""

import time

from tests.faults.moments import ALL_STAGES
from tests.faults.proxy import Network
from tests.faults.trial import Fault, Scene

BROKEN_SECONDS = 1.0


def cut(scene: Scene) -> None:
    proxy, lease = scene.cluster.proxy, scene.cluster.settings.lease_seconds
    try:
        proxy.network = Network.BROKEN
        time.sleep(BROKEN_SECONDS)
        proxy.network = Network.WHOLE
        time.sleep(scene.random.random() * BROKEN_SECONDS)
        proxy.network = Network.SILENT
        time.sleep(lease + BROKEN_SECONDS)
    finally:
        proxy.network = Network.WHOLE


FAULTS = (Fault("network-cut", "Network between workers and database cut", cut, ALL_STAGES),)
