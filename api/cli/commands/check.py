"""`glossator check`: a job's dictionary measured on a sample of tokens."""

import uuid
from pathlib import Path
from typing import Annotated

import typer

from api.cli import connect
from api.cli.commands.submit import assignments, read_spec
from api.cli.output import progress
from api.cli.output.check_report import print_check
from api.cli.output.console import print_json, print_warnings, say


def check(
    file: Annotated[Path, typer.Argument(help="A job as YAML. Its relative paths start at its own folder.")],
    change: Annotated[list[str] | None, typer.Option("--set", help="A setting to change: dictionary.hook_point=... Repeat for more.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Check on a sample that a job's dictionary fits its subject.

    Prints L0, FVU, loss recovered and dead features, and what is wrong with its cure. The exit status is 1 where a fault is found.
    """
    spec = read_spec(file, assignments(change))
    with connect.server() as client:
        found = client.submit_check(spec.model_dump(mode="json"), str(uuid.uuid4()))
        say(f"check {found['id']}")
        print_warnings(found)
        progress.raise_unless_completed(progress.follow_or_detach(client, found["id"]))
        report = client.get_check(found["id"])["report"]
    print_json(report) if as_json else print_check(report)
    if any(finding["severity"] == "fault" for finding in report["findings"]):
        raise typer.Exit(1)
