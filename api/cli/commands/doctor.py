"""`glossator doctor`: check an installation."""

from dataclasses import asdict
from typing import Annotated

import typer
from rich.text import Text

from api.cli import checks
from api.cli.output.console import out, print_json
from interp.config.settings import settings
from interp.domain.errors import SettingsInvalidError


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Check everything an installation needs, and say what to do about what is missing."""
    try:
        found = settings()
    except SettingsInvalidError as error:
        if as_json:
            print_json([asdict(checks.finding_of(error, "settings"))])
        raise
    findings = [finding for check in checks.CHECKS for finding in checks.run(check, found)]
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            mark = Text("ok   ", "green") if finding.well else Text("WRONG", "bold red")
            out.print(mark + Text(f"  {finding.name}: {finding.detail}"))
            if finding.cure:
                out.print(Text(f"       cure: {finding.cure}", "yellow"))
    if not all(finding.well for finding in findings):
        raise typer.Exit(1)
