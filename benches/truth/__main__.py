"""Validate the scores on planted features of known meaning, with judges of known error rates.

    python -m benches.truth --json

The output has one object per line with `bench`, its figures and `runs`; docs/truth.md has them as tables, with the required values. `--runs` scales
the Monte Carlo: 1 takes some minutes on one core. `--only` names the benches to run.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benches.truth import borrowed, broad, demo, grids, leagues, pipeline, planted, rivals, sanity, stability, steered, written
from benches.truth.streams import clustered, crossings
from benches.truth.world import World, build

Line = dict[str, Any]

# Pairs of recall and specificity whose balanced accuracy must not be ruled out.
PAIRS = ((0.5, 0.5), (0.6, 0.6), (0.75, 0.75), (0.9, 0.9), (0.97, 0.97), (0.5, 0.9), (0.6, 1.0), (0.8, 0.95), (0.3, 0.98), (0.1, 0.9))
CLUSTERED = ((0.5, 0.5), (0.75, 0.75), (0.9, 0.9), (0.5, 0.9))
LONGEST = 500
USUAL = 45
THRESHOLDS = (0.5, 0.6, 0.75, 0.9)
NOISY = (0.95, 0.05)


def sequential_error(runs: int) -> Iterator[Line]:
    """How often is the true balanced accuracy ruled out at some moment, looked at after every answer? The worst pair of rates counts."""
    shares = {}
    for number, (recall, specificity) in enumerate(PAIRS):
        first = crossings(recall, specificity, LONGEST, runs, number)
        shares[recall, specificity] = (float(np.mean(np.isfinite(first))), float(np.mean(first <= USUAL)))
    worst = max(shares, key=lambda pair: shares[pair])
    yield {
        "bench": "sequential_error_rate",
        "sequential_error_rate": shares[worst][0],
        "within_90_answers": max(share for _, share in shares.values()),
        "mean_of_pairs": float(np.mean([share for share, _ in shares.values()])),
        "worst_pair": list(worst),
        "answers": 2 * LONGEST,
        "pairs": len(PAIRS),
        "runs": runs,
    }


def sequential_clustered(runs: int) -> Iterator[Line]:
    """The same of 40 + 40 windows of which five or ten come from one document, looked at after each prompt of 5 + 5.

    Alike ones err; of ones that are not alike, the windows asked about until the interval lies on one side of 0.5 are what clusters cost.
    """
    errors = {(pair, each): clustered(pair, each, 0.3, runs, number)[0] for number, pair in enumerate(CLUSTERED) for each in (5, 10)}
    worst = max(errors, key=lambda case: errors[case])
    asked = {each: float(np.mean([clustered(pair, each, 0.0, runs, number)[1] for number, pair in enumerate(CLUSTERED)])) for each in (1, 5, 10)}
    yield {
        "bench": "sequential_clustered_error",
        "sequential_clustered_error": errors[worst],
        "mean_of_cases": float(np.mean(list(errors.values()))),
        "worst": [*worst[0], worst[1]],
        "intra_document_correlation": 0.3,
        **{f"asked_of_80_until_decided_{each}_a_document": 80 * share for each, share in asked.items()},
        "cases": len(errors),
        "runs": runs,
    }


def on_streams(scale: float) -> dict[str, Callable[[], Iterable[Line]]]:
    """Benches that need no model: answers and activations are drawn."""
    return {
        "sequential_error_rate": lambda: sequential_error(max(100, round(10_000 * scale))),
        "sequential_clustered_error": lambda: sequential_clustered(max(50, round(400 * scale))),
        "pearson_coverage": lambda: grids.pearson(max(50, round(400 * scale))),
        "pearson_rivals": lambda: rivals.compared(max(20, round(120 * scale))),
        "broad": lambda: broad.caught(max(50, round(400 * scale))),
        "broad_judged": lambda: broad.judged(max(500, round(4_000 * scale))),
        "sanity": lambda: sanity.lines(max(50, round(400 * scale))),
        "stability": lambda: stability.coverage(max(20, round(1000 * scale))),
        "league": lambda: leagues.lines(max(50, round(2_000 * scale))),
        "large_document": lambda: grids.large_document(max(50, round(1000 * scale))),
    }


def on_the_planted(world: World, scale: float) -> dict[str, Callable[[], Iterable[Line]]]:
    def times(count: int) -> int:
        return max(1, round(count * scale))

    return {
        "pipeline": lambda: pipeline.over_http(world),
        "leak": lambda: [planted.leaks(world)],
        "interval_coverage": lambda: planted.coverage(world, times(5)),
        "null_false_positive_rate": lambda: [*planted.swaps_executable(world, times(8)), *planted.swaps_judged(world, times(16))],
        "rogan_gladen": lambda: planted.correction(world, times(6)),
        "breadth": lambda: planted.breadth(world),
        "know_nothing": lambda: planted.constants(world),
        "twins": lambda: [borrowed.twins()],
        "abstention": lambda: [borrowed.abstention(world, times(10))],
        "paired": lambda: borrowed.paired(world, times(6)),
        "league_planted": lambda: leagues.on_planted(world, times(4), max(50, round(5_000 * scale))),
        "generation": lambda: written.lines(world, times(16)),
    }


def on_steered(folder: Path, scale: float) -> dict[str, Callable[[], Iterable[Line]]]:
    return {"output": lambda: steered.lines(steered.build(folder / "steered"), max(1, round(6 * scale)), max(200, round(5_000 * scale)))}


def on_the_demo(folder: Path) -> dict[str, Callable[[], Iterable[Line]]]:
    trained = demo.once(folder, "trained")
    return {
        "random_weights": lambda: demo.untrained(trained(), demo.once(folder, "random")()),
        "recall_by_strength": lambda: [demo.by_strength(trained())],
        "sequential_saving": lambda: [*demo.savings(trained(), THRESHOLDS), *demo.savings(trained(), THRESHOLDS[:1], rates=NOISY)],
    }


def lines(only: set[str], scale: float) -> Iterator[Line]:
    """Every bench asked for, as it comes. The planted dictionary is made once."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        simulated = on_streams(scale) | on_steered(folder, scale)
        planted_benches = on_the_planted(build(folder), scale) if not only or only - {*simulated, *DEMO} else {}
        for bench, make in (simulated | planted_benches | on_the_demo(folder)).items():
            if not only or bench in only:
                yield from make()


DEMO = ("random_weights", "recall_by_strength", "sequential_saving")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=float, default=1.0, help="factor of the number of Monte Carlo runs")
    parser.add_argument("--only", nargs="*", default=[], help="names of the benches to run; default: all")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    begun = time.perf_counter()
    for line in lines(set(options.only), options.runs):
        shown = {name: _plain(value) for name, value in line.items()} | {"seconds": round(time.perf_counter() - begun, 1)}
        print(json.dumps(shown) if options.json else "  ".join(f"{name} {value}" for name, value in shown.items()), flush=True)
        begun = time.perf_counter()


def _plain(value: Any) -> Any:
    return round(float(value), 4) + 0.0 if isinstance(value, float | np.floating) else value


if __name__ == "__main__":
    main()
