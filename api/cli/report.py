"""What came of a job, for the terminal: coverage, medians, speed, and the best and the worst with a context each."""

from collections import defaultdict
from datetime import datetime
from statistics import median
from typing import Any

from rich.table import Table
from rich.text import Text

from api.cli import paint
from api.cli.console import duration, figure, out, thousands
from api.cli.jobs import print_stages
from api.client import Client

BEST, WORST = 20, 5
SIGNIFICANT = 0.05
CONTEXT_CHARACTERS = 110


def print_report(client: Client, job: dict[str, Any]) -> None:
    """Reads the book over REST and prints it; `job` is a completed job."""
    dictionary = job["dictionary"]
    _print_coverage(client.get_dictionary(dictionary), job)
    _print_scores(client, dictionary)
    _print_speed(job)
    _print_features(client, dictionary, "best", "desc", BEST)
    _print_features(client, dictionary, "worst", "asc", WORST)


def _print_coverage(dictionary: dict[str, Any], job: dict[str, Any]) -> None:
    states, counts = dictionary["states"], job["request_counts"]
    out.print(
        Text(f"\n{dictionary['name']}", "bold") + Text(f"  {dictionary['subject']} {dictionary['hook_point']} {dictionary['architecture']}", "dim")
    )
    out.print(
        f"{thousands(counts['total'])} features: {thousands(counts['completed'])} done, {thousands(counts['failed'])} failed; "
        + ", ".join(f"{thousands(states.get(state, 0))} {words}" for state, words in (("active", "active"), ("rare", "too rare"), ("dead", "dead")))
    )


def _print_scores(client: Client, dictionary: str) -> None:
    found: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    labels = 0
    for explanation in client.list_explanations(dictionary=dictionary):
        labels += explanation["text"] is not None
        for score in explanation["scores"]:
            found[explanation["explainer"], score["scorer"]].append(score)
    out.print(f"{thousands(labels)} explained\n")
    table = Table("explainer", "scorer", "metric", "scored", "median", "median null", "median lift", f"q < {SIGNIFICANT}", box=None, pad_edge=False)
    for (explainer, scorer), scores in sorted(found.items()):
        values = [score["value"] for score in scores if score["value"] is not None]
        nulls = [score["null"]["value"] for score in scores if score["null"]["value"] is not None]
        lifts = [score["null"]["lift"] for score in scores if score["null"]["lift"] is not None]
        sure = sum(score["null"]["q_value"] is not None and score["null"]["q_value"] < SIGNIFICANT for score in scores)
        table.add_row(
            explainer,
            scorer,
            scores[0]["metric"],
            thousands(len(values)),
            figure(_median(values)),
            figure(_median(nulls)),
            figure(_median(lifts), signed=True),
            f"{thousands(sure)} ({sure / len(scores):.0%})",
        )
    out.print(table)


def _print_speed(job: dict[str, Any]) -> None:
    stages = {stage["stage"]: stage for stage in job["stages"]}
    out.print()
    print_stages(job)
    whole = _seconds(job)
    collect = stages.get("collect")
    tokens = f"{thousands(collect['done'] / collect['seconds'])} tokens/s collected, " if collect and collect["seconds"] else "evidence reused, "
    out.print(f"{tokens}{figure(job['request_counts']['total'] / whole, 1)} features/s over the whole job, which took {duration(whole)}")


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


def _median(values: list[float]) -> float | None:
    return median(values) if values else None


def _seconds(job: dict[str, Any]) -> float:
    return max((datetime.fromisoformat(job["finished_at"]) - datetime.fromisoformat(job["started_at"])).total_seconds(), 0.001)
