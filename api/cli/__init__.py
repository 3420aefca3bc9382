"""The command line."""

import sys
from typing import Annotated

import typer

from api.cli.registry import Group

app = typer.Typer(name="glossator", cls=Group, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)


def _version(wanted: bool) -> None:
    if wanted:
        # Reads the installed packages' metadata: no other command waits for that.
        from importlib.metadata import version

        typer.echo(f"glossator {version('glossator')}")
        raise typer.Exit


@app.callback()
def glossator(
    _version_wanted: Annotated[bool, typer.Option("--version", is_eager=True, callback=_version, help="Print the version and exit.")] = False,
) -> None:
    """Label and score every feature of a sparse dictionary of a language model."""


def main() -> None:
    """The entry point. Errors of the user's or of a server's are printed with their cure, and end with status 1; those of the installation with 2."""
    try:
        app()
    except Exception as error:
        # Only where something went wrong: `--help` loads nothing.
        from api.cli import failures
        from api.cli.output.console import print_error, print_traceback

        known = failures.known(error)
        if known is None:
            print_traceback(error)
            sys.exit(1)
        print_error(known)
        sys.exit(known.exit_status)
