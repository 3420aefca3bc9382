"""`glossator jobs` and `glossator job`."""

from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.table import Column, Table
from rich.text import Text

from api.cli import connect, progress
from api.cli.console import duration, figure, out, print_json, thousands
from api.cli.submit import follow_or_detach
from interp.lifecycle import JobStatus

PAIRS = (("median", "median_lift"), ("random_median", "random_median_lift"))
STYLES = {"completed": "green", "failed": "red", "running": "cyan", "paused": "yellow", "cancelled": "dim"}


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
    table = Table(Column("job", no_wrap=True, min_width=36), "status", "dictionary", "features", "created", "took", box=None, pad_edge=False)
    for item in found:
        counts = item["request_counts"]
        table.add_row(
            item["id"],
            _status(item),
            Text(item["dictionary"] or "–"),
            f"{thousands(counts['completed'])}/{thousands(counts['total'])}",
            item["created_at"][:19].replace("T", " "),
            _took(item),
        )
    out.print(table)


def job(
    job_id: Annotated[str, typer.Argument(metavar="ID")],
    follow: Annotated[bool, typer.Option("--follow", help="Show progress until the job ends.")] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="Stop the job; what is stored stays.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show one job: its stages, times, summary or error."""
    with connect.server() if follow or cancel else connect.reader() as client:
        if cancel:
            client.cancel_job(job_id)
        found = follow_or_detach(client, job_id) if follow else client.get_job(job_id)
    if as_json:
        print_json(found)
    else:
        _print(found)
    if follow:
        progress.outcome(found)


def _print(found: dict[str, Any]) -> None:
    counts = found["request_counts"]
    out.print(Text(f"job {found['id']}  ", style="bold") + _status(found) + Text(f"  {found['dictionary'] or ''}"))
    out.print(f"{thousands(counts['total'])} features: {thousands(counts['completed'])} done, {thousands(counts['failed'])} failed")
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
        print_json(found["summary"])


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


def print_stages(found: dict[str, Any]) -> None:
    """Time and rate of each stage."""
    table = Table("stage", "done", "time", "rate", box=None, pad_edge=False)
    for stage in found["stages"]:
        rate = stage["done"] / stage["seconds"] if stage["seconds"] and stage["unit"] != "chunks" else None
        table.add_row(
            stage["stage"],
            f"{thousands(stage['done'])}/{thousands(stage['total'])} {stage['unit']}",
            duration(stage["seconds"]),
            f"{thousands(rate)} {stage['unit']}/s" if rate else "",
        )
    out.print(table)


def _status(found: dict[str, Any]) -> Text:
    return Text(found["status"], style=STYLES.get(found["status"], ""))


def _took(found: dict[str, Any]) -> str:
    if not found["started_at"]:
        return "–"
    end = datetime.fromisoformat(found["finished_at"]) if found["finished_at"] else datetime.now(UTC)
    return duration((end - datetime.fromisoformat(found["started_at"])).total_seconds())
