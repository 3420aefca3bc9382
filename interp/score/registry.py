"""List the scorers by name; `Scorer` and `LlmScorer` say what a new one needs."""

from interp.domain.errors import InputError
from interp.domain.spec import JobSpec, ScorerSpec
from interp.judge.prompts import template_of
from interp.judge.selection import SELECT
from interp.score.base import LlmScorer, Scorer
from interp.score.executable_judge import ExecutableJudge
from interp.score.scorers.detection import Detection, JudgedDetection
from interp.score.scorers.discrimination import Discrimination
from interp.score.scorers.embedding import Embedding
from interp.score.scorers.fuzz import Fuzz
from interp.score.scorers.generation import Generation
from interp.score.scorers.intruder import Intruder
from interp.score.scorers.output import Output
from interp.score.scorers.selection import Selection
from interp.score.scorers.simulation import JudgedSimulation, Simulation
from interp.score.scorers.surprisal import Surprisal

SCORERS: dict[str, type[Scorer]] = {Detection.name: Detection, Simulation.name: Simulation}

JUDGED: dict[str, type[LlmScorer]] = {
    scorer.name: scorer
    for scorer in (JudgedDetection, Fuzz, Discrimination, Intruder, JudgedSimulation, Selection, Embedding, Surprisal, Generation, Output)
}

# These ask window by window, and so can stop early.
SEQUENTIAL = frozenset({JudgedDetection.name, Fuzz.name})

# Scorers whose judge may be asked in a job's own words, with the template in whose place these stand.
WORDED: dict[str, str] = {scorer.name: scorer.kind for scorer in (JudgedDetection, Fuzz, Discrimination, Intruder, Output)} | {Selection.name: SELECT}

# Default numbers of nulls per feature. Those of rules and of texts that are written anyhow cost nothing, and those of an embedding little.
FREE_NULLS, ASKED_NULLS = 20, 2
CHEAP_NULLS = frozenset({Embedding.name, Generation.name})


def names() -> list[str]:
    """Return the names of all scorers, of either judge."""
    return sorted(SCORERS.keys() | JUDGED.keys())


def uses_llm(spec: ScorerSpec, job: JobSpec) -> bool:
    """Return whether a language model answers this scorer's questions in this job."""
    if spec.judge == "auto":
        return spec.name not in SCORERS or job.models.judge is not None
    return spec.judge == "llm"


def nulls_of(spec: ScorerSpec, job: JobSpec) -> int:
    """Return the number of nulls per feature, 0 where the job has no such control."""
    if "null" not in job.controls:
        return 0
    if spec.nulls is not None:
        return spec.nulls
    return FREE_NULLS if not uses_llm(spec, job) or spec.name in CHEAP_NULLS else ASKED_NULLS


def of_job(spec: ScorerSpec, job: JobSpec) -> Scorer | LlmScorer:
    """Return the scorer with its judge. Raises InputError on an unknown name or option."""
    return judged(spec) if uses_llm(spec, job) else get(spec)


def get(spec: ScorerSpec, judge: ExecutableJudge | None = None) -> Scorer:
    """Return the scorer with the executable judge. Raises InputError as `of_job`."""
    name = spec.name
    if name in JUDGED and name not in SCORERS:
        raise InputError(
            f"The scorer {name!r} asks a language model.", why="A rule cannot answer its questions.", cure='Set its judge to "llm".', name=name
        )
    if name not in SCORERS:
        raise _unknown(name)
    if spec.prompt is not None:
        raise InputError(f"The scorer {name!r} takes no prompt.", why="A rule answers.", cure='Leave `prompt` out, or set judge to "llm".', name=name)
    if spec.stop == "sequential":
        raise InputError(
            f"The scorer {name!r} cannot stop early with the executable judge.",
            why="Its answers cost nothing.",
            cure='Set stop to "fixed".',
            name=name,
        )
    return SCORERS[name](spec, judge)


def judged(spec: ScorerSpec) -> LlmScorer:
    """Return the scorer with a language model as its judge. Raises InputError as `of_job`."""
    if spec.name not in JUDGED:
        raise _unknown(spec.name)
    if spec.stop == "sequential" and spec.name not in SEQUENTIAL:
        raise InputError(
            f"The scorer {spec.name!r} cannot stop early.",
            why="Only scorers with one yes or no a window have an interval that holds at every moment.",
            cure=f'Set stop to "fixed", or use {" or ".join(sorted(SEQUENTIAL))}.',
            name=spec.name,
        )
    if spec.prompt is not None:
        _check_prompt(spec.name, spec.prompt)
    return JUDGED[spec.name](spec)


def _check_prompt(name: str, prompt: str) -> None:
    """Raise InputError for a prompt that does not fit, or a scorer that takes none."""
    if name not in WORDED:
        raise InputError(f"The scorer {name!r} takes no prompt.", cure=f"Leave `prompt` out. Those that do: {', '.join(WORDED)}.", name=name)
    template_of(WORDED[name], prompt, scorer=name)


def _unknown(name: str) -> InputError:
    return InputError(f"There is no scorer {name!r}.", cure=f"Known are: {', '.join(names())}.", name=name)
