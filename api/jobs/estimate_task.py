"""Count an estimate's calls in a sandbox process, which reads tokenizer and texts."""

from dataclasses import dataclass

from pydantic import TypeAdapter

from api.jobs import estimate
from api.jobs.estimate import SampleCount
from api.jobs.estimate_sample import Drawn
from interp.planning.preflight import PreflightRequest
from interp.security import allowed_files
from interp.security.allowed_files import Allowance
from interp.security.sandbox import Task


@dataclass(frozen=True, slots=True)
class CountRequest:
    """A job, and the features that were drawn for it."""

    asked: PreflightRequest
    drawn: Drawn


def _count(given: CountRequest) -> SampleCount:
    asked = given.asked
    with allowed_files.within(asked.roots), allowed_files.allowing(Allowance(asked.seconds, asked.nbytes)):
        return estimate.count(asked.spec, given.drawn.sample(asked.spec))


COUNT = Task("api.jobs.estimate_task:COUNT", _count, TypeAdapter(CountRequest), TypeAdapter(SampleCount))
