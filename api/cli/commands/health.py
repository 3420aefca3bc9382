"""`glossator health`: the health report of a dictionary."""

import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli import connect
from api.cli.commands.features import RUN, dictionary_name
from api.cli.commands.submit import assignments
from api.cli.output import progress
from api.cli.output.console import print_json, say
from api.cli.output.health_report import print_health
from api.cli.output.png import require_png
from api.jobs.paths import paths_of
from interp.domain.errors import InputError, NotFoundError
from interp.domain.spec import JobSpec
from interp.files.atomic import writing

if TYPE_CHECKING:
    from api.cli.connect import Reader

# Digits of a digest that name a run, as the API takes them.
SHORTEST_DIGEST = 8
# Settings of the job that are not needed for a report.
WITHOUT = ("dictionaries", "models", "controls", "budget", "webhook")


def health(
    dictionary: Annotated[str, typer.Argument(help="pystdlib@1-res, pystdlib/1-res, or an id.")],
    run: Annotated[str | None, typer.Option(help=RUN)] = None,
    against: Annotated[list[str] | None, typer.Option(metavar="DICT", help="Compare with this dictionary's report, too. Repeat for more.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Measure again, even where there is a report.")] = False,
    change: Annotated[list[str] | None, typer.Option("--set", help="A setting of the report: tokens=50000, se=0.01. Repeat for more.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write the report with plots as one HTML file, which needs no network.")] = None,
    plots: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Write each plot as NAME.svg and NAME.png, its numbers as NAME.csv.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Say whether a dictionary is any good: losses, sparsity, geometry, relations of features.

    Shows the last report. Where there is none, a job without explainers makes it, on the subject and corpus of the run's last job.
    """
    name, settings = dictionary_name(dictionary), assignments(change)
    others = [dictionary_name(other) for other in against or ()]
    if others:
        _require_reports(others)
    if plots is not None:
        # Before a job is paid for: whether they can be drawn at all.
        require_png()
    found = None if again or settings else _known(name, run, others)
    if found is None:
        found = _measured(name, run, others, settings)
    if html is not None:
        # Imported here: it draws, which few readers ask for.
        from api.cli.output.health_page import page

        with writing(html) as file:
            file.write(page(found).encode())
        say(f"{html} is written")
    if plots is not None:
        from api.cli.output.health_plots import write_plots

        say(f"{plots}: {write_plots(plots, found)} plots are written")
    print_json(found) if as_json else print_health(found)


def _require_reports(dictionaries: Sequence[str]) -> None:
    """Raise NotFoundError for one without a report, before a job on another is submitted."""
    with connect.reader() as client:
        for one in dictionaries:
            client.get_dictionary_health(one)


def _known(dictionary: str, run: str | None, against: Sequence[str]) -> dict[str, Any] | None:
    """Return the stored report, or None without one; raises NotFoundError for other names."""
    from glossator import ApiError

    with connect.reader() as client:
        try:
            return client.get_dictionary_health(dictionary, run, against)
        except NotFoundError:
            client.get_dictionary(dictionary)
        except ApiError as error:
            if error.status != 404:
                raise
            client.get_dictionary(dictionary)
    return None


def _measured(dictionary: str, run: str | None, against: Sequence[str], settings: dict[str, Any]) -> dict[str, Any]:
    """Return the report of a new job; without a server, one is started."""
    with connect.reader() as reader:
        spec = JobSpec.model_validate(_spec(reader, dictionary, run) | {"health": settings})
    with connect.service(paths_of(spec)) as client:
        job = client.submit_job(spec.model_dump(mode="json"), str(uuid.uuid4()))
        say(f"job {job['id']}")
        finished = progress.follow_or_detach(client, job["id"])
        progress.raise_unless_completed(finished)
        return client.get_dictionary_health(dictionary, finished["run"], against)


def _spec(client: "Reader", dictionary: str, run: str | None) -> dict[str, Any]:
    """Return the spec of a run's last job without what explains and scores."""
    runs = list(client.list_runs(dictionary))
    shown = next((one for one in runs if (one["current"] if run is None else _is_named(one, run))), None)
    jobs = [] if shown is None else shown["jobs"]
    if shown is None or not jobs:
        raise InputError(
            f"No job of {dictionary} tells the subject and the corpus.", cure="Submit its job file with --set health=true --set explainers=[]."
        )
    job = client.get_job(jobs[0]["id"])
    place = next((place for place, made in enumerate(job["runs"]) if made["run"] == shown["name"]), 0)
    spec = {name: value for name, value in job["spec"].items() if name not in WITHOUT}
    own = (job["spec"].get("dictionaries") or [job["spec"]["dictionary"]])[place]
    return spec | {"dictionary": own, "explainers": [], "scorers": []}


def _is_named(run: dict[str, Any], reference: str) -> bool:
    """Return whether a run has this number, address, or start of its digest."""
    return reference in (str(run["number"]), run["name"]) or (len(reference) >= SHORTEST_DIGEST and run["digest"].startswith(reference))
