"""The scorers by name. To add one: a class in a file of its own, and a line here; see `Scorer` and `LlmScorer` for what it has."""

from collections.abc import Callable

from interp.domain.errors import InputError
from interp.domain.spec import JobSpec, ScorerSpec
from interp.score.base import LlmScorer, Scorer
from interp.score.executable_judge import ExecutableJudge
from interp.score.scorers.detection import Detection, JudgedDetection
from interp.score.scorers.discrimination import Discrimination
from interp.score.scorers.embedding import Embedding
from interp.score.scorers.fuzz import Fuzz
from interp.score.scorers.intruder import Intruder
from interp.score.scorers.selection import Selection
from interp.score.scorers.simulation import JudgedSimulation, Simulation
from interp.score.scorers.surprisal import Surprisal

SCORERS: dict[str, Callable[[ScorerSpec, ExecutableJudge], Scorer]] = {
    Detection.name: Detection,
    Simulation.name: Simulation,
}

JUDGED: dict[str, Callable[[ScorerSpec], LlmScorer]] = {
    JudgedDetection.name: JudgedDetection,
    Fuzz.name: Fuzz,
    Discrimination.name: Discrimination,
    Intruder.name: Intruder,
    JudgedSimulation.name: JudgedSimulation,
    Selection.name: Selection,
    Embedding.name: Embedding,
    Surprisal.name: Surprisal,
}

# Those that ask window by window, and so can stop.
SEQUENTIAL = frozenset({JudgedDetection.name, Fuzz.name})

# Nulls a feature where the options name no number: a rule answers for nothing, and so nearly does an embedding once the windows have theirs.
FREE_NULLS, ASKED_NULLS = 20, 2


def names() -> list[str]:
    """All scorers, whoever judges."""
    return sorted(SCORERS.keys() | JUDGED.keys())


def uses_llm(spec: ScorerSpec, job: JobSpec) -> bool:
    """Whether a language model answers this scorer's questions in this job."""
    if spec.judge == "auto":
        return spec.name not in SCORERS or job.models.judge is not None
    return spec.judge == "llm"


def nulls_of(spec: ScorerSpec, job: JobSpec) -> int:
    """How many nulls a feature gets; none where the job does without that control."""
    if "null" not in job.controls:
        return 0
    if spec.nulls is not None:
        return spec.nulls
    return FREE_NULLS if not uses_llm(spec, job) or spec.name == Embedding.name else ASKED_NULLS


def get(name: str, spec: ScorerSpec, judge: ExecutableJudge | None = None) -> Scorer:
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
