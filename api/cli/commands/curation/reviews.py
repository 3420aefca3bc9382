"""`glossator review`: people's verdicts on labels, and how scorers agree with them."""

from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.text import Text

from api.cli import connect
from api.cli.commands.features import RUN, dictionary_name, parse_reference
from api.cli.output.console import figure, out, print_json, probability, say
from api.cli.output.tables import TableColumn, print_table
from interp.domain.cleaning import visible

SUMMARY = "Review labels: what to judge next, verdicts, and how they agree with scorers."
QUEUE = (TableColumn("feature"), TableColumn("label", least=32), TableColumn("score"), TableColumn("lift", 1), TableColumn("q"))
REVIEWS = (
    TableColumn("feature"),
    TableColumn("verdict"),
    TableColumn("label", 1, least=24),
    TableColumn("text", 3, least=24),
    TableColumn("comment", 2, least=24),
    TableColumn("author", 4),
)
AGREEMENT = (TableColumn("of"), TableColumn("figure"), TableColumn("value"), TableColumn("interval"), TableColumn("labels", 1), TableColumn("why", 2))

Dictionary = Annotated[str, typer.Argument(help="pystdlib@1-res, pystdlib/1-res, or an id.")]
OfRun = Annotated[str | None, typer.Option("--run", help=RUN)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

review = typer.Typer(no_args_is_help=True, help=SUMMARY, add_completion=False, rich_markup_mode=None)


class QueueOrder(StrEnum):
    WORST = "worst"
    RANDOM = "random"


class Verdict(StrEnum):
    ACCEPT = "accept"
    EDIT = "edit"
    FLAG = "flag"
    COMMENT = "comment"


@review.command()
def queue(
    dictionary: Dictionary,
    order: Annotated[QueueOrder, typer.Option(help="The largest q value first, or a random sample.")] = QueueOrder.WORST,
    seed: Annotated[int, typer.Option(min=0, help="Of the random sample.")] = 0,
    in_list: Annotated[str | None, typer.Option("--list", help="Only features of this list.")] = None,
    run: OfRun = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List labels that you have not judged, in the order to judge them."""
    with connect.server() as client:
        found = client.get_review_queue(dictionary_name(dictionary), limit, order=order.value, seed=seed, list=in_list, run=run)
    if as_json:
        print_json(found)
        return
    rows = [
        (
            visible(one["name"]),
            Text(visible(one["label"] or "–")),
            figure(one["score"]),
            figure(one["lift"], signed=True),
            probability(one["q_value"]),
        )
        for one in found["items"]
    ]
    print_table(out, QUEUE, rows)


@review.command()
def add(
    reference: Annotated[str, typer.Argument(metavar="DICT:INDEX", help="pystdlib@1-res:123 or pystdlib/1-res/123.")],
    verdict: Annotated[Verdict, typer.Argument(help="What you say of its label.")],
    text: Annotated[str | None, typer.Option(help="The label, of an edit.")] = None,
    comment: Annotated[str | None, typer.Option(help="Anything else.")] = None,
    run: OfRun = None,
    as_json: AsJson = False,
) -> None:
    """Accept, edit, flag or comment the label of a feature."""
    dictionary, index = parse_reference(reference)
    with connect.server() as client:
        made = client.create_review(dictionary, index, verdict.value, text=text, comment=comment, run=run)
    print_json(made) if as_json else say(f"{visible(made['name'])}: {visible(made['verdict'])} by {visible(made['author'])}")


@review.command()
def show(
    dictionary: Annotated[str | None, typer.Argument(help="pystdlib@1-res, pystdlib/1-res, or an id; all when not given.")] = None,
    author: Annotated[str | None, typer.Option(help="Only reviews of this person.")] = None,
    verdict: Annotated[Verdict | None, typer.Option(help="Only such verdicts.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many.")] = 30,
    as_json: AsJson = False,
) -> None:
    """List reviews, newest first."""
    name = None if dictionary is None else dictionary_name(dictionary)
    filters: dict[str, Any] = {"dictionary": name, "author": author, "verdict": verdict and verdict.value}
    with connect.server() as client:
        found = list(client.list_reviews(limit, **filters))
    if as_json:
        print_json(found)
        return
    print_table(
        out,
        REVIEWS,
        [[Text(visible(str(one[column] or "–"))) for column in ("name", "verdict", "label", "text", "comment", "author")] for one in found],
    )


@review.command()
def agreement(dictionary: Dictionary, run: OfRun = None, as_json: AsJson = False) -> None:
    """Say how people's verdicts agree with scorers, and with one another."""
    with connect.server() as client:
        found = client.get_agreement(dictionary_name(dictionary), run)
    if as_json:
        print_json(found)
        return
    rows = [_line(one["scorer"], "AUROC", one["auroc"], one, f"{one['accepted']} accepted, {one['rejected']} not") for one in found["scorers"]]
    rows += [_line(f"{one['first']}, {one['second']}", "kappa", one["kappa"], one, str(one["labels"])) for one in found["people"]]
    print_table(out, AGREEMENT, rows)


def _line(of: str, what: str, value: float | None, found: dict[str, Any], labels: str) -> list[Text]:
    span = "–" if found["low"] is None else f"{figure(found['low'])} to {figure(found['high'])}"
    return [Text(visible(cell)) for cell in (of, what, figure(value), span, labels, found["reason"] or "")]
