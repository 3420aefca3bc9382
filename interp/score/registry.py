"""The scorers by name. To add one: a class with `name`, `version` and `score` in a file of its own, and a line here."""

from collections.abc import Callable

from interp.errors import InputError
from interp.score.base import Scorer
from interp.score.detection import Detection
from interp.score.judge import ExecutableJudge, Judge
from interp.score.simulation import Simulation
from interp.spec import ScorerSpec

SCORERS: dict[str, Callable[[ScorerSpec, Judge], Scorer]] = {
    Detection.name: Detection,
    Simulation.name: Simulation,
}


def get(name: str, spec: ScorerSpec, judge: Judge | None = None) -> Scorer:
    """The scorer of that name with its judge (the executable one when none is given). Raises InputError on an unknown name."""
    if name not in SCORERS:
        raise InputError(f"There is no scorer {name!r}.", cure=f"Known are: {', '.join(sorted(SCORERS))}.", name=name)
    return SCORERS[name](spec, judge if judge is not None else ExecutableJudge())
