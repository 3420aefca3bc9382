"""SIGKILL of one process, at any point of a job."""

from collections.abc import Callable

from tests.faults.moments import ALL_STAGES, GPU_STAGES, LLM_STAGES
from tests.faults.trial import Fault, Scene
from tests.faults.waiting import until


def of_worker(queue: str) -> Callable[[Scene], None]:
    """Kills a worker of the kind while it surely holds a chunk."""
    return lambda scene: scene.cluster.kill(caught(scene, queue))


def caught(scene: Scene, queue: str) -> str:
    """A worker of the kind that surely holds a chunk, and stands still; any of the kind where the job is over before one does."""

    def found() -> str | None:
        pair = scene.catch(queue)
        if pair is None and scene.is_over():
            return scene.random.choice(scene.cluster.of_queue(queue))
        return pair and pair[0]

    return until(found, "a worker at work", every=0.02)


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
    Fault("kill-upkeep", "SIGKILL of the upkeep worker", of("upkeep"), ALL_STAGES, is_kill=True),
)
