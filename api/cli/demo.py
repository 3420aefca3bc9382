"""`glossator demo`: the whole way, on the example that comes with the repository."""

import time
from pathlib import Path
from typing import Annotated

import typer

from api.cli import progress, report
from api.cli.console import duration, err, out, say
from api.cli.submit import read_spec
from api.client import Client
from interp.errors import FileMissing
from interp.settings import Settings

ROOT = Path(__file__).parents[2]
JOB = ROOT / "examples" / "pystdlib" / "job.yaml"


def demo(
    home: Annotated[Path, typer.Option(help="Where the database goes.")] = ROOT / ".glossator",
    job: Annotated[Path, typer.Option(help="The job to submit, as YAML.")] = JOB,
) -> None:
    """Explain and score every feature of examples/pystdlib on this machine, and print what came of it."""
    from api.service import Service

    if not job.exists():
        raise FileMissing(f"There is no {job}.", why="The demo runs from a checkout of the repository.", cure="Clone it, then type `make demo`.")
    started = time.monotonic()
    spec = read_spec(job, {})
    settings = Settings(home=home)
    settings.home.mkdir(parents=True, exist_ok=True)
    with (settings.home / "workers.log").open("ab") as log, Service(settings, "127.0.0.1", 0, log_to=log) as service, Client(service.url) as client:
        say(f"Glossator is listening on {service.url}; its workers log to {log.name}")
        submitted = client.submit_job(spec.model_dump(mode="json"))
        say(f"job {submitted['id']}")
        finished = progress.follow(client, submitted["id"], err)
        progress.outcome(finished)
        report.print_report(client, finished)
    name = finished["dictionary"]
    out.print(f"\nThe demo took {duration(time.monotonic() - started)}. The book is kept in {settings.home}:", markup=False, soft_wrap=True)
    for command in (f"glossator features {name} --sort lift --order desc", f"glossator feature {name}:0", "glossator serve"):
        out.print(f"  {command}", markup=False, soft_wrap=True)
