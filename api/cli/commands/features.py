"""`glossator features` and `glossator feature`: list features, show one feature."""

import io
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from api.cli import connect
from api.cli.output import paint
from api.cli.output.console import Terminal, figure, out, print_json, probability, say, thousands
from api.cli.output.tables import Cell, TableColumn, print_table
from interp.domain.cleaning import visible
from interp.domain.errors import InputError
from interp.files.atomic import writing
from interp.store.listings.sorting import FeatureSort

REFERENCE = re.compile(r"^(?P<dictionary>.+?)(?::|/)(?P<index>\d+-?)$")
SVG_WIDTH = 140
LEVEL = "firing level"
LISTED = (
    TableColumn("index"),
    TableColumn("label", least=32),
    TableColumn("score"),
    TableColumn("shrunken", 4),
    TableColumn("lift"),
    TableColumn("q", 2),
    TableColumn("density", 1),
    TableColumn("max", 5),
    TableColumn(LEVEL, 6),
    TableColumn("state", 3),
)
KINDS = ("top", "uniform", "weighted", "near_miss", "inactive")

RUN = "The run by its number, address or start of its digest; else the current one."


class Order(StrEnum):
    ASC = "asc"
    DESC = "desc"


class FeatureState(StrEnum):
    ACTIVE = "active"
    RARE = "rare"
    DEAD = "dead"


class Splits(StrEnum):
    EXPLAIN = "explain"
    TEST = "test"
    BOTH = "both"


