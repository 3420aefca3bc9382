"""`glossator estimate`, `usage`, `pause` and `resume`: what language models will cost, have cost, and may cost."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from api.cli import connect
from api.cli.commands.submit import assignments, print_estimate, read_spec
from api.cli.output import progress
from api.cli.output.console import dollars, figure, out, print_json, say, thousands
from api.cli.output.tables import Cell, TableColumn, print_table
from interp.domain.errors import InputError

USED = (
    TableColumn("stage"),
    TableColumn("purpose", least=12),
    TableColumn("model", 3, least=12),
    TableColumn("calls"),
    TableColumn("unanswered", 2),
    TableColumn("attempts", 4),
    TableColumn("tokens in"),
    TableColumn("tokens out"),
    TableColumn("cost"),
    TableColumn("p50 s", 5),
    TableColumn("p95 s", 6),
)

BUDGET = (TableColumn("budget"), TableColumn("cap"), TableColumn("spent"), TableColumn("reserved", 1), TableColumn("unsettled", 2))


def estimate(
    file: Annotated[Path, typer.Argument(help="A job as YAML. Its relative paths start at its own folder.")],
    change: Annotated[list[str] | None, typer.Option("--set", help="A setting to change: features=0-99. Repeat for more.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what a job would ask of its language models, and what that costs. Nothing is stored, and no model is asked."""
    spec = read_spec(file, assignments(change))
    with connect.reader() as client:
        found = client.estimate_job(spec.model_dump(mode="json"))
    if as_json:
        print_json(found)
    else:
        print_estimate(found)


def pause(job_id: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Pause a job. Its workers hand back what they hold; nothing that is stored is lost."""
    with connect.server() as client:
        client.pause_job(job_id)
    say(f"Job {job_id} is paused. Let it go on with: glossator resume {job_id}")


def resume(
    job_id: Annotated[str, typer.Argument(metavar="ID")],
    calls: Annotated[str | None, typer.Option(help="New cap on calls; none lifts it.")] = None,
    tokens: Annotated[str | None, typer.Option(help="New cap on tokens, prompts and replies together; none lifts it.")] = None,
    usd: Annotated[str | None, typer.Option(help="New cap in dollars; none lifts it.")] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Show progress until the job ends.")] = False,
) -> None:
    """Let a paused job go on, with other caps if given. Answers are kept: nothing is paid twice."""
    given = {"calls": (calls, int), "tokens": (tokens, int), "usd": (usd, float)}
    caps = {name: _cap(name, text, kind) for name, (text, kind) in given.items() if text is not None}
    with connect.server() as client:
        client.resume_job(job_id, caps)
        if not follow:
            say(f"Job {job_id} goes on. Follow it with: glossator job {job_id} --follow")
            return
        found = progress.follow_or_detach(client, job_id)
    progress.outcome(found)


def usage(
    job_id: Annotated[str, typer.Argument(metavar="ID")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what a job has asked of language models: calls, tokens, cost, latency, and its budget."""
    with connect.reader() as client:
        found = client.get_job_usage(job_id)
    if as_json:
        print_json(found)
    else:
        print_usage(found)


def print_usage(found: dict[str, Any]) -> None:
    """A row a stage, purpose and model; then the budget."""
    print_table(out, USED, [_row(row) for row in found["rows"]])
    total = found["total"]
    out.print(
        f"{thousands(total['calls'])} calls in {thousands(total['attempts'])} attempts, {thousands(total['unanswered'])} unanswered; "
        f"{thousands(total['prompt_tokens'])} + {thousands(total['completion_tokens'])} tokens; cost {dollars(total['cost_usd'])}"
    )
    if found["budget"]:
        _print_budget(found["budget"])


def _row(row: dict[str, Any]) -> tuple[Cell, ...]:
    counts = (row[name] for name in ("calls", "unanswered", "attempts", "prompt_tokens", "completion_tokens"))
    seconds = (figure(row[name]) for name in ("p50_seconds", "p95_seconds"))
    return row["stage"], Text(row["purpose"]), Text(row["model"]), *map(thousands, counts), dollars(row["cost_usd"]), *seconds


def _print_budget(budget: dict[str, Any]) -> None:
    print_table(out, BUDGET, [_budget_row(name, budget) for name in ("calls", "tokens", "usd")])


def _budget_row(name: str, budget: dict[str, Any]) -> tuple[Cell, ...]:
    show = dollars if name == "usd" else _number
    cap = budget["caps"][name]
    return name, "none" if cap is None else show(cap), *(show(budget[part][name]) for part in ("spent", "reserved", "unsettled"))


def _number(value: float | None) -> str:
    return "unknown" if value is None else thousands(value)


def _cap(name: str, text: str, kind: type) -> Any:
    if text == "none":
        return None
    try:
        return kind(text)
    except ValueError as error:
        raise InputError(f"--{name} {text} is no cap.", cure="Give a number, or none to lift the cap.") from error
