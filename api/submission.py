"""What is looked at before a job is stored: names, paths, and all that the headers of files can tell."""

from dataclasses import dataclass
from pathlib import Path

from api.paths import absolute
from interp import preflight
from interp.explain import registry as explainers
from interp.preflight import Preflight
from interp.score import registry as scorers
from interp.spec import JobSpec


@dataclass(frozen=True, slots=True)
class Checked:
    """A job that can be stored: its spec with absolute paths, and what the preflight found out."""

    spec: JobSpec
    facts: Preflight


def check(spec: JobSpec) -> Checked:
    """Stores nothing and opens no model. Raises the InputError that the spec deserves."""
    for explainer in spec.explainers:
        explainers.get(explainer)
    for wanted in spec.scorers:
        scorers.get(wanted.name, wanted)
    resolved = absolute(spec, Path.cwd())
    return Checked(resolved, preflight.check(resolved))
