"""`glossator jobs` and `glossator job`."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from api.cli import connect
from api.cli.output import progress
from api.cli.output.console import duration, figure, out, print_json, print_warnings, thousands
from api.cli.output.tables import Cell, TableColumn, print_table
from api.cli.reader import Reader
from interp.domain.errors import InputError
from interp.domain.lifecycle import JobStatus

if TYPE_CHECKING:
    from api.client import Client

LISTED = (
    TableColumn("job"),
    TableColumn("status"),
    TableColumn("dictionary", 1, least=12),
    TableColumn("features", 2),
    TableColumn("created", 4),
    TableColumn("took", 3),
)
STAGES = (TableColumn("stage"), TableColumn("done"), TableColumn("time", 1), TableColumn("rate", 2))
PAIRS = (("median", "median_lift"), ("random_median", "random_median_lift"))
STYLES = {"completed": "green", "failed": "red", "running": "cyan", "checking": "cyan", "paused": "yellow", "cancelled": "dim"}


def jobs(
    status: Annotated[JobStatus | None, typer.Option(help="Only jobs in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List jobs, the newest first."""
    with connect.reader() as client:
        found = list(client.list_jobs(status, limit))
    if as_json:
        print_json(found)
        return
    print_table(out, LISTED, [_row(item) for item in found])


def _row(item: dict[str, Any]) -> tuple[Cell, ...]:
    counts = item["request_counts"]
    features = f"{thousands(counts['completed'])}/{thousands(counts['total'])}"
    return item["id"], _status(item), Text(item["dictionary"] or "–"), features, item["created_at"][:19].replace("T", " "), _took(item)


def job(
    job_id: Annotated[str, typer.Argument(metavar="ID")],
    follow: Annotated[bool, typer.Option("--follow", help="Show progress until the job ends.")] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="Stop the job; what is stored stays.")] = False,
    pause: Annotated[bool, typer.Option("--pause", help="Let workers hand back what they hold.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Let a paused job go on; `glossator resume` changes its caps too.")] = False,
    retry: Annotated[bool, typer.Option("--retry", help="Try again what failed; what is done stays.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show one job: its stages, times, summary or error. Or change it: stop it, pause it, let it go on, try again what failed."""
    changes = {"cancel": cancel, "pause": pause, "resume": resume, "retry": retry}
    wanted = [name for name, is_wanted in changes.items() if is_wanted]
    if len(wanted) > 1:
        raise InputError(f"--{wanted[0]} and --{wanted[1]} cannot both be done.", cure="Give one of them at a time.")
    if follow or wanted:
        with connect.server() as server:
            for name in wanted:
                _change(server, name, job_id)
            found = progress.follow_or_detach(server, job_id) if follow else server.get_job(job_id)
            told = _webhooks(server, found, as_json)
    else:
        with connect.reader() as reader:
            found = reader.get_job(job_id)
            told = _webhooks(reader, found, as_json)
    if as_json:
        print_json(found)
    else:
        _print(found)
        _print_webhooks(told)
    if follow:
        progress.outcome(found)


def _change(server: "Client", change: str, job_id: str) -> None:
    changes = {"cancel": server.cancel_job, "pause": server.pause_job, "resume": server.resume_job, "retry": server.retry_job}
    changes[change](job_id)


def _webhooks(reader: Reader, found: dict[str, Any], as_json: bool) -> list[dict[str, Any]]:
    """The events for a job's receiver, where they are printed."""
    return list(reader.list_job_webhooks(found["id"])) if found["spec"].get("webhook") and not as_json else []


def _print(found: dict[str, Any]) -> None:
    counts = found["request_counts"]
    out.print(Text(f"job {found['id']}  ", style="bold") + _status(found) + Text(f"  {found['dictionary'] or ''}"))
    out.print(f"{thousands(counts['total'])} features: {thousands(counts['completed'])} done, {thousands(counts['failed'])} failed")
    print_warnings(found)
    for name in ("created_at", "started_at", "paused_at", "cancelling_at", "finished_at", "eta"):
        if found[name]:
            out.print(f"{name.removesuffix('_at'):>10}  {found[name]}", markup=False)
    print_stages(found)
    _print_money(found)
    if found["error"]:
        error = found["error"]
        is_paused = found["status"] == JobStatus.PAUSED
        out.print(Text(f"{'paused' if is_paused else 'error'}: {error.get('detail')}", style="yellow" if is_paused else "red"))
        for part in ("why", "cure"):
            if error.get(part):
                out.print(Text(f"  {part}: {error[part]}"))
    if found["summary"]:
        # The report prints jobs, too.
        from api.cli.output import report

        report.print_summary(found["summary"])


def _print_money(found: dict[str, Any]) -> None:
    """What was spent of which caps; then the random-weights control's medians beside the job's own."""
    line = progress.Meter().line(found, 0.0)
    if line:
        out.print(f"    models  {line}", markup=False, soft_wrap=True)
    if found["control_of"]:
        out.print(f"   control  of {found['control_of']}: random weights", markup=False, soft_wrap=True)
    control = found["control"]
    if control:
        out.print(f"   control  {control['id']} {control['status']}: random weights", markup=False, soft_wrap=True)
        for scorer, pair in (control["scores"] or {}).items():
            own, random = (f"{figure(pair[name])} (lift {figure(pair[lift], signed=True)})" for name, lift in PAIRS)
            out.print(f"            {scorer}: median {own}, on random weights {random}", markup=False, soft_wrap=True)


def _print_webhooks(told: list[dict[str, Any]]) -> None:
    """A line an event that its receiver was told of, or is yet to be."""
    for row in told:
        state = f"delivered {row['delivered_at']}" if row["delivered_at"] else f"next try {row['next_at']}" if row["next_at"] else "given up"
        tries = f"{row['attempts']} tries" if row["attempts"] != 1 else "1 try"
        out.print(f"   webhook  {row['event']}: {state}, {tries}{': ' + row['error'] if row['error'] else ''}", markup=False, soft_wrap=True)


def print_stages(found: dict[str, Any]) -> None:
    """Time and rate of each stage."""
    print_table(out, STAGES, [_stage_row(stage) for stage in found["stages"]])


def _stage_row(stage: dict[str, Any]) -> tuple[Cell, ...]:
    rate = stage["done"] / stage["seconds"] if stage["seconds"] and stage["unit"] not in progress.UNRATED else None
    count = f"{thousands(stage['done'])}/{thousands(stage['total'])} {stage['unit']}"
    return stage["stage"], count, duration(stage["seconds"]), f"{thousands(rate)} {stage['unit']}/s" if rate else ""


def _status(found: dict[str, Any]) -> Text:
    return Text(found["status"], style=STYLES.get(found["status"], ""))


def _took(found: dict[str, Any]) -> str:
    if not found["started_at"]:
        return "–"
    end = datetime.fromisoformat(found["finished_at"]) if found["finished_at"] else datetime.now(UTC)
    return duration((end - datetime.fromisoformat(found["started_at"])).total_seconds())
