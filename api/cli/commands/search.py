"""`glossator search`: find features by their labels."""

from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.text import Text

from api.cli import connect
from api.cli.commands.features import RUN, FeatureState, dictionary_name
from api.cli.output.console import figure, out, print_json, probability, say
from api.cli.output.tables import Cell, TableColumn, print_table
from interp.domain.cleaning import visible

MARKED = "bold underline"
LISTED = (
    TableColumn("feature"),
    TableColumn("label", least=32),
    TableColumn("words", 3),
    TableColumn("meaning", 2),
    TableColumn("cosine", 4),
    TableColumn("score"),
    TableColumn("lift"),
    TableColumn("q", 1),
)


class Mode(StrEnum):
    TEXT = "text"
    MEANING = "meaning"
    HYBRID = "hybrid"


def search(
    query: Annotated[str, typer.Argument(metavar="TEXT", help='Words; "a phrase", import*, or a token in backticks.')],
    mode: Annotated[Mode, typer.Option(help="Compare words, meanings, or both.")] = Mode.HYBRID,
    dictionary: Annotated[str | None, typer.Option(help="One dictionary; else all.")] = None,
    run: Annotated[str | None, typer.Option(help=RUN)] = None,
    scorer: Annotated[str | None, typer.Option(help="Whose figures the bounds are of; else the listed ones.")] = None,
    explainer: Annotated[str | None, typer.Option(help="Who wrote the label.")] = None,
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
    state: Annotated[FeatureState | None, typer.Option()] = None,
    in_list: Annotated[str | None, typer.Option("--list", help="Only features of this list.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Find features by the words or the meaning of their labels, with filters of figures."""
    filters: dict[str, Any] = {
        "q": query,
        "mode": mode.value,
        "dictionary": dictionary and dictionary_name(dictionary),
        "run": run,
        "scorer": scorer,
        "explainer": explainer,
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
        "state": state and state.value,
        "list": in_list,
    }
    with connect.reader() as client:
        found = client.search_labels(limit, **filters)
    if as_json:
        print_json(found)
        return
    print_table(out, list(LISTED), [_row(item) for item in found["items"]])
    if not found["complete"]:
        say("More features match than were ranked: add words or filters.")
    if found["without_meaning"]:
        say(f"Compared by words alone. {found['without_meaning']}")


def _row(item: dict[str, Any]) -> tuple[Cell, ...]:
    return (
        visible(item["name"]),
        _marked(item["label"] or "", item["highlights"]),
        _rank(item["text_rank"]),
        _rank(item["meaning_rank"]),
        figure(item["cosine"]),
        figure(item["score"]),
        figure(item["lift"], signed=True),
        probability(item["q_value"]),
    )


def _marked(label: str, highlights: list[list[int]]) -> Text:
    """Return the label with its found words marked; control signs keep their places."""
    text = Text(visible(label))
    for start, end in highlights:
        text.stylize(MARKED, start, end)
    return text


def _rank(rank: int | None) -> str:
    return "–" if rank is None else str(rank)
