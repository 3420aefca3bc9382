"""Compare the cost of a pass that gives evidence and all activity figures with that of evidence alone.

    python -m benches.health --features 4096 --tokens 262144 --json

Both are measured in one process, in turn over slices of the same batches, after a warm-up, so that other load affects both alike. Evidence is all
that `interp.collect` does; the figures add, per batch, the counts of L0, densities and pairs of features, and their start. `ratio` is the median over
the repeats, each of all the tokens; `spread` is the lowest and highest. `cpu_ratio` is that of CPU seconds, which other load disturbs less: on two
idle cores what one thread does beside two counts double in `ratio`. `slice_cpu_ratio` is the median over the slices. `report_seconds`, once at the
end, is not part of the pass.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benches.collect import HOOK_POINT, Setting, rows_of, seconds_of, setting_of, show
from interp.domain.spec import CollectionSpec
from interp.health.activity import activity_report
from interp.health.cofiring.relations import cofiring_report
from interp.health.observing import Observed, observe

SLICE_BATCHES = 2


def main() -> None:
    options = _options()
    torch.manual_seed(0)
    setting = setting_of(options)
    _repeat(setting, 0, SLICE_BATCHES)
    repeats = [_repeat(setting, turn) for turn in range(options.repeats)]
    ratios = [sum(both.seconds) / sum(alone.seconds) for alone, both, _ in repeats]
    cpu_ratios = [sum(both.cpu) / sum(alone.cpu) for alone, both, _ in repeats]
    # Without the start and the end.
    slices = [own / other for alone, both, _ in repeats for own, other in zip(both.cpu[1:-1], alone.cpu[1:-1], strict=True)]
    counts = repeats[-1][2]
    activity, cofiring = counts.activity.counts(), counts.cofiring.counts()
    begun = time.perf_counter()
    report = activity_report(activity), cofiring_report(cofiring, setting.dictionary.W_dec.numpy(), activity.sums["firing"])
    line: dict[str, Any] = {
        "bench": "health",
        "device": str(setting.subject.device),
        "threads": torch.get_num_threads(),
        "features": setting.dictionary.n_features,
        "activation": setting.dictionary.activation,
        "tokens": report[0].tokens,
        "l0": round(report[0].l0.value or 0, 1),
        "token_share": report[1].token_share,
        "repeats": len(repeats),
        "ratio": round(statistics.median(ratios), 3),
        "spread": [round(min(ratios), 3), round(max(ratios), 3)],
        "cpu_ratio": round(statistics.median(cpu_ratios), 3),
        "cpu_spread": [round(min(cpu_ratios), 3), round(max(cpu_ratios), 3)],
        "slice_cpu_ratio": round(statistics.median(slices), 3),
        "report_seconds": round(time.perf_counter() - begun, 2),
    }
    show(line, options.json)


@dataclass
class Clock:
    """Seconds, and seconds of CPU, of each part that was run."""

    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def run(self, setting: Setting, work: Callable[[], object]) -> None:
        begun = time.process_time()
        self.seconds.append(seconds_of(setting, work))
        self.cpu.append(time.process_time() - begun)


def _repeat(setting: Setting, turn: int, batches: int | None = None) -> tuple[Clock, Clock, Observed]:
    """Evidence alone, and with the figures, slice by slice."""
    clocks = Clock(), Clock()
    observed: list[Observed] = []
    with setting.collection() as alone, setting.collection() as both:
        clocks[0].run(setting, lambda: None)
        clocks[1].run(setting, lambda: observed.append(observe(both, 0, setting.subject, setting.dictionary, setting.corpus)))
        rows = itertools.islice(rows_of(alone, (0, len(setting.corpus))), batches)
        ways = [(clocks[0], alone), (clocks[1], both)]
        while part := list(itertools.islice(rows, SLICE_BATCHES)):
            for clock, collecting in ways[:: 1 if turn % 2 else -1]:
                clock.run(setting, lambda collecting=collecting: [collecting.stream.take(batch) for batch in part])
            turn += 1
        for clock, collecting in ways:
            clock.run(setting, collecting.partials)
    return *clocks, observed[0]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, default=4096)
    parser.add_argument("--tokens", type=int, default=262_144)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch-tokens", type=int, default=CollectionSpec().tokens_at_once)
    parser.add_argument("--encode-dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--subject", type=Path, default=Path(__file__).parents[1] / "examples" / "pystdlib" / "subject")
    parser.add_argument("--hook-point", default=HOOK_POINT)
    parser.add_argument("--backend", default="auto", choices=["auto", "bridge", "huggingface"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--topk", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(memory=False)
    return parser.parse_args()


if __name__ == "__main__":
    main()
