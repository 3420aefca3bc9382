"""`glossator dictionaries`, `runs`, `league` and `stability`: lists, and scores compared."""

from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.text import Text

from api.cli import connect
from api.cli.commands.features import RUN, dictionary_name
from api.cli.output.console import out, print_json, say, thousands
from api.cli.output.league import print_league
from api.cli.output.stability import print_stability
from api.cli.output.tables import TableColumn, print_table
from interp.domain.errors import InputError

MOST_KNOWN = 50  # rows of names in a table


def dictionaries(
    known: Annotated[str | None, typer.Option(metavar="TEXT", help="List published dictionaries whose names hold these words.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List dictionaries, each with its current run."""
    if known is not None:
        _print_known(known, as_json)
        return
    with connect.reader() as client:
        found = list(client.list_dictionaries())
    if as_json:
        print_json(found)
        return
    columns = (TableColumn("dictionary"), TableColumn("hook point", 3), TableColumn("features", 1), TableColumn("current run", 2))
    print_table(out, columns, [_dictionary_row(item) for item in found])


def runs(
    dictionary: Annotated[str | None, typer.Argument(help="pystdlib@1-res, pystdlib/1-res, or an id; all dictionaries when not given.")] = None,
    pin: Annotated[str | None, typer.Option(metavar="RUN", help="Make this run the dictionary's current one.")] = None,
    unpin: Annotated[bool, typer.Option("--unpin", help="Leave the choice of the current run to the rule again.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List runs, of all dictionaries or of one; or choose the one that is current."""
    if (pin or unpin) and dictionary is None:
        raise InputError("No dictionary is named.", cure="Write glossator runs DICT --pin RUN.")
    if pin and unpin:
        raise InputError("--pin and --unpin cannot both be done.", cure="Give one of them.")
    name = None if dictionary is None else dictionary_name(dictionary)
    with connect.reader() as client:
        if name is not None and (pin or unpin):
            current = (client.pin_current_run(name, pin) if pin else client.unpin_current_run(name))["current_run"]
            say(f"the current run is {current or 'none'}")
        found = list(client.list_runs(name))
    if as_json:
        print_json(found)
    else:
        _print(found)


def _print_known(text: str, as_json: bool) -> None:
    """Print the published dictionaries whose names hold the text's words."""
    from interp.dictionary import registry  # imports NumPy and YAML

    found = list(registry.search(text))
    if as_json:
        print_json([asdict(item) | {"hook_point": item.hook_point, "source": item.source} for item in found])
        return
    columns = (TableColumn("source"), TableColumn("model", 1), TableColumn("hook point", 2), TableColumn("release", 3), TableColumn("id", 4))
    rows = [(item.source, item.model, item.hook_point or "in its files", item.release, item.sae_id) for item in found[:MOST_KNOWN]]
    print_table(out, columns, rows)
    if len(found) > MOST_KNOWN:
        say(f"{thousands(len(found) - MOST_KNOWN)} more; add a word, or --json for all")


def _dictionary_row(item: dict[str, Any]) -> tuple[str, ...]:
    current = item["current_run"] or "none finished yet"
    return (item["name"], item["hook_point"], thousands(item["n_features"]), current + (" (pinned)" if item["pinned"] else ""))


def _print(found: list[dict[str, Any]]) -> None:
    columns = (
        TableColumn("run"),
        TableColumn("corpus", 1, least=12),
        TableColumn("tokens", 2),
        TableColumn("features", 3),
        TableColumn("fires", 6),
        TableColumn("status"),
        TableColumn("jobs", 5),
        TableColumn("last completed", 4),
    )
    print_table(out, columns, [_run_row(item) for item in found])


def _run_row(item: dict[str, Any]) -> tuple[str | Text, ...]:
    return (
        item["name"],
        Text(item["corpus"]),
        thousands(item["tokens"]),
        f"{thousands(item['covered_features'])}/{thousands(item['n_features'])}",
        "above 0" if item["firing_rate"] is None else f"at {100 * item['firing_rate']:.3g}% of tokens",
        item["status"] + (", pinned" if item["pinned"] else ", current" if item["current"] else ""),
        str(len(item["jobs"])),
        (item["completed_at"] or "–")[:16].replace("T", " "),
    )


def league(
    dictionary: Annotated[str, typer.Argument(help="pystdlib@1-res, pystdlib/1-res, or an id.")],
    run: Annotated[str | None, typer.Option(help=RUN)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare a run's explainers by each scorer: means, paired differences, cost of a label."""
    with connect.reader() as client:
        found = client.get_dictionary_league(dictionary_name(dictionary), run)
    print_json(found) if as_json else print_league(found)


def stability(
    dictionary: Annotated[str, typer.Argument(help="pystdlib@1-res, pystdlib/1-res, or an id.")],
    difference: Annotated[float, typer.Option(help="The difference of two dictionaries' mean scores that is to be told.", min=1e-6, max=1)] = 0.01,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say how stable scores are: what their variance is made of, reliability, features needed."""
    with connect.reader() as client:
        found = client.get_dictionary_stability(dictionary_name(dictionary), difference)
    print_json(found) if as_json else print_stability(found)
