"""What came of a job, for the terminal: coverage, medians, speed, and the best and the worst with a context each."""

from typing import Any

from rich.table import Table
from rich.text import Text

from api.cli import paint
from api.cli.console import duration, figure, out, thousands
from api.cli.jobs import print_stages
from api.client import Client

BEST, WORST = 20, 5
CONTEXT_CHARACTERS = 110


def print_report(client: Client, job: dict[str, Any]) -> None:
    """Prints a completed job's summary and, read over REST, its best and worst features."""
    dictionary, summary = client.get_dictionary(job["dictionary"]), job["summary"]
    _print_coverage(dictionary, summary["features"])
    _print_scores(summary["scores"])
    _print_speed(job, summary)
    for name, order, count in (("best", "desc", BEST), ("worst", "asc", WORST)):
        _print_features(client, dictionary["name"], name, order, count)


def _print_coverage(dictionary: dict[str, Any], counts: dict[str, int]) -> None:
    where = f"  {dictionary['subject']} {dictionary['hook_point']} {dictionary['architecture']}"
    out.print(Text(f"\n{dictionary['name']}", "bold") + Text(where, "dim"), soft_wrap=True)
    asked = counts["asked"]
    shares = {name: f"{thousands(counts[name])} ({counts[name] / asked:.1%})" for name in ("explained", "rare", "dead", "failed")}
    out.print(
        f"{thousands(asked)} features: {shares['explained']} explained, {shares['rare']} too rare, {shares['dead']} dead, {shares['failed']} failed\n"
    )


def _print_scores(scores: dict[str, dict[str, Any]]) -> None:
    table = Table("scorer", "metric", "scored", "undefined", "median", "median lift over null", "better than null", box=None, pad_edge=False)
    for scorer, figures in scores.items():
        better, tested = figures["better_than_null"], figures["tested"]
        table.add_row(
            scorer,
            figures["metric"],
            thousands(figures["scored"]),
            thousands(figures["undefined"]),
            figure(figures["median"]),
            figure(figures["median_lift"], signed=True),
            f"{thousands(better)} of {thousands(tested)} (q <= {figures['significant_at']})",
        )
    out.print(table)


def _print_speed(job: dict[str, Any], summary: dict[str, Any]) -> None:
    out.print()
    print_stages(job)
    collected = f"{thousands(summary['tokens_per_s'])} tokens/s collected" if summary["tokens_per_s"] else "evidence reused"
    rate = figure(summary["features_per_s"], 1)
    out.print(f"{thousands(summary['tokens'])} tokens, {collected}; {rate} features/s over the whole job, {duration(summary['total_seconds'])}")


def _print_features(client: Client, dictionary: str, name: str, order: str, count: int) -> None:
    out.print(f"\n[bold]{count} of the {name}[/bold] [dim]by lift over null[/dim]")
    # A bound on the lift leaves out the features that have none, whichever end the listing starts at.
    for item in client.list_features(dictionary, count, sort="lift", order=order, state="active", min_lift=-10):
        head = Text(f"{item['feature']:>6}  {figure(item['score'])}  {figure(item['lift'], signed=True)}  ", "dim")
        out.print(head + Text(paint.visible(item["label"] or "–")), soft_wrap=True)
        found = client.get_feature(dictionary, item["feature"])
        shown = next((context for context in found["contexts"] if context["kind"] == "top" and context["split"] == "test"), None)
        if shown:
            out.print(
                Text(" " * 8) + paint.context(around_peak(shown, CONTEXT_CHARACTERS), found["statistics"]["max_activation"], out), soft_wrap=True
            )


def around_peak(context: dict[str, Any], characters: int) -> dict[str, Any]:
    """The part of a context around its strongest token that is at most `characters` long."""
    tokens, activations = context["tokens"], context["activations"]
    first = last = max(range(len(tokens)), key=activations.__getitem__)
    length = len(tokens[first])
    while True:
        grown = False
        for candidate in (first - 1, last + 1):
            if 0 <= candidate < len(tokens) and length + len(tokens[candidate]) <= characters:
                first, last, length, grown = min(first, candidate), max(last, candidate), length + len(tokens[candidate]), True
        if not grown:
            return context | {"tokens": tokens[first : last + 1], "activations": activations[first : last + 1]}
