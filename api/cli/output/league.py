"""Print a league table: the explainers of a run compared."""

from typing import Any

from rich.text import Text

from api.cli.output.console import dollars, figure, out, say
from api.cli.output.tables import TableColumn, print_table
from interp.domain.cleaning import visible

COLUMNS = (
    TableColumn("explainer", least=12),
    TableColumn("mean"),
    TableColumn("95%", 4),
    TableColumn("features", 3),
    TableColumn("lift", 2),
    TableColumn("better than null", 5),
    TableColumn("better than pattern", 6),
    TableColumn("cost", 7),
)
# Digits of a digest that tell two settings of one explainer apart.
SHORT = 8


def print_league(found: dict[str, Any]) -> None:
    """Print a table for each scorer, with the differences below it."""
    if not found["divisions"]:
        say(f"{visible(found['run'])} has no scores yet")
    for division in found["divisions"]:
        judge = visible(str(division["judge"] or "no judge"))
        out.print(Text(f"\n{visible(division['scorer'])}, {visible(division['metric'])}, judged by {judge}", "bold"))
        entries = division["entries"]
        print_table(out, COLUMNS, [_row(entry, _name(entry["explainer"], entry["settings_digest"], entries)) for entry in entries])
        for one in division["differences"]:
            first, second = (_name(one[side], one[f"{side}_settings"], entries) for side in ("first", "second"))
            out.print(Text(f"   {first} - {second}: {_difference(one)}", "dim"))


def _name(explainer: str, settings: str, entries: list[dict[str, Any]]) -> str:
    """Return an explainer's name, with its settings where several have it."""
    several = sum(entry["explainer"] == explainer for entry in entries) > 1
    return visible(f"{explainer}#{settings[:SHORT]}" if several else explainer)


def _row(entry: dict[str, Any], name: str) -> list[str]:
    cost = entry["cost"]
    return [
        name,
        figure(entry["mean"]),
        _interval(entry),
        str(entry["common"]),
        figure(entry["mean_lift"], signed=True),
        _share(entry["better_than_null"]),
        _share(entry["better_than_pattern"]),
        "-" if cost is None else f"{cost['tokens']:,.0f} tokens" if cost["usd"] is None else dollars(cost["usd"]),
    ]


def _difference(one: dict[str, Any]) -> str:
    if one["difference"] is None or one["low"] is None:
        return visible(str(one["why"]))
    return f"{one['difference']:+.3f} ({one['low']:+.3f} to {one['high']:+.3f}) over {one['pairs']} features"


def _interval(entry: dict[str, Any]) -> str:
    return "-" if entry["low"] is None else f"{entry['low']:.3f} to {entry['high']:.3f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"
