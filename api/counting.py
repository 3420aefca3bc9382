"""The counting of an estimate as a task of a process with limits: it reads the tokenizer, and runs on texts of the job's files."""

from dataclasses import dataclass

from pydantic import TypeAdapter

from api import estimating
from api.estimating import Counted
from api.sampling import Drawn
from interp import files
from interp.files import Allowance
from interp.limited import Task
from interp.preflight_task import Asked


@dataclass(frozen=True, slots=True)
class Counting:
    """What is counted: a job, and the features that were drawn for it."""

    asked: Asked
    drawn: Drawn


def _count(given: Counting) -> Counted:
    asked = given.asked
    with files.within(asked.roots), files.allowing(Allowance(asked.seconds, asked.nbytes)):
        return estimating.count(asked.spec, given.drawn.sample(asked.spec))


COUNT = Task("api.counting:COUNT", _count, TypeAdapter(Counting), TypeAdapter(Counted))
