"""`glossator batches`: questions as files for a runner without a server, and its results."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli import connect
from api.cli.output.console import out, print_json, say, thousands
from api.cli.output.tables import TableColumn, print_table
from interp.domain.cleaning import visible
from interp.domain.errors import GlossatorError, InputError
from interp.files.atomic import new_file, sync, writing

if TYPE_CHECKING:
    from api.cli.connect import Reader

BATCH_ID = re.compile(r"[0-9a-f]{32}")
REQUESTS, RESULTS = ".jsonl", ".results.jsonl"
# The code of results of which no line is of the batch.
NOT_OF_IT = "upload-invalid"
LISTED = (
    TableColumn("batch"),
    TableColumn("status"),
    TableColumn("model", 0, least=12),
    TableColumn("questions"),
    TableColumn("job", 2),
    TableColumn("created", 1),
)
COUNTS = ("answered", "failed", "missing", "duplicated", "unknown", "unreadable")

OfJob = Annotated[str | None, typer.Option("--job", metavar="ID", help="Only batches of this job.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
SUMMARY = "Export questions for a model's runner that has no server, and import its results."

batches = typer.Typer(no_args_is_help=True, help=SUMMARY, add_completion=False, rich_markup_mode=None)


@batches.command("list")
def list_batches(
    job: OfJob = None,
    every: Annotated[bool, typer.Option("--all", help="Those that have ended, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the batches that wait for results, newest first."""
    with connect.reader() as client:
        found = list(client.list_batches(job=job, status=None if every else "open"))
    print_json(found) if as_json else print_table(out, LISTED, [_row(batch) for batch in found])


@batches.command("export")
def export_batches(
    to: Annotated[Path, typer.Option("--to", metavar="FOLDER", help="Folder for a file ID.jsonl for each batch; made when it is not there.")],
    job: OfJob = None,
    model: Annotated[str | None, typer.Option(help="Only questions to this model.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write the questions that wait for results, a file for each batch.

    Prints the command lines that have them answered.
    """
    with connect.reader() as client:
        waiting = [batch for batch in client.list_batches(job=job, status="open") if not batch["has_results"] and model in (None, batch["model"])]
        written = [{name: batch[name] for name in ("id", "model", "questions")} | {"file": _write(client, batch, to)} for batch in waiting]
    if as_json:
        print_json(written)
        return
    for one in written:
        results = one["file"].removesuffix(REQUESTS) + RESULTS
        out.print(visible(f"vllm run-batch -i {shlex.quote(one['file'])} -o {shlex.quote(results)} --model {shlex.quote(one['model'])}"))
    questions = sum(one["questions"] for one in written)
    say(f"{thousands(len(written))} batches with {thousands(questions)} questions in {to}." if written else "No batch waits for results.")


@batches.command("import")
def import_results(
    paths: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Results, or folders of files that end in .results.jsonl.")],
    as_json: AsJson = False,
) -> None:
    """Import a runner's results for the jobs that wait for them.

    A file whose name begins with a batch's id is of that batch. The lines of any other file go to the open batches that asked them. Importing again
    changes nothing.
    """
    made: list[dict[str, Any]] = []
    with connect.reader() as client:
        for path in _files(paths):
            found = _import(client, path)
            made += found
            if not as_json:
                for one in found:
                    counts = ", ".join(f"{thousands(one[name])} {name}" for name in COUNTS if one[name] or name == "answered")
                    out.print(visible(f"{path.name}: batch {one['batch']['id']}: {counts}{'' if one['is_stored'] else '; it had ended'}"))
    if as_json:
        print_json(made)


def _row(batch: dict[str, Any]) -> list[str]:
    status = "results imported" if batch["has_results"] else batch["status"]
    return [batch["id"], status, batch["model"], thousands(batch["questions"]), batch["job_id"], batch["created_at"][:19]]


def _write(client: "Reader", batch: dict[str, Any], folder: Path) -> str:
    """Write a batch's questions whole or not at all; return the path."""
    target = folder / f"{_name_of(batch)}{REQUESTS}"
    with new_file(target) as draft:
        with writing(draft) as file:
            for block in client.stream_batch_requests(batch["id"]):
                file.write(block)
        sync(draft)
        draft.replace(target)
    return str(target)


def _name_of(batch: dict[str, Any]) -> str:
    """Return a batch's id, to name a file by; raises InputError for another text."""
    name = str(batch["id"])
    if not BATCH_ID.fullmatch(name):
        raise InputError(f"The server names a batch {visible(name)[:80]}.", why="An id has 32 hexadecimal digits.", cure="See what answers there.")
    return name


def _files(paths: list[Path]) -> Iterator[Path]:
    """Yield all files of results; raises InputError for a path without any."""
    for path in paths:
        found = sorted(path.glob(f"*{RESULTS}")) if path.is_dir() else [path] if path.is_file() else []
        if not found:
            raise InputError(f"{path} has no results.", cure=f"Name a file that the runner wrote, or a folder of files that end in {RESULTS}.")
        yield from found


def _import(client: "Reader", path: Path) -> list[dict[str, Any]]:
    """Import a file, and return its counts by batch; raises InputError without any batch."""
    named = BATCH_ID.match(path.name)
    if named is not None:
        return [client.put_batch_results(named[0], path)]
    # Imported here, since a local database needs no HTTP client.
    from glossator import ApiError

    made = []
    for batch in list(client.list_batches(status="open")):
        try:
            made.append(client.put_batch_results(batch["id"], path))
        except (GlossatorError, ApiError) as error:
            if error.code != NOT_OF_IT:
                raise
    if not made:
        raise InputError(f"No line of {path} answers a batch that is open.", cure="See with `glossator batches list --all` whether they have ended.")
    return made
