"""`glossator list`: named lists of features."""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from api.cli import connect
from api.cli.commands.features import parse_reference
from api.cli.output.console import out, print_json, say, thousands
from api.cli.output.tables import Cell, TableColumn, print_table
from interp.domain.cleaning import visible

if TYPE_CHECKING:
    from api.cli.connect import Reader

AT_ONCE = 10_000
LISTED = (
    TableColumn("list"),
    TableColumn("features"),
    TableColumn("dictionaries", 1, least=12),
    TableColumn("owner", 2),
    TableColumn("description", 3, least=12),
)

ListName = Annotated[str, typer.Argument(metavar="LIST", help="Its name or id.")]
Names = Annotated[
    list[str] | None, typer.Argument(metavar="DICT:INDEX...", help="Features such as pystdlib@1-res:123; - reads names from standard input.")
]
Describe = Annotated[str | None, typer.Option(help="What the list is for.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
SUMMARY = "Make, show and change named lists of features, for filters, exports and jobs."

lists = typer.Typer(no_args_is_help=True, help=SUMMARY, add_completion=False, rich_markup_mode=None)


@lists.command()
def show(
    name: Annotated[str | None, typer.Argument(metavar="[LIST]", help="A list, by name or id; all lists when not given.")] = None,
    owner: Annotated[str | None, typer.Option(help="Only lists of this owner.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show all lists, or the features of one."""
    with connect.reader() as client:
        if name is None:
            every = list(client.list_feature_lists(owner=owner))
            print_json(every) if as_json else print_table(out, LISTED, [_row(item) for item in every])
            return
        found, features = client.get_feature_list(name), [item["name"] for item in client.list_listed_features(name)]
    if as_json:
        print_json(found | {"features": features})
        return
    for feature in features:
        out.print(Text(visible(feature)), soft_wrap=True)


@lists.command()
def create(name: ListName, features: Names = None, description: Describe = None, as_json: AsJson = False) -> None:
    """Make a list, perhaps with its first features."""
    with connect.reader() as client:
        client.create_feature_list(name, description=description or "")
        _tell(_changed(client, name, features), as_json)


@lists.command()
def add(name: ListName, features: Names = None, as_json: AsJson = False) -> None:
    """Add features to a list."""
    with connect.reader() as client:
        _tell(_changed(client, name, features), as_json)


@lists.command()
def remove(name: ListName, features: Names = None, as_json: AsJson = False) -> None:
    """Remove features from a list."""
    with connect.reader() as client:
        _tell(_changed(client, name, features, adds=False), as_json)


@lists.command()
def change(
    name: ListName,
    new_name: Annotated[str | None, typer.Option("--name", help="Another name.")] = None,
    description: Describe = None,
    as_json: AsJson = False,
) -> None:
    """Rename or describe a list."""
    with connect.reader() as client:
        _tell(client.change_feature_list(name, name=new_name, description=description), as_json)


@lists.command()
def delete(name: ListName) -> None:
    """Delete a list; its features and their labels stay."""
    with connect.reader() as client:
        found = client.delete_feature_list(name)
    say(f"The list {visible(found['name'])} of {thousands(found['size'])} features is deleted.")


def _changed(client: "Reader", name: str, features: list[str] | None, adds: bool = True) -> dict[str, Any]:
    """Add or remove features, some thousands at once; return the list."""
    found: dict[str, Any] | None = None
    names = list(_names(features or []))
    for start in range(0, len(names), AT_ONCE):
        some = names[start : start + AT_ONCE]
        found = client.change_feature_list(name, add=some) if adds else client.change_feature_list(name, remove=some)
    return client.get_feature_list(name) if found is None else found


def _names(features: list[str]) -> Iterator[str]:
    """Yield features as the API writes them; `-` stands for the words of standard input."""
    for word in features:
        for written in sys.stdin.read().split() if word == "-" else [word]:
            yield ":".join(parse_reference(written))


def _tell(found: dict[str, Any], as_json: bool) -> None:
    print_json(found) if as_json else say(f"The list {visible(found['name'])} has {thousands(found['size'])} features.")


def _row(found: dict[str, Any]) -> tuple[Cell, ...]:
    of = ", ".join(f"{visible(name)} ({thousands(count)})" for name, count in found["dictionaries"].items())
    return (visible(found["name"]), thousands(found["size"]), Text(of), visible(found["owner"] or "–"), Text(visible(found["description"])))
