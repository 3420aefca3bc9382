"""The long form: `python -m tests.faults`, or `make faults`. Prints the table; ends with status 1 where a promise was broken."""

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from tests.faults import table
from tests.faults.cluster import Cluster, cluster
from tests.faults.job import Reference, reference, scripted
from tests.faults.registry import FAULTS
from tests.faults.trial import Fault, Outcome, attempt

console = Console(stderr=True)
# Of the table, where nobody says how wide the terminal is.
WIDTH = 170


def main() -> int:
    given = _arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was started and mounted is to end with it
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    chosen = {key: fault for key, fault in FAULTS.items() if not given.only or key in given.only}
    begun = time.monotonic()
    outcomes: list[Outcome] = []
    try:
        _try_all(chosen.values(), given, outcomes)
    except KeyboardInterrupt:
        console.print("Stopped: the table tells what was tried so far.")
    rows = table.rows_of({key: fault.title for key, fault in chosen.items()}, outcomes)
    printer = Console()
    printer.width = max(printer.width, WIDTH)
    printer.print(table.as_rich(rows))
    if given.json:
        Path(given.json).write_text("".join(json.dumps(asdict(outcome)) + "\n" for outcome in outcomes))
    if given.write:
        minutes, load = (time.monotonic() - begun) / 60, os.getloadavg()[2]
        table.write(rows, f"`{_command()}`: {minutes:.0f} minutes on {os.cpu_count()} cores, at a load of {load:.0f}.")
    return 0 if all(outcome.is_recovered for outcome in outcomes) else 1


def _try_all(faults: Iterable[Fault], given: argparse.Namespace, outcomes: list[Outcome]) -> None:
    """Adds the outcome of every trial to the list as it comes."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="glossator-faults-", ignore_cleanup_errors=True)))
        folder.chmod(0o755)  # PostgreSQL runs as another user, and its folder is below this one
        server = stack.enter_context(scripted())
        undisturbed = reference(folder, server)
        service = stack.enter_context(cluster(folder, server))
        for fault in faults:
            reason = fault.blocks(service)
            if reason is not None:
                console.print(f"[bold red]{fault.title}: not tried, {reason}")
                continue
            outcomes.extend(_tried(service, undisturbed, fault, seed) for seed in _seeds(fault, given))


def _tried(service: Cluster, undisturbed: Reference, fault: Fault, seed: int) -> Outcome:
    try:
        outcome = attempt(service, undisturbed, fault, seed, is_long=True)
    except AssertionError as error:  # something never came
        outcome = Outcome(fault.key, seed, "?", (str(error),), 0, 0, 0, 0.0, 0.0)
    told = "recovered" if outcome.is_recovered else f"[bold red]{'; '.join(outcome.broken)}\n{service.logs()}"
    console.print(f"{fault.key} {seed} at {outcome.moment}: {told} in {outcome.recovery_seconds:.1f} s", highlight=False)
    return outcome


def _seeds(fault: Fault, given: argparse.Namespace) -> list[int]:
    """`--points` kills, or the fault's own number of trials, shared out among `--seeds`."""
    number = given.points if fault.is_kill else (given.tries or fault.tries)
    return [1000 * (place % given.seeds) + place // given.seeds for place in range(number)]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seeds", type=int, default=4, help="number of seeds over which the trials of a fault are spread")
    parser.add_argument("--points", type=int, default=100, help="number of random points of a job for each kill")
    parser.add_argument("--tries", type=int, help="number of trials of each other fault")
    parser.add_argument("--only", nargs="*", choices=list(FAULTS), help="names of the faults to run; default: all")
    parser.add_argument("--json", help="file for all outcomes, one JSON object per line")
    parser.add_argument("--write", action="store_true", help="write the table to docs/reliability.md")
    return parser.parse_args()


def _command() -> str:
    """How the table was made, but for where it went."""
    words = sys.argv[1:]
    if "--json" in words:
        place = words.index("--json")
        words[place : place + 2] = []
    return " ".join(["python -m tests.faults", *(word for word in words if word != "--write")])


if __name__ == "__main__":
    sys.exit(main())
