"""The preflight as a task of a process with limits."""

from dataclasses import dataclass

from pydantic import TypeAdapter

from interp.domain.spec import JobSpec
from interp.planning import preflight
from interp.planning.preflight import Preflight
from interp.security.allowed_files import Allowance, Roots
from interp.security.sandbox import Task


@dataclass(frozen=True, slots=True)
class PreflightRequest:
    """A job whose paths are absolute, the roots that it may read, and for how long and how much."""

    spec: JobSpec
    roots: Roots
    seconds: float
    nbytes: int


def _check(asked: PreflightRequest) -> Preflight:
    return preflight.check(asked.spec, asked.roots, Allowance(asked.seconds, asked.nbytes))


CHECK = Task("interp.planning.preflight_task:CHECK", _check, TypeAdapter(PreflightRequest), TypeAdapter(Preflight))
