"""`glossator activations` and `glossator steer`: the model at hand."""

from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.text import Text

from api.cli import connect
from api.cli.commands.features import RUN, dictionary_name, parse_reference
from api.cli.output.console import figure, out, print_json, say
from api.cli.output.tables import Cell, TableColumn, print_table
from interp.domain.cleaning import visible

RANKED = (TableColumn("feature"), TableColumn("label", least=32), TableColumn("value"), TableColumn("of its max", 2), TableColumn("token", 1))
MARKED = "bold underline"
SECONDS = typer.Option("--deadline", min=0.1, max=120, help="Longest wait, in seconds.")


class Unit(StrEnum):
    MAX = "max"
    ACTIVATION = "activation"


def activations(
    dictionary: Annotated[str, typer.Argument(help="pystdlib@1-res, or an id.")],
    texts: Annotated[list[str], typer.Argument(metavar="TEXT...", help="Each is read as a document of its own.")],
    against: Annotated[list[str] | None, typer.Option(help="A text to compare with: which features fire on the others and not on it.")] = None,
    feature: Annotated[list[str] | None, typer.Option(help="A feature whose activation at each token is wanted.")] = None,
    top_k: Annotated[int, typer.Option(min=0, max=100, help="Strongest features.")] = 10,
    run: Annotated[str | None, typer.Option(help=RUN)] = None,
    deadline: Annotated[float, SECONDS] = 30.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Run texts through the model: which features fire, and where."""
    asked: dict[str, Any] = {"against": against or (), "features": feature or (), "top_k": top_k, "run": run, "deadline_seconds": deadline}
    with connect.server() as client:
        found = client.compute_activations(dictionary_name(dictionary), texts, **asked)
    if as_json:
        print_json(found)
        return
    for text in (*found["texts"], *found["against"]):
        for one in text["features"]:
            _print_marked(one["name"], text["tokens"], one["activations"])
    if found["top"]:
        _print_ranked("Strongest", found["top"], found["texts"])
    if found["differences"]:
        _print_ranked("More than on the others", found["differences"], found["texts"])
    if top_k and not found["top"]:
        say("No feature fires.")


def steer(
    feature: Annotated[str, typer.Argument(metavar="DICTIONARY:INDEX", help="pystdlib@1-res:42")],
    prompt: Annotated[str, typer.Argument(help="The text to go on with.")],
    strength: Annotated[float, typer.Option(help="How much of the feature's direction is added, in its largest activations.")] = 1.0,
    unit: Annotated[Unit, typer.Option(help="What strength 1 is: the feature's largest activation, or an activation of 1.")] = Unit.MAX,
    seed: Annotated[list[int] | None, typer.Option(min=0, help="Each gives a text.")] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, max=128)] = 32,
    temperature: Annotated[float, typer.Option(min=0, max=2, help="0: the most probable token.")] = 0.7,
    run: Annotated[str | None, typer.Option(help=RUN)] = None,
    deadline: Annotated[float, SECONDS] = 30.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Continue a text while a feature is pushed, beside the text without it."""
    dictionary, index = parse_reference(feature)
    asked: dict[str, Any] = {"strength": strength, "unit": unit.value, "seeds": seed or [0], "max_new_tokens": max_new_tokens}
    asked |= {"temperature": temperature, "run": run, "deadline_seconds": deadline}
    with connect.server() as client:
        found = client.steer_text(dictionary, index, prompt, **asked)
    if as_json:
        print_json(found)
        return
    out.print(visible(f"{found['feature']['name']}  {found['feature']['label'] or ''}  + {found['strength']:.4g}"))
    for one in found["continuations"]:
        for kind in ("plain", "steered"):
            out.print(Text.assemble((f"{kind:>8} ", "bold"), visible("".join(found["prompt"])), (visible(one[kind]["text"]), "underline")))


def _print_marked(name: str, tokens: list[str], values: list[float]) -> None:
    """Print a text with the tokens marked at which a feature is active."""
    text = Text(visible(f"{name}  max {max(values, default=0.0):.4g}\n"))
    for token, value in zip(tokens, values, strict=True):
        text.append(visible(token), MARKED if value > 0 else "")
    out.print(text)


def _print_ranked(title: str, ranked: list[dict[str, Any]], texts: list[dict[str, Any]]) -> None:
    out.print(title)
    print_table(out, list(RANKED), [_row(one, texts) for one in ranked])


def _row(one: dict[str, Any], texts: list[dict[str, Any]]) -> tuple[Cell, ...]:
    tokens = texts[one["text"]]["tokens"] if one["text"] < len(texts) else []
    token = tokens[one["token"]] if one["token"] < len(tokens) else ""
    share = one["value"] / one["max_activation"] if one["max_activation"] else None
    return visible(one["name"]), visible(one["label"] or ""), figure(one["value"]), figure(share), visible(token)