def features(
    dictionary: Annotated[str, typer.Argument(help="pystdlib@1-res, pystdlib/1-res, or an id.")],
    sort: Annotated[FeatureSort, typer.Option(help="What to sort by; features without a value come last.")] = FeatureSort.INDEX,
    order: Annotated[Order, typer.Option()] = Order.ASC,
    min_score: Annotated[float | None, typer.Option()] = None,
    max_score: Annotated[float | None, typer.Option()] = None,
    min_lift: Annotated[float | None, typer.Option(help="Lift over null.")] = None,
    max_lift: Annotated[float | None, typer.Option()] = None,
    min_density: Annotated[float | None, typer.Option()] = None,
    max_density: Annotated[float | None, typer.Option()] = None,
    min_shrunken_score: Annotated[float | None, typer.Option(help="The score drawn to the mean of all.")] = None,
    max_shrunken_score: Annotated[float | None, typer.Option()] = None,
    max_p_value: Annotated[float | None, typer.Option(help="Largest p value of the lift.")] = None,
    max_q_value: Annotated[float | None, typer.Option(help="Largest q value of the lift.")] = None,
    min_tokens_active: Annotated[int | None, typer.Option(min=0, help="Tokens at which the feature fires.")] = None,
    max_tokens_active: Annotated[int | None, typer.Option(min=0)] = None,
    min_max_activation: Annotated[float | None, typer.Option(help="Smallest largest activation.")] = None,
    max_max_activation: Annotated[float | None, typer.Option()] = None,
    min_mean_active: Annotated[float | None, typer.Option(help="Mean activation where the feature fires.")] = None,
    max_mean_active: Annotated[float | None, typer.Option()] = None,
    min_firing_level: Annotated[float | None, typer.Option(help="The activation above which the feature fires.")] = None,
    max_firing_level: Annotated[float | None, typer.Option()] = None,
    label_explainer: Annotated[str | None, typer.Option(help="Who wrote the listed label.")] = None,
    state: Annotated[FeatureState | None, typer.Option()] = None,
    query: Annotated[str | None, typer.Option(help="Part of the label.")] = None,
    in_list: Annotated[str | None, typer.Option("--list", help="Only features of this list.")] = None,
    run: Annotated[str | None, typer.Option(help=RUN)] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many.")] = 30,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the features of a dictionary, filtered and sorted."""
    filters: dict[str, Any] = {
        "sort": sort.value,
        "order": order.value,
        "min_score": min_score,
        "max_score": max_score,
        "min_lift": min_lift,
        "max_lift": max_lift,
        "min_density": min_density,
        "max_density": max_density,
        "min_shrunken_score": min_shrunken_score,
        "max_shrunken_score": max_shrunken_score,
        "max_p_value": max_p_value,
        "max_q_value": max_q_value,
        "min_tokens_active": min_tokens_active,
        "max_tokens_active": max_tokens_active,
        "min_max_activation": min_max_activation,
        "max_max_activation": max_max_activation,
        "min_mean_active": min_mean_active,
        "max_mean_active": max_mean_active,
        "min_firing_level": min_firing_level,
        "max_firing_level": max_firing_level,
        "label_explainer": label_explainer,
        "state": state and state.value,
        "q": query,
        "list": in_list,
        "run": run,
    }
    with connect.reader() as client:
        found = list(client.list_features(dictionary_name(dictionary), limit, **filters))
    if as_json:
        print_json(found)
        return
    if found:
        out.print(f"run {found[0]['run']}  corpus {found[0]['corpus']}", style="dim")
    print_table(out, *_table(found))


def _table(found: list[dict[str, Any]]) -> tuple[list[TableColumn], list[list[Cell]]]:
    """Return columns and rows, without firing levels if all are 0."""
    shows_level = any(item["firing_level"] for item in found)
    kept = [place for place, column in enumerate(LISTED) if shows_level or column.name != LEVEL]
    return [LISTED[place] for place in kept], [[row[place] for place in kept] for row in map(_row, found)]


def _row(item: dict[str, Any]) -> tuple[Cell, ...]:
    return (
        item["name"].rpartition(":")[2],
        Text(visible(item["label"] or "–")),
        figure(item["score"]),
        figure(item["shrunken_score"]),
        figure(item["lift"], signed=True),
        probability(item["q_value"]),
        "–" if item["density"] is None else f"{item['density']:.2%}",
        figure(item["max_activation"]),
        f"{item['firing_level']:.3g}",
        item["state"],
    )


def feature(
    reference: Annotated[str, typer.Argument(metavar="DICT:INDEX", help="pystdlib@1-res:123 or pystdlib/1-res/123; a negative side is 123-.")],
    contexts: Annotated[int, typer.Option(min=0, help="Contexts of each kind and split.")] = 8,
    run: Annotated[str | None, typer.Option(help=RUN)] = None,
    split: Annotated[Splits, typer.Option(help="Whose contexts: those that explainers saw, or those that scorers used.")] = Splits.BOTH,
    svg: Annotated[Path | None, typer.Option(help="Save what would be printed as a picture.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Show everything known of one feature."""
    dictionary, index = parse_reference(reference)
    with connect.reader() as client:
        found = client.get_feature(dictionary, index, items=as_json, run=run)
    if as_json:
        print_json(found)
        return
    if svg is None:
        _print_feature(out, found, contexts, split)
        return
    canvas = Terminal(record=True, file=io.StringIO(), force_terminal=True, color_system="truecolor", width=SVG_WIDTH)
    _print_feature(canvas, found, contexts, split)
    picture = canvas.export_svg(title=f"glossator feature {reference}")
    # Rich links fonts on another server. A picture should load nothing, and any monospaced font will do.
    with writing(svg) as file:
        file.write(re.sub(r"@font-face \{.*?\}", "", picture, flags=re.DOTALL).encode())
    say(f"saved {svg}")


def parse_reference(reference: str) -> tuple[str, str]:
    """Return name and index of `pystdlib@1-res:123` or `pystdlib/1-res/123`; raises InputError."""
    match = REFERENCE.match(reference)
    if match is None:
        raise InputError(f"{reference!r} names no feature.", cure="Write pystdlib@1-res:123 or pystdlib/1-res/123.")
    return dictionary_name(match["dictionary"]), match["index"]


def dictionary_name(reference: str) -> str:
    """Return `pystdlib@1-res` for `pystdlib/1-res`; other references as they are."""
    return reference.replace("/", "@", 1) if "@" not in reference else reference


def print_context(to: Console, found: dict[str, Any], statistics: dict[str, Any]) -> None:
    """Print one context on one line: largest activation, split, text with active tokens marked."""
    head = Text(f"{figure(found['max_activation']):>7} {found['split']:<7} ", style="dim")
    to.print(head + paint.context(found, statistics["max_activation"], to, statistics["firing_level"]))


def _print_feature(to: Console, found: dict[str, Any], contexts: int, split: Splits) -> None:
    _print_head(to, found)
    for explanation in found["explanations"]:
        _print_explanation(to, explanation)
    _print_neighbourhood(to, found)
    for kind in KINDS:
        for one in (Splits.EXPLAIN, Splits.TEST):
            shown = [item for item in found["contexts"] if (item["kind"], item["split"]) == (kind, one) and split in (Splits.BOTH, one)]
            if shown[:contexts]:
                to.print(Text(f"\n{kind.replace('_', ' ')}, {one} split", "bold") + Text(f" {min(contexts, len(shown))} of {len(shown)}", "dim"))
            for item in shown[:contexts]:
                print_context(to, item, found["statistics"])


def _print_head(to: Console, found: dict[str, Any]) -> None:
    statistics, histogram = found["statistics"], found["histogram"]
    to.print(Text(found["name"], style="bold") + Text(f"  {found['state']}  {found['subject']} {found['hook_point']}", style="dim"))
    to.print(f"run {found['run']}  corpus {found['corpus']}", style="dim")
    level = f"fires above {statistics['firing_level']:.3g}, " if statistics["firing_level"] else ""
    if statistics.get("reason"):
        to.print(f"max {figure(statistics['max_activation'])}; no other statistics: {statistics['reason']}")
        return
    counts = f"{thousands(statistics['tokens_active'])} of {thousands(statistics['tokens_seen'])}"
    to.print(
        f"{level}fires at {statistics['density']:.3%} of tokens ({counts}), "
        f"max {figure(statistics['max_activation'])}, mean {figure(statistics['mean_active'])}"
    )
    if histogram["counts"]:
        to.print(f"{histogram['edges'][0]:.3g} {paint.sparkline(histogram['counts'])} {histogram['edges'][-1]:.3g}")
        to.print("  ".join(f"{item['share']:.0%} < {item['activation']:.3g}" for item in found["quantiles"]), style="dim")


def _print_explanation(to: Console, found: dict[str, Any]) -> None:
    label = Text(visible(found["text"]), style="bold") if found["text"] else Text(f"no label: {visible(found['failure'] or '')}", "yellow")
    to.print(Text(f"\n{found['explainer']}  ", style="dim") + label)
    to.print(f"  run {found['run']}  settings {found['settings_digest'][:8]}  job {found['job'] or '–'}", style="dim")
    for score in found["scores"]:
        to.print(Text("  ") + paint.score_line(score))
        beside = paint.score_details(score)
        if beside:
            to.print(Text("    ") + beside)


def _print_neighbourhood(to: Console, found: dict[str, Any]) -> None:
    for name, style in (("promoted", "green"), ("suppressed", "red")):
        if found[name]:
            line = Text(f"{name:>10}  ", style="dim")
            for item in found[name]:
                line.append(paint.token(item["token"]), style=f"{style} reverse").append(f" {figure(item['logit'], signed=True)}  ")
            to.print(line)
    for item in found["nearest"]:
        label = visible(item["label"] or "–")
        to.print(Text(f"   nearest  {figure(item['cosine'])}  {item['name'].rpartition(':')[2]:>6}  {figure(item['score'])}  ", "dim") + Text(label))
