"""The command line."""

import sys
from typing import Annotated

import typer

from api.cli.commands import Group
from interp.errors import GlossatorError

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
    """The entry point. An error that was raised on purpose is printed with its cure, and ends with status 1."""
    try:
        app()
    except GlossatorError as error:
        # rich: only where something is to be printed.
        from api.cli.console import print_error

        print_error(error)
        sys.exit(1)
