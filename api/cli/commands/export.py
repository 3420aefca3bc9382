"""`glossator export`: write a dictionary's features in a format that other tools read."""

import codecs
import sys
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from api.cli import connect, exporting
from api.cli.commands.features import RUN, FeatureState, dictionary_name
from api.cli.output.console import say, thousands
from api.cli.output.progress import feature_bar
from interp.domain.cleaning import escaped, lines
from interp.domain.errors import InputError

LARGEST_LIST = 32 << 20  # bytes of a file of feature numbers


class Form(StrEnum):
    PARQUET = "parquet"
    JSONL = "jsonl"
    ARROW = "arrow"
    CSV = "csv"
    NEURONPEDIA = "neuronpedia"
    NEURONPEDIA_UPLOAD = "neuronpedia-upload"
    SAEDASHBOARD = "saedashboard"
    HF_DATASET = "hf-dataset"
    GRAPH = "graph"
    DELPHI = "delphi"


ENDINGS = {".jsonl": Form.JSONL, ".csv": Form.CSV, ".parquet": Form.PARQUET, ".arrows": Form.ARROW}


def _row(text: str) -> str:
    """Return a row of a table with its controls as signs."""
    return lines(text.replace("\r\n", "\n"))


# Formats that may be printed, and how text of others is made harmless in them.
PRINTED = {Form.JSONL: escaped, Form.CSV: _row}


def export(
    dictionary: Annotated[str, typer.Argument(help="pystdlib@1-res, pystdlib/1-res, or an id.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="File or folder to write; standard output when not given.")] = None,
    form: Annotated[Form | None, typer.Option("--format", help="By default what the file's name ends in, else jsonl.")] = None,
    explainer: Annotated[str | None, typer.Option(help="Only explanations of this explainer.")] = None,
    label_explainer: Annotated[str | None, typer.Option(help="Who wrote the listed label.")] = None,
    run: Annotated[str | None, typer.Option(help=RUN)] = None,
    features: Annotated[str | None, typer.Option(help="all, or ranges with both ends: 0-99,120.")] = None,
    features_file: Annotated[Path | None, typer.Option(help="A file of feature numbers, between blanks, commas or line ends.")] = None,
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
    query: Annotated[str | None, typer.Option(help="Part of the label.")] = None,
    in_list: Annotated[str | None, typer.Option("--list", help="Only features of this list.")] = None,
    dataset_license: Annotated[str | None, typer.Option("--license", help="The identifier that the card of a data set names.")] = None,
) -> None:
    """Write the features of one run of a dictionary, in a format of other tools.

    A file has its manifest beside it, a folder inside. An export that is interrupted leaves nothing. docs/exports.md describes the formats.
    """
    name, form = dictionary_name(dictionary), form or _form_of(output)
    asked: dict[str, Any] = {
        "run": run,
        "explainer": explainer,
        "label_explainer": label_explainer,
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
        "q": query,
        "list": in_list,
    }
    of_files = {"features": _features(features, features_file), "license": dataset_license}
    if output is None:
        _print(name, form, asked, [option for option, value in of_files.items() if value is not None])
        return
    # Imported here: it imports httpx, which printing from the local database does without.
    from glossator import Client

    request = {key: value for key, value in ({"dictionary": name, "format": form.value} | asked | of_files).items() if value is not None}
    with connect.reader() as client, feature_bar("exporting") as progress:
        if isinstance(client, Client):
            made = exporting.fetch(client, request, output, progress, is_folder=form not in ENDINGS.values())
        else:
            made = client.export(request, output, progress)
    counts = made["counts"]
    say(f"{thousands(counts['features'])} features with {thousands(counts['explanations'])} explanations in {output}")


def _print(dictionary: str, form: Form, asked: dict[str, Any], of_files: list[str]) -> None:
    if form not in PRINTED or of_files:
        why = f"--{of_files[0]} is for files." if of_files else f"{form} is no text."
        raise InputError("This export cannot be printed.", why=why, cure="Name a file or folder with -o.")
    with connect.reader() as client:
        for line in _lines(client.stream_features(dictionary, form.value, **asked)):
            sys.stdout.write(PRINTED[form](line))


def _lines(pieces: Iterable[bytes]) -> Iterator[str]:
    """Yield whole lines of UTF-8 text, from pieces that may end anywhere."""
    decoder, left = codecs.getincrementaldecoder("utf-8")("replace"), ""
    for piece in pieces:
        *whole, left = (left + decoder.decode(piece)).split("\n")
        yield from (line + "\n" for line in whole)
    if left:
        yield left


def _features(ranges: str | None, file: Path | None) -> str | None:
    """Return the asked features as ranges; raises InputError for an unreadable file."""
    if file is None:
        return ranges
    if ranges is not None:
        raise InputError("Both --features and --features-file name features.", cure="Leave one out.")
    try:
        with file.open("rb") as handle:
            content = handle.read(LARGEST_LIST + 1)
        numbers = sorted({int(word) for word in content.decode("ascii").replace(",", " ").split()})
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "It holds something else than numbers."
        raise InputError(f"{file} cannot be read as feature numbers.", why=why or "", cure="Write one number per line.") from error
    if len(content) > LARGEST_LIST or not numbers:
        raise InputError(f"{file} holds {'too much' if numbers else 'no number'}.", cure="Write one number per line, in 32 MiB at most.")
    return ",".join(_ranges(numbers))


def _ranges(numbers: list[int]) -> Iterator[str]:
    start = last = numbers[0]
    for number in [*numbers[1:], None]:
        if number is not None and number == last + 1:
            last = number
            continue
        yield str(start) if start == last else f"{start}-{last}"
        if number is not None:
            start = last = number


def _form_of(output: Path | None) -> Form:
    if output is None:
        return Form.JSONL
    try:
        return ENDINGS[output.suffix]
    except KeyError:
        raise InputError(f"No format is known for {output}.", cure="Name the file .jsonl, .parquet, .arrows or .csv, or give --format.") from None
