"""Two workers that both believe they hold the lease: the sweeper takes the first one for dead, as it would where two machines share a name."""

from interp.store.queue import completion
from tests.faults.moments import ALL_STAGES
from tests.faults.trial import Fault, Scene


def take_from_the_living(scene: Scene) -> None:
    """The real sweeper, told that whoever works just now is gone. Nobody is told that his lease was given away."""
    scene.take_from_the_living()
    owners = {held.owner for held in scene.held}
    completion.sweep(scene.cluster.engine, lambda owner: owner in owners, scene.cluster.settings.max_lost_leases)


FAULTS = (Fault("two-owners", "Two workers that believe they hold one lease", take_from_the_living, ALL_STAGES, short=2),)
