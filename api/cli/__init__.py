"""Define the command line application and its entry point."""

import sys
from typing import Annotated

import typer

from api.cli.registry import Group

app = typer.Typer(name="glossator", cls=Group, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)


def _version(wanted: bool) -> None:
    if wanted:
        # Imported here: it reads the installed packages' metadata, which other commands do not need.
        from importlib.metadata import version

        typer.echo(f"glossator {version('glossator')}")
        raise typer.Exit


@app.callback()
def glossator(
    _version_wanted: Annotated[bool, typer.Option("--version", is_eager=True, callback=_version, help="Print the version and exit.")] = False,
) -> None:
    """Label and score every feature of a sparse dictionary of a language model."""


def main() -> None:
    """Run the command line; exit 1 for errors of users or servers, 2 for installation."""
    try:
        app()
    except Exception as error:
        # Imported only after an error, so that `--help` stays fast.
        from api.cli import failures
        from api.cli.output.console import print_error, print_traceback

        known = failures.known(error)
        if known is None:
            print_traceback(error)
            sys.exit(1)
        print_error(known)
        sys.exit(known.exit_status)
