"""`glossator submit` and `glossator estimate`: jobs from YAML files, flags, or both."""

import sysconfig
import uuid
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Annotated, Any

import typer
import yaml
from pydantic import ValidationError
from rich.text import Text

from api.cli import connect, uploading
from api.cli.output import progress
from api.cli.output.console import dollars, out, print_json, print_warnings, say, thousands
from api.cli.output.tables import Cell, TableColumn, print_table
from api.jobs.paths import absolute
from api.schemas.field_errors import field_errors
from interp.domain.errors import FileMissingError, InputError
from interp.domain.spec import JobSpec

ESTIMATED = (
    TableColumn("stage"),
    TableColumn("purpose", least=12),
    TableColumn("model", 3, least=12),
    TableColumn("calls"),
    TableColumn("tokens in", 2),
    TableColumn("tokens out", 1),
    TableColumn("cost"),
)


def submit(
    file: Annotated[Path | None, typer.Argument(help="A job as YAML. Its relative paths start at its own folder.")] = None,
    subject: Annotated[str | None, typer.Option(help="Folder of the language model, or its name on the Hub.")] = None,
    dictionary: Annotated[list[str] | None, typer.Option(help="Folder or file of a dictionary's weights; repeat for several in one pass.")] = None,
    corpus: Annotated[str | None, typer.Option(help="Folder, text file or .jsonl file.")] = None,
    include: Annotated[list[str] | None, typer.Option(help="Glob of files to read; repeat for more.")] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="Glob of files to leave out; repeat for more.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Stop after so many tokens.")] = None,
    name: Annotated[str | None, typer.Option(help="The dictionary's name, `model@layer-set`.")] = None,
    hook_point: Annotated[str | None, typer.Option(help="Where the dictionary reads, when its files don't say.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda:0.")] = None,
    features: Annotated[str | None, typer.Option(help="all, or ranges with both ends: 0-99,120.")] = None,
    explainer: Annotated[list[str] | None, typer.Option(help="Explainer; repeat for more.")] = None,
    scorer: Annotated[list[str] | None, typer.Option(help="Scorer; repeat for more.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything that is drawn.")] = None,
    change: Annotated[list[str] | None, typer.Option("--set", help="Any other setting: collection.window=64. Repeat for more.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Store nothing: say what the job would ask of its language models.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Send files to a server elsewhere without asking, however large.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Submit and return at once.")] = False,
    idempotency_key: Annotated[str | None, typer.Option(help="Submitting again with the same key gives the same job.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the job as JSON.")] = False,
) -> None:
    """Submit a job and follow it. Flags override the file. Ctrl-C detaches: the job continues.

    The files that it names are sent to a server on another machine, or to one that may not read them.
    """
    given: dict[str, Any] = {
        "subject.model": subject,
        "subject.device": device,
        "dictionary.source": dictionary[0] if dictionary and len(dictionary) == 1 else None,
        "dictionaries": [{"source": source} for source in dictionary] if dictionary and len(dictionary) > 1 else None,
        "dictionary.name": name,
        "dictionary.hook_point": hook_point,
        "corpus.path": corpus,
        "corpus.include": include,
        "corpus.exclude": exclude,
        "corpus.max_tokens": max_tokens,
        "features": features,
        "explainers": explainer,
        "scorers": scorer,
        "seed": seed,
    }
    changes = {key: value for key, value in given.items() if value is not None} | assignments(change)
    spec = read_spec(file, changes)
    if dry_run:
        _estimate(spec, as_json)
        return
    with connect.server() as client:
        # An idempotency key: a request that is repeated after a lost answer must not submit a second job.
        job = uploading.submit(client, spec, idempotency_key or str(uuid.uuid4()), yes)
        say_if_by_files(spec)
        if detach:
            _print_submitted(job, as_json)
            return
        say(f"job {job['id']}")
        print_warnings(job)
        job = progress.follow_or_detach(client, job["id"])
        if as_json:
            print_json(job)
    progress.raise_unless_completed(job)


