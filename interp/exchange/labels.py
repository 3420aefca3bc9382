"""Read labels that people or other tools wrote, from tables and JSON Lines."""

import csv
import gzip
import hashlib
import io
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from interp.domain.cleaning import lines, unguarded
from interp.domain.errors import InputError
from interp.security.bounded_json import JsonLimits, parse_json

LARGEST, MOST_ROWS, LONGEST, LONGEST_NAME = 256 << 20, 1_000_000, 10_000, 64
# A line of our export `jsonl` has the contexts of a feature, too.
LINE = JsonLimits(nbytes=16 << 20, values=1_000_000)
NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII)
# Columns by what they are called in our own tables and in Neuronpedia's rows.
NAMES = {
    "index": ("index", "feature"),
    "text": ("text", "label", "description"),
    "method": ("method", "explainer", "typeName"),
    "author": ("author", "explanationModelName"),
}
HUMAN = "human"


@dataclass(frozen=True, slots=True)
class ImportedLabel:
    """A label of a feature, how it was made, and by whom (None: not said)."""

    feature: int
    text: str
    method: str
    author: str | None


@dataclass(frozen=True, slots=True)
class ImportedLabels:
    """A file's labels, its sha256, and how many of its rows are no label.

    `reported` are scores that came with the labels, by feature and scorer.
    """

    labels: tuple[ImportedLabel, ...]
    digest: str
    unread: int
    reported: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)


def read(path: Path) -> ImportedLabels:
    """Read `.csv`, `.jsonl` or `.jsonl.gz`; raises InputError for other files, and for larger ones."""
    content = _content(path)
    rows = _table(content) if path.name.endswith(".csv") else _json_lines(content)
    labels: list[ImportedLabel] = []
    unread = 0
    for number, row in enumerate(rows):
        if number >= MOST_ROWS:
            raise InputError(f"{path} has more than {MOST_ROWS:,} rows.", cure="Import it in parts.")
        found = [] if row is None else _labels(row)
        unread += not found
        labels += found
    return ImportedLabels(tuple(labels), hashlib.sha256(content).hexdigest(), unread)


def _content(path: Path) -> bytes:
    if not path.name.endswith((".csv", ".jsonl", ".jsonl.gz")):
        raise InputError(f"{path} is of no known kind.", cure="Name a .csv, .jsonl or .jsonl.gz file: see docs/exports.md.")
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            content: bytes = file.read(LARGEST + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be read.", why=str(error)[:200], cure="Write it again.") from error
    if len(content) > LARGEST:
        raise InputError(f"{path} is larger than {LARGEST >> 20} MiB.", cure="Import it in parts.")
    return content


def _table(content: bytes) -> Iterator[Mapping[str, Any] | None]:
    reader = csv.DictReader(io.StringIO(content.decode("utf-8-sig", "replace"), newline=""))
    try:
        for row in reader:
            yield {name: unguarded(value) for name, value in row.items() if isinstance(name, str) and isinstance(value, str)}
    except csv.Error as error:
        raise InputError("The table cannot be read.", why=str(error)[:200], cure="Write it again as CSV.") from error


def _json_lines(content: bytes) -> Iterator[Mapping[str, Any] | None]:
    for line in content.splitlines():
        if line.strip():
            try:
                row = parse_json(line, LINE)
            except (ValueError, RecursionError):
                row = None
            yield row if isinstance(row, dict) else None


def _labels(row: Mapping[str, Any]) -> list[ImportedLabel]:
    """Return the label of a row, or those of a line of our export."""
    if not isinstance(row.get("explanations"), list):
        label = _label(row)
        return [] if label is None else [label]
    found = [_label(_row_of(row.get("index"), made)) for made in row["explanations"] if isinstance(made, dict)]
    return [label for label in found if label is not None]


def _row_of(index: Any, made: Mapping[str, Any]) -> dict[str, Any]:
    """Return an explanation of our export as a row of a table."""
    of = made.get("provenance")
    author = of.get("author") if isinstance(of, dict) else None
    return {"index": index, "text": made.get("text"), "explainer": made.get("explainer"), "author": author}


def label_text(text: str) -> str:
    """Return a label on one line, without controls, of bounded length."""
    return " ".join(lines(text)[:LONGEST].split())


def name_text(text: str) -> str:
    """Return the name of a method or an author likewise."""
    return " ".join(lines(text).split())[:LONGEST_NAME]


def _label(row: Mapping[str, Any]) -> ImportedLabel | None:
    """Return the label of a row, or None where it has none."""
    found = {name: next((row[key] for key in keys if row.get(key) not in (None, "")), None) for name, keys in NAMES.items()}
    index, text = str(found["index"])[:10], label_text(str(found["text"] or ""))
    if not NUMBER.fullmatch(index) or not text:
        return None
    method, author = (name_text(str(found[name] or "")) for name in ("method", "author"))
    return ImportedLabel(int(index), text, method or HUMAN, author or None)
