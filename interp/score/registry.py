"""The scorers by name. To add one: a class in a file of its own, and a line here; see `Scorer` and `LlmScorer` for what it has."""

from collections.abc import Callable

from interp.errors import InputError
from interp.score.base import LlmScorer, Scorer
from interp.score.detection import Detection
from interp.score.fuzz import Fuzz
from interp.score.judge import ExecutableJudge, Judge
from interp.score.judged_detection import JudgedDetection
from interp.score.judged_simulation import JudgedSimulation
from interp.score.selection import Selection
from interp.score.simulation import Simulation
from interp.spec import JobSpec, ScorerSpec

SCORERS: dict[str, Callable[[ScorerSpec, Judge], Scorer]] = {
    Detection.name: Detection,
    Simulation.name: Simulation,
}

JUDGED: dict[str, Callable[[ScorerSpec], LlmScorer]] = {
    JudgedDetection.name: JudgedDetection,
    Fuzz.name: Fuzz,
    JudgedSimulation.name: JudgedSimulation,
    Selection.name: Selection,
}

# Those that ask window by window, and so can stop.
SEQUENTIAL = frozenset({JudgedDetection.name, Fuzz.name})


def names() -> list[str]:
    """All scorers, whoever judges."""
    return sorted(SCORERS.keys() | JUDGED.keys())


def uses_llm(spec: ScorerSpec, job: JobSpec) -> bool:
    """Whether a language model answers this scorer's questions in this job."""
    if spec.judge == "auto":
        return spec.name not in SCORERS or job.models.judge is not None
    return spec.judge == "llm"


def get(name: str, spec: ScorerSpec, judge: Judge | None = None) -> Scorer:
    """The scorer of that name with its judge (the executable one when none is given). Raises InputError on a name that it cannot be had by."""
    if name in JUDGED and name not in SCORERS:
        raise InputError(
            f"The scorer {name!r} asks a language model.", why="A rule cannot answer its questions.", cure='Set its judge to "llm".', name=name
        )
    if name not in SCORERS:
        raise _unknown(name)
    if spec.stop == "sequential":
        raise InputError(
            f"The scorer {name!r} cannot stop early with the executable judge.",
            why="Its answers cost nothing.",
            cure='Set stop to "fixed".',
            name=name,
        )
    return SCORERS[name](spec, judge if judge is not None else ExecutableJudge())


def judged(spec: ScorerSpec) -> LlmScorer:
    """The scorer with a language model as its judge. Raises InputError on an unknown name, and on options that it does not have."""
    if spec.name not in JUDGED:
        raise _unknown(spec.name)
    if spec.stop == "sequential" and spec.name not in SEQUENTIAL:
        raise InputError(
            f"The scorer {spec.name!r} cannot stop early.",
            why="Only scorers with one yes or no a window have an interval that holds at every moment.",
            cure=f'Set stop to "fixed", or use {" or ".join(sorted(SEQUENTIAL))}.',
            name=spec.name,
        )
    return JUDGED[spec.name](spec)


def _unknown(name: str) -> InputError:
    return InputError(f"There is no scorer {name!r}.", cure=f"Known are: {', '.join(names())}.", name=name)