def estimate(
    file: Annotated[Path, typer.Argument(help="A job as YAML. Its relative paths start at its own folder.")],
    change: Annotated[list[str] | None, typer.Option("--set", help="A setting to change: features=0-99. Repeat for more.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what a job would ask of its language models, and what that costs.

    Nothing is stored, and no model is called.
    """
    _estimate(read_spec(file, assignments(change)), as_json)


def _estimate(spec: JobSpec, as_json: bool) -> None:
    with connect.reader() as client:
        found = client.estimate_job(spec.model_dump(mode="json"))
    print_json(found) if as_json else print_estimate(found)


def say_if_by_files(spec: JobSpec) -> None:
    """Say how models that are asked by files get their answers: nobody else asks them."""
    if any(model is not None and model.transport == "files" for _, model in spec.models):
        say("Its models are asked by files: `glossator batches export --to FOLDER`, run them, `glossator batches import FOLDER`; docs/endpoints.md.")


def read_spec(file: Path | None, changes: dict[str, Any]) -> JobSpec:
    """Return a YAML file's job updated by `changes`; raises FileMissingError and InputError.

    `${stdlib}` is the standard library's folder. Paths of the file are relative to its folder, those of flags to the working directory.
    """
    content = absolute(_read_yaml(file), file.resolve().parent) if file else {}
    for key, value in changes.items():
        _assign(content, key.split("."), value)
    try:
        return JobSpec.model_validate(absolute(content, Path.cwd()))
    except ValidationError as error:
        wrong = [f"{item.field}: {item.message}" for item in field_errors(error.errors(), JobSpec)]
        raise InputError("The job cannot be read.", why="; ".join(wrong), cure="See `glossator submit --help`, or give a YAML file.") from error


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise FileMissingError(f"The job file {file} cannot be read.", why=error.strerror or str(error)) from error
    try:
        content = yaml.safe_load(Template(text).safe_substitute(stdlib=sysconfig.get_paths()["stdlib"]))
    except yaml.YAMLError as error:
        raise InputError(f"The job file {file} is not YAML.", why=str(error)) from error
    if not isinstance(content, dict):
        raise InputError(f"The job file {file} holds no job.", cure="It needs subject, dictionary and corpus: see examples/pystdlib/job.yaml.")
    return content


def assignments(change: list[str] | None) -> dict[str, Any]:
    """Return the values of `--set` options by dotted key; raises InputError."""
    return dict(_assignment(text) for text in change or ())


def print_estimate(found: dict[str, Any]) -> None:
    """Print a row per stage and purpose, the total, and the estimate's basis."""
    rows: list[Sequence[Cell]] = [(row["stage"], Text(row["purpose"]), Text(row["model"]), *_amounts(row)) for row in found["rows"]]
    if found["includes_control"]:
        rows.append(("", "random_weights", "", "all of it", "a second", "time", ""))
    print_table(out, ESTIMATED, [*rows, ("total", "", "", *_amounts(found["total"]))])
    basis = {"evidence": "the job's own prompts", "settings": "prompts of the same sizes over drawn text, as nothing is collected yet"}[
        found["basis"]
    ]
    print_warnings(found)
    out.print(
        f"From {basis}: {thousands(found['sampled_features'])} features sampled of {thousands(found['counted_features'])}.",
    )
    if found["total"]["why"]:
        out.print(f"Cost unknown: {found['total']['why']}")
    if found["within_budget"] is False:
        out.print(Text("More than the budget: the job would pause when it is reached.", "yellow"))
    for note in found["notes"]:
        out.print(note, style="dim")


def _amounts(row: dict[str, Any]) -> tuple[str, str, str, str]:
    return thousands(row["calls"]), thousands(row["prompt_tokens"]), thousands(row["completion_tokens"]), dollars(row["cost_usd"])


def _assignment(text: str) -> tuple[str, Any]:
    """Return key and value, parsed as YAML, of text such as `collection.window=64`."""
    key, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--set {text} assigns nothing.", cure="Write it as --set collection.window=64.")
    return key.strip(), yaml.safe_load(value)


def _assign(content: dict[str, Any], path: list[str], value: Any) -> None:
    for part in path[:-1]:
        inner = content.setdefault(part, {})
        if not isinstance(inner, dict):
            raise InputError(f"{'.'.join(path)} cannot be set.", why=f"{part} is not a group of settings.")
        content = inner
    content[path[-1]] = value


def _print_submitted(job: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(job)
    else:
        out.print(job["id"])
        print_warnings(job)
        say(f"Submitted. Follow it with: glossator job show {job['id']} --follow")
