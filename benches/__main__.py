"""Run every benchmark at its documented size, one after the other: `python -m benches` prints one table per kind.

Each benchmark is also a module of its own, with `--json`.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

Line = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """Runs whose lines have the same columns; where `columns` is empty, whatever a line says is shown beside its name."""

    title: str
    runs: tuple[tuple[str, ...], ...]
    columns: tuple[str, ...] = ()


KINDS = (
    Kind(
        "collection beside the model alone",
        (
            ("benches.collect", "--features", "4096", "--tokens", "1048576"),
            ("benches.collect", "--features", "16384", "--tokens", "1048576"),
            ("benches.collect", "--features", "4096", "--tokens", "262144", "--topk"),
        ),
        ("tokens", "features", "activation", "ratio_to_floor", "spread_to_floor", "ratio_to_tight_floor", "spread_to_tight_floor", "tokens_per_s"),
    ),
    Kind(
        "evidence with figures of activity beside evidence alone",
        (
            ("benches.health", "--features", "4096", "--tokens", "262144"),
            ("benches.health", "--features", "4096", "--tokens", "262144", "--topk"),
        ),
        ("tokens", "features", "activation", "l0", "token_share", "ratio", "spread", "cpu_ratio", "cpu_spread", "slice_cpu_ratio", "report_seconds"),
    ),
    Kind("features that two dictionaries share", (("benches.matching", "--features", "100000"),)),
    Kind("memory of collection", (("benches.collect", "--features", "4096", "--memory"),), ("tokens", "features", "peak_rss_mb", "formula_mb")),
    Kind(
        "language models beside a bare client",
        (("benches.llm",),),
        (
            "in_flight",
            "workers",
            "features",
            "calls",
            "ratio_to_bare_client",
            "spread",
            "bare_calls_per_s",
            "our_calls_per_s",
            "cpu_ms_per_feature",
            "client_cpu_ms_per_feature",
        ),
    ),
    Kind(
        "the queue under a fleet of 64 simulated workers",
        (("benches.fleet",),),
        ("workers", "speed", "utilisation", "utilisation_gpu", "utilisation_llm", "gap_ms_p50", "gap_ms_p95", "small_wait_s_max", "small_unfinished"),
    ),
    Kind("CPU a feature with more workers", (("benches.scaling",),), ("workers", "features", "cpu_ms_per_feature", "growth", "spread", "seconds")),
    Kind("what a feature leaves in PostgreSQL", (("benches.storage",),), ("job", "table", "rows_per_feature", "bytes_per_feature")),
    Kind(
        "the chunk that ends a job",
        (("benches.summarise", "--scores", "100000"),),
        ("case", "scores", "features", "conclude_s", "write_s", "peak_mb", "bytes_per_score"),
    ),
    Kind("what is promised, and what is so", (("benches.truth",),)),
)


def lines(run: tuple[str, ...]) -> Iterator[Line]:
    """The JSON lines of one benchmark, as they come."""
    with subprocess.Popen([sys.executable, "-m", *run, "--json"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            yield json.loads(line)
    if process.returncode:
        raise SystemExit(f"{' '.join(run)} ended with {process.returncode}")


def main() -> None:
    progress = Console(stderr=True)
    for kind in KINDS:
        found: list[Line] = []
        for run in kind.runs:
            progress.print(f"python -m {' '.join(run)}", markup=False, highlight=False)
            found += lines(run)
        Console().print(table_of(kind, found))


def table_of(kind: Kind, found: list[Line]) -> Table:
    if not kind.columns:
        table = Table("bench", "case", "figures", title=kind.title)
        for line in found:
            rest = {name: value for name, value in line.items() if name not in ("bench", "case", "seconds")}
            table.add_row(line["bench"], str(line.get("case", "")), ", ".join(f"{name} {_cell(value)}" for name, value in rest.items()))
        return table
    table = Table(*(name.replace("_", " ") for name in kind.columns), title=kind.title)
    for line in found:
        table.add_row(*(_cell(line.get(name)) for name in kind.columns))
    return table


def _cell(value: object) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        return "–".join(map(str, value))
    return "" if value is None else str(value)


if __name__ == "__main__":
    main()
