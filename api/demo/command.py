"""`glossator demo`: run the repository's example from corpus to scores."""

import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from api.cli.commands.submit import read_spec
from api.cli.output.console import duration, out
from api.demo.embedded import run_embedded
from api.jobs.paths import paths_of
from interp.config.settings import take_settings
from interp.domain.errors import FileMissingError, InputError
from interp.domain.spec import JobSpec

ROOT = Path(__file__).parents[2]
JOB = ROOT / "examples" / "pystdlib" / "job.yaml"
JOB_LLM = ROOT / "examples" / "pystdlib" / "job-llm.yaml"
FEATURES_LLM = "0-199"


class Llm(StrEnum):
    FAKE = "fake"


def demo(
    home: Annotated[Path, typer.Option(help="Where the database goes.")] = ROOT / ".glossator",
    job: Annotated[Path | None, typer.Option(help="The job to submit, as YAML.")] = None,
    llm: Annotated[Llm | None, typer.Option(help="fake: a scripted language model behind HTTP explains and judges, with faults.")] = None,
    features: Annotated[str | None, typer.Option(help="all, or ranges with both ends: 0-99,120.")] = None,
    cluster: Annotated[
        bool,
        typer.Option(
            "--cluster", help="On PostgreSQL and Redis with workers of its own processes, two of them killed; compared with the plain demo."
        ),
    ] = False,
) -> None:
    """Explain and score the features of examples/pystdlib on this machine,
    and print what came of it.
    """
    if llm and cluster:
        raise InputError("The cluster's demo asks no language model.", cure="Leave out --llm, or --cluster.")
    job = job or (JOB_LLM if llm else JOB)
    if not job.exists():
        raise FileMissingError(f"There is no {job}.", why="The demo runs from a checkout of the repository.", cure="Clone it, then type `make demo`.")
    if llm:
        # Imported here: only this command needs the scripted server.
        from api.demo import llm_command

        llm_command.run(home, job, features or FEATURES_LLM)
        return
    spec = read_spec(job, {"features": features} if features else {})
    if cluster:
        # Imported here: only this command needs PostgreSQL and Redis.
        from api.demo import cluster_command

        cluster_command.run(home, spec)
        return
    _by_rules(home, spec)


def _by_rules(home: Path, spec: JobSpec) -> None:
    """Run the job with rules instead of a language model: no key, no cost."""
    started = time.monotonic()
    settings = take_settings(home=home, roots=paths_of(spec))
    name = run_embedded(settings, spec)["dictionary"]
    out.print(f"\nThe demo took {duration(time.monotonic() - started)}. The database is kept in {settings.home}:", markup=False, soft_wrap=True)
    for command in (f"glossator features {name} --sort lift --order desc", f"glossator feature {name}:0", "glossator serve --open"):
        out.print(f"  {command}", markup=False, soft_wrap=True)
    pages = f"http://{settings.host}:{settings.port}/dictionaries/{quote(name)}/features"
    out.print(f"The last one shows it as pages, at {pages}", markup=False, soft_wrap=True)
