"""Define the command line application and its entry point."""

import os
import sys
from pathlib import Path
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
    key: Annotated[
        str | None,
        typer.Option(help="Key to send to the server. Others on this machine can see it: rather set GLOSSATOR_API_KEY or GLOSSATOR_API_KEY_FILE."),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="File of settings, in place of GLOSSATOR_CONFIG.")] = None,
) -> None:
    """Label and score every feature of a sparse dictionary of a language model."""
    if key is not None:
        os.environ["GLOSSATOR_API_KEY"] = key
    if config is not None:
        os.environ["GLOSSATOR_CONFIG"] = str(config)


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
