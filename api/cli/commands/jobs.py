"""`glossator job`: list, show and change jobs."""

from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.text import Text

from api.cli import connect
from api.cli.output import check_report, progress, report
from api.cli.output.console import duration, figure, out, print_json, print_warnings, say, thousands
from api.cli.output.tables import Cell, TableColumn, print_table
from interp.domain.errors import InputError
from interp.domain.lifecycle import JobStatus

LISTED = (
    TableColumn("job"),
    TableColumn("status"),
    TableColumn("dictionary", 1, least=12),
    TableColumn("features", 2),
    TableColumn("created", 4),
    TableColumn("took", 3),
    TableColumn("owner", 5),
)
PAIRS = (("median", "median_lift"), ("random_median", "random_median_lift"))
STYLES = {"completed": "green", "failed": "red", "running": "cyan", "checking": "cyan", "paused": "yellow", "cancelled": "dim"}

JobId = Annotated[str, typer.Argument(metavar="ID")]
Follow = Annotated[bool, typer.Option("--follow", help="Show progress until the job ends.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

job = typer.Typer(no_args_is_help=True, help="List, show and change jobs.", add_completion=False, rich_markup_mode=None)


@job.command("list")
def list_jobs(
    status: Annotated[JobStatus | None, typer.Option(help="Only jobs in this state.")] = None,
    owner: Annotated[str | None, typer.Option(help="Only jobs of this owner.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first."""
    with connect.reader() as client:
        found = list(client.list_jobs(status, limit, owner))
    print_json(found) if as_json else print_table(out, LISTED, [_row(item) for item in found])


@job.command()
def show(job_id: JobId, follow: Follow = False, as_json: AsJson = False) -> None:
    """Show one job: its stages, times, summary or error."""
    if follow:
        with connect.server() as server:
            progress.follow_or_detach(server, job_id)
    with connect.reader() as client:
        found = client.get_job(job_id)
        has_webhook = found["spec"].get("webhook") and not as_json
        deliveries = list(client.list_webhook_deliveries(found["id"])) if has_webhook else []
    if as_json:
        print_json(found)
    else:
        _print(found)
        for delivery in deliveries:
            _print_delivery(delivery)
    if follow:
        progress.raise_unless_completed(found)


@job.command()
def pause(job_id: JobId) -> None:
    """Pause a job. Its workers return their chunks, and stored results stay."""
    with connect.server() as client:
        client.pause_job(job_id)
    say(f"Job {job_id} is paused. Resume it with: glossator job resume {job_id}")


@job.command()
def resume(
    job_id: JobId,
    calls: Annotated[str | None, typer.Option(help="New cap on calls; none lifts it.")] = None,
    tokens: Annotated[str | None, typer.Option(help="New cap on tokens, prompts and replies together; none lifts it.")] = None,
    usd: Annotated[str | None, typer.Option(help="New cap in dollars; none lifts it.")] = None,
    follow: Follow = False,
) -> None:
    """Resume a paused job, with new caps if given. Answers are reused, never paid twice."""
    given = {"calls": (calls, int), "tokens": (tokens, int), "usd": (usd, float)}
    caps = {name: _cap(name, text, kind) for name, (text, kind) in given.items() if text is not None}
    with connect.server() as client:
        client.resume_job(job_id, caps)
        if not follow:
            say(f"Job {job_id} is resumed. Follow it with: glossator job show {job_id} --follow")
            return
        found = progress.follow_or_detach(client, job_id)
    progress.raise_unless_completed(found)


@job.command()
def cancel(job_id: JobId) -> None:
    """Cancel a job. Stored results stay."""
    with connect.server() as client:
        found = client.cancel_job(job_id)
    say(f"Job {job_id} is {found['status']}.")


@job.command()
def retry(job_id: JobId) -> None:
    """Retry the failed parts of a job. Finished work stays."""
    with connect.server() as client:
        found = client.retry_job(job_id)
    say(f"Job {job_id} is {found['status']}. Follow it with: glossator job show {job_id} --follow")


def _cap(name: str, text: str, kind: type) -> Any:
    if text == "none":
        return None
    try:
        return kind(text)
    except ValueError as error:
        raise InputError(f"--{name} {text} is no cap.", cure="Give a number, or none to lift the cap.") from error


def _row(item: dict[str, Any]) -> tuple[Cell, ...]:
    counts = item["request_counts"]
    features = "check" if item["kind"] == "check" else f"{thousands(counts['completed'])}/{thousands(counts['total'])}"
    created = item["created_at"][:19].replace("T", " ")
    return item["id"], _status(item), Text(item["dictionary"] or "–"), features, created, _took(item), Text(item.get("owner") or "–")


def _print(found: dict[str, Any]) -> None:
    counts = found["request_counts"]
    out.print(Text(f"job {found['id']}  ", style="bold") + _status(found) + Text(f"  {found['dictionary'] or ''}"))
    if found["kind"] == "job":
        out.print(f"{thousands(counts['total'])} features: {thousands(counts['completed'])} done, {thousands(counts['failed'])} failed")
    print_warnings(found)
    if found.get("owner"):
        out.print(f"     owner  {found['owner']}")
    for name in ("created_at", "started_at", "paused_at", "cancelling_at", "finished_at", "eta"):
        if found[name]:
            out.print(f"{name.removesuffix('_at'):>10}  {found[name]}")
    report.print_stages(found)
    _print_spend(found)
    for name, title, style in (("error", "error", "red"), ("pause_reason", "paused", "yellow")):
        if problem := found[name]:
            out.print(Text(f"{title}: {problem.get('detail')}", style=style))
            for part in ("why", "cure"):
                if problem.get(part):
                    out.print(f"  {part}: {problem[part]}")
    if found["summary"]:
        (check_report.print_check if found["kind"] == "check" else report.print_summary)(found["summary"])


def _print_spend(found: dict[str, Any]) -> None:
    """Print the spend with its caps, and medians beside those of the random-weights control."""
    if line := progress.SpendLine().text(found, 0.0):
        out.print(f"    models  {line}")
    if found["control_of"]:
        out.print(f"   control  of {found['control_of']}: random weights")
    if control := found["control"]:
        out.print(f"   control  {control['id']} {control['status']}: random weights")
        for scorer, pair in (control["scores"] or {}).items():
            own, random = (f"{figure(pair[name])} (lift {figure(pair[lift], signed=True)})" for name, lift in PAIRS)
            out.print(f"            {scorer}: median {own}, on random weights {random}")


def _print_delivery(row: dict[str, Any]) -> None:
    next_attempt = f"next attempt {row['next_attempt_at']}" if row["next_attempt_at"] else "given up"
    state = f"delivered {row['delivered_at']}" if row["delivered_at"] else next_attempt
    attempts = f"{row['attempts']} attempts" if row["attempts"] != 1 else "1 attempt"
    out.print(f"   webhook  {row['event']}: {state}, {attempts}{': ' + row['error'] if row['error'] else ''}")


def _status(found: dict[str, Any]) -> Text:
    return Text(found["status"], style=STYLES.get(found["status"], ""))


def _took(found: dict[str, Any]) -> str:
    if not found["started_at"]:
        return "–"
    end = datetime.fromisoformat(found["finished_at"]) if found["finished_at"] else datetime.now(UTC)
    return duration((end - datetime.fromisoformat(found["started_at"])).total_seconds())
