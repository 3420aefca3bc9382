"""Measure the start of commands in seconds of wall clock and of CPU, medians of a few runs: `python -m benches.startup`."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from api.server import Service
from interp.config.settings import Settings

PROGRAM = "from api.cli import main; main()"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(home=Path(folder))
        with Service(settings, "127.0.0.1", 0, workers=False) as service:
            asking = settings.model_copy(update={"api_url": service.url}).environment()
            local = settings.model_copy(update={"port": 1}).environment()
            cases = {"--help": ("--help", asking), "job list": ("job list", asking)}
            cases |= {f"{command}, without a server": (command, local) for command in ("job list", "dictionaries", "runs")}
            for name, (command, environment) in cases.items():
                line = {"bench": "startup", "case": name, **figures(command, environment, arguments.runs)}
                print(json.dumps(line) if arguments.json else line, flush=True)


def figures(command: str, environment: dict[str, str], runs: int) -> dict[str, Any]:
    """Medians over `runs`, after one that fills the file system's cache."""
    taken = [once(command, environment) for _ in range(runs + 1)][1:]
    wall, cpu = (statistics.median(column) for column in zip(*taken, strict=True))
    return {"wall_s": round(wall, 3), "cpu_s": round(cpu, 3), "runs": runs}


def once(command: str, environment: dict[str, str]) -> tuple[float, float]:
    """Seconds of wall clock, and of CPU, of one run."""
    began, before = time.perf_counter(), os.times()
    subprocess.run([sys.executable, "-c", PROGRAM, command], env=os.environ | environment, check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - began, cpu


if __name__ == "__main__":
    main()
