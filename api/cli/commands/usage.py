"""`glossator usage`: print a job's language model usage."""

from typing import Annotated, Any

import typer
from rich.text import Text

from api.cli import connect
from api.cli.output.console import dollars, figure, out, print_json, thousands
from api.cli.output.tables import Cell, TableColumn, print_table

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


def usage(
    job_id: Annotated[str, typer.Argument(metavar="ID")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what a job has asked of language models:
    calls, tokens, cost, latency, and its budget.
    """
    with connect.reader() as client:
        found = client.get_job_usage(job_id)
    print_json(found) if as_json else print_usage(found)


def print_usage(found: dict[str, Any]) -> None:
    """Print a row per stage, purpose and model; then the budget."""
    print_table(out, USED, [_row(row) for row in found["rows"]])
    total = found["total"]
    cached = f" ({thousands(total['cached_tokens'])} from the endpoint's cache)" if total["cached_tokens"] else ""
    out.print(
        f"{thousands(total['calls'])} calls in {thousands(total['attempts'])} attempts, {thousands(total['unanswered'])} unanswered; "
        f"{thousands(total['prompt_tokens'])}{cached} + {thousands(total['completion_tokens'])} tokens; cost {dollars(total['cost_usd'])}"
    )
    if found["budget"]:
        print_table(out, BUDGET, [_budget_row(name, found["budget"]) for name in ("calls", "tokens", "usd")])


def _row(row: dict[str, Any]) -> tuple[Cell, ...]:
    counts = (row[name] for name in ("calls", "unanswered", "attempts", "prompt_tokens", "completion_tokens"))
    seconds = (figure(row[name]) for name in ("p50_seconds", "p95_seconds"))
    return row["stage"], Text(row["purpose"]), Text(row["model"]), *map(thousands, counts), dollars(row["cost_usd"]), *seconds


def _budget_row(name: str, budget: dict[str, Any]) -> tuple[Cell, ...]:
    show = dollars if name == "usd" else _number
    cap = budget["caps"][name]
    return name, "none" if cap is None else show(cap), *(show(budget[part][name]) for part in ("spent", "reserved", "unsettled"))


def _number(value: float | None) -> str:
    return "unknown" if value is None else thousands(value)
