"""The long form: `python -m tests.security`, or `make fuzz`. Prints two tables: changed files, and requests made from the OpenAPI document.

Ends with status 1 where something other than an answer or a refusal came out.
"""

import argparse
import os
import random
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from interp.security.allowed_files import Roots, within
from tests.security import generated
from tests.security.mutants import Case, cases
from tests.security.mutating import MOST_MIB, MOST_SECONDS, Outcome, attempt

COLUMNS = ("kind", "mutants", "accepted", "refused", "faults", "longest, s of CPU", "most memory, MiB")
SHOWN = 20


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.security", description=__doc__)
    parser.add_argument("--mutants", type=int, default=10_000, help="number of changed files (10,000)")
    parser.add_argument("--requests", type=int, default=20_000, help="number of requests to both databases together (20,000); 0 sends none")
    parser.add_argument("--seed", type=int, default=0, help="seed of the changes (0)")
    parser.add_argument("--only", help="only kinds whose name contains this")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="glossator-fuzz-") as folder, within(Roots((os.path.realpath(folder),))):
        found = {name: case for name, case in cases(Path(folder)).items() if not given.only or given.only in name}
        share = -(-given.mutants // len(found))
        outcomes = {name: _attempts(name, case, given.seed, share) for name, case in found.items()}
    _print(outcomes)
    tallies = generated.attack_both(given.requests, given.seed) if given.requests and not given.only else {}
    _print_requests(tallies)
    failed = any(outcome.fault for some in outcomes.values() for outcome in some) or any(tally.faults for tally in tallies.values())
    return 1 if failed else 0


def _attempts(name: str, case: Case, seed: int, count: int) -> list[Outcome]:
    return [attempt(case, random.Random(f"{name} {seed} {number}")) for number in range(count)]


def _print(outcomes: dict[str, list[Outcome]]) -> None:
    table = Table(*COLUMNS)
    for name, some in outcomes.items():
        table.add_row(name, *_figures(some))
    table.add_section()
    table.add_row("all", *_figures([outcome for some in outcomes.values() for outcome in some]))
    printer = Console()
    printer.width = max(printer.width, 110)
    printer.print(table)
    faults = [f"{name}: {outcome.fault}" for name, some in outcomes.items() for outcome in some if outcome.fault]
    printer.print(f"Bounds: {MOST_SECONDS} s of CPU and {MOST_MIB} MiB a mutant; {len(faults)} went beyond, or gave another error than a refusal.")
    for fault in faults[:SHOWN]:
        printer.print(fault, markup=False)


def _print_requests(tallies: dict[str, generated.Tally]) -> None:
    if not tallies:
        return
    table = Table("database", "requests", "answered", "refused", "5xx", "faults", "longest, s of CPU")
    for name, tally in tallies.items():
        classes = [f"{tally.of_class(first):,}" for first in (2, 4, 5)]
        table.add_row(name, f"{tally.requests:,}", *classes, str(len(tally.faults)), f"{tally.longest:.2f}")
    printer = Console()
    printer.print(table)
    printer.print(f"Bound: {generated.MOST_SECONDS} s of CPU a request; faults are beyond it, a 5xx, or a refusal that is no problem document.")
    for fault in [fault for tally in tallies.values() for fault in tally.faults][:SHOWN]:
        printer.print(fault, markup=False)


def _figures(some: Sequence[Outcome]) -> tuple[str, ...]:
    accepted, faults = sum(outcome.accepted for outcome in some), sum(bool(outcome.fault) for outcome in some)
    longest, most = max(outcome.seconds for outcome in some), max(outcome.mib for outcome in some)
    return f"{len(some):,}", f"{accepted:,}", f"{len(some) - accepted - faults:,}", str(faults), f"{longest:.2f}", f"{most:.0f}"


if __name__ == "__main__":
    sys.exit(main())
