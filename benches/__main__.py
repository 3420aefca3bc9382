"""`python -m benches`: every benchmark at its stated sizes, one after the other, as a table. Each is a module of its own, with `--json`."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.table import Table

RUNS = (
    ("benches.collect", "--features", "4096", "--tokens", "1048576"),
    ("benches.collect", "--features", "16384", "--tokens", "1048576"),
    ("benches.collect", "--features", "4096", "--tokens", "262144", "--topk"),
    ("benches.collect", "--features", "4096", "--memory"),
    ("benches.truth",),
)
SHOWN = (
    "tokens",
    "features",
    "activation",
    "ratio_to_floor",
    "spread_to_floor",
    "ratio_to_tight_floor",
    "spread_to_tight_floor",
    "tokens_per_s",
    "peak_rss_mb",
    "interval_coverage",
    "null_false_positive_rate",
    "rogan_gladen_coverage",
    "sequential_error_rate",
    "sequential_tokens_saved",
)


def lines(run: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """The JSON lines of one benchmark, as they come."""
    with subprocess.Popen([sys.executable, "-m", *run, "--json"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            yield json.loads(line)
    if process.returncode:
        raise SystemExit(f"{' '.join(run)} ended with {process.returncode}")


def main() -> None:
    progress, table = Console(stderr=True), Table("benchmark", *(name.replace("_", " ") for name in SHOWN))
    for number, run in enumerate(RUNS, 1):
        progress.print(f"[{number}/{len(RUNS)}] python -m {' '.join(run)}", markup=False, highlight=False)
        for line in lines(run):
            table.add_row(" ".join(run[0:1] + run[5:]).strip(), *(_cell(line.get(name)) for name in SHOWN))
    Console().print(table)


def _cell(value: object) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        return "–".join(map(str, value))
    return "" if value is None else str(value)


if __name__ == "__main__":
    main()
