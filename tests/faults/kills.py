"""SIGKILL of one process, at any point of a job."""

from collections.abc import Callable

from tests.faults.moments import ALL_STAGES, GPU_STAGES, LLM_STAGES
from tests.faults.trial import Fault, Scene
from tests.faults.waiting import until


def of_worker(queue: str) -> Callable[[Scene], None]:
    """Kills a worker of the kind while it surely holds a chunk; any of the kind where the job is over before one does."""

    def strike(scene: Scene) -> None:
        caught = until(
            lambda: scene.catch(queue) or (scene.is_over() and (scene.random.choice(scene.cluster.of_queue(queue)), [])),
            "a worker at work",
            every=0.005,
        )
        scene.cluster.kill(caught[0])

    return strike


def of(name: str) -> Callable[[Scene], None]:
    """Kills the process of that name."""
    return lambda scene: scene.cluster.kill(name)


def nothing_more(_scene: Scene) -> None:
    """It has struck already."""


FAULTS = (
    Fault("kill-gpu", "SIGKILL of a gpu worker", of_worker("gpu"), GPU_STAGES, is_kill=True, short=2),
    Fault("kill-llm", "SIGKILL of an llm worker", of_worker("llm"), LLM_STAGES, is_kill=True, short=2),
    Fault("kill-api", "SIGKILL of the api", of("api"), ALL_STAGES, is_kill=True),
    Fault(
        "kill-api-submitting",
        "SIGKILL of the api while a job is submitted",
        nothing_more,
        GPU_STAGES[:1],
        is_kill=True,
        at_submission=lambda cluster: cluster.kill("api"),
    ),
    Fault("kill-upkeep", "SIGKILL of the sweeper", of("upkeep"), ALL_STAGES, is_kill=True),
)
