"""`glossator export`: write explanations with their scores as JSONL or CSV."""

import csv
import io
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import IO, Annotated, Any

import typer

from api.cli import connect
from api.cli.commands.features import RUN, dictionary_name
from api.cli.output.console import say, thousands
from interp.domain.cleaning import escaped, lines
from interp.domain.errors import InputError
from interp.files.atomic import writing

COLUMNS = (
    "dictionary",
    "run",
    "corpus",
    "index",
    "explainer",
    "settings_digest",
    "job",
    "best",
    "firing_level",
    "text",
    "failure",
    "scorer",
    "judge",
    "metric",
    "value",
    "low",
    "high",
    "shrunken_score",
    "reason",
    "null_value",
    "lift",
    "lift_low",
    "lift_high",
    "lift_reason",
    "p_value",
    "p_method",
    "p_paired",
    "q_value",
    "lift_over_pattern",
    "empty",
    "baseline",
    "repeat",
    "judge_swap",
    "gold",
    "answered",
    "failed",
    "abstained",
)
OF_EXPLANATIONS = COLUMNS[: COLUMNS.index("failure") + 1]
OF_SCORES = ("scorer", "judge", "metric", "value", "shrunken_score", "lift_over_pattern", "reason", "answered", "failed", "abstained")
OF_CONTROLS = ("empty", "baseline", "repeat", "judge_swap", "gold")


class Form(StrEnum):
    JSONL = "jsonl"
    CSV = "csv"


def export(
    dictionary: Annotated[str, typer.Argument(help="pystdlib@1-res, pystdlib/1-res, or an id.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="File to write; standard output when not given.")] = None,
    form: Annotated[Form | None, typer.Option("--format", help="By default what the file's name ends in, else jsonl.")] = None,
    explainer: Annotated[str | None, typer.Option(help="Only explanations of this explainer.")] = None,
    run: Annotated[str | None, typer.Option(help=RUN)] = None,
) -> None:
    """Write every explanation of one run of a dictionary with its scores:
    one JSON object per explanation, or one CSV row per score.
    """
    form = form or _form_of(output)
    with connect.reader() as client, _sink(output) as sink:
        rows = client.list_explanations(dictionary=dictionary_name(dictionary), explainer=explainer, run=run)
        written = WRITERS[form](rows, sink)
    if output:
        say(f"{thousands(written)} explanations in {output}")


def _write_jsonl(rows: Iterable[dict[str, Any]], sink: IO[str]) -> int:
    written = 0
    for row in rows:
        sink.write(escaped(json.dumps(row, ensure_ascii=False)) + "\n")
        written += 1
    return written


def _write_csv(rows: Iterable[dict[str, Any]], sink: IO[str]) -> int:
    writer = csv.DictWriter(sink, COLUMNS)
    writer.writeheader()
    written = 0
    for row in rows:
        writer.writerows({name: lines(value) if isinstance(value, str) else value for name, value in line.items()} for line in flat(row))
        written += 1
    return written


WRITERS = {Form.JSONL: _write_jsonl, Form.CSV: _write_csv}


def flat(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a CSV row per score of an explanation; without scores one row without figures."""
    common = {name: row[name] for name in OF_EXPLANATIONS}
    if not row["scores"]:
        yield common
    for score in row["scores"]:
        null = score["null"]
        interval, lift = score["interval"] or {}, null["lift_interval"] or {}
        controls = {control["name"]: control["value"] for control in score["controls"]}
        yield common | {
            **{name: score[name] for name in OF_SCORES},
            **{name: controls.get(name) for name in OF_CONTROLS},
            **{name: null[name] for name in ("lift", "lift_reason", "p_value", "p_method", "p_paired", "q_value")},
            "low": interval.get("low"),
            "high": interval.get("high"),
            "null_value": null["value"],
            "lift_low": lift.get("low"),
            "lift_high": lift.get("high"),
        }


def _form_of(output: Path | None) -> Form:
    ending = output.suffix.removeprefix(".") if output else Form.JSONL.value
    try:
        return Form(ending)
    except ValueError as error:
        raise InputError(f"No format is known for {output}.", cure="Name the file .jsonl or .csv, or give --format.") from error


@contextmanager
def _sink(output: Path | None) -> Iterator[IO[str]]:
    """Open standard output, or a file that is renamed to its name when complete."""
    if output is None:
        yield sys.stdout
        return
    part = output.with_name(output.name + ".part")
    try:
        with writing(part) as file, io.TextIOWrapper(file, encoding="utf-8", newline="") as sink:
            yield sink
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    part.replace(output)
