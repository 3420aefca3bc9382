"""The command line."""

import sys

import typer

from api.cli import demo, doctor, export, fake_llm, features, jobs, provenance, serve, spending, submit
from api.cli.console import print_error
from interp.errors import GlossatorError

app = typer.Typer(
    name="glossator",
    help="Label and score every feature of a sparse dictionary of a language model.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for command in (
    serve.serve,
    serve.worker,
    submit.submit,
    spending.estimate,
    jobs.jobs,
    jobs.job,
    spending.pause,
    spending.resume,
    spending.usage,
    features.features,
    features.feature,
    provenance.provenance,
    export.export,
    doctor.doctor,
    demo.demo,
    fake_llm.fake_llm,
):
    app.command()(command)
app.add_typer(serve.database, name="db")


def main() -> None:
    """The entry point. An error that was raised on purpose is printed with its cure, and ends with status 1."""
    try:
        app()
    except GlossatorError as error:
        print_error(error)
        sys.exit(1)
