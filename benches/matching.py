"""Time the matching of two dictionaries of one space, and of random directions beside it.

    python -m benches.matching --features 100000 --width 64 --json

The second dictionary is the first in another order, with noise from none to three times a feature's own length: part of the features have a partner.
`gap` is how far the mean cosine of the one-to-one assignment may lie below that of the best one.
"""

import argparse
import json
import resource
import time

import torch

from interp.dictionary.module import Dictionary
from interp.health.matching import Match, matching


def main() -> None:
    options = _options()
    generator = torch.Generator().manual_seed(0)
    shape = options.features, options.width
    first = torch.randn(shape, generator=generator)
    noise = 3 * torch.rand(options.features, 1, generator=generator) * torch.randn(shape, generator=generator)
    second = (first + noise)[torch.randperm(options.features, generator=generator)]
    begun, used = time.perf_counter(), time.process_time()
    # Encoders are the decoders, so that they are matched, too; random directions once.
    found = matching(_dictionary(first), (_dictionary(second),)).pairs[0].decoder
    line = {
        "bench": "matching",
        "features": options.features,
        "width": options.width,
        "threads": torch.get_num_threads(),
        "seconds": round(time.perf_counter() - begun, 1),
        "cpu_seconds": round(time.process_time() - used, 1),
        "mean": round(found.match.one_to_one.mean.value or 0, 4),
        "gap": round(_gap(found.match), 5),
        "random_gap": round(_gap(found.random), 5),
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    print(json.dumps(line) if options.json else "  ".join(f"{name} {value}" for name, value in line.items()))


def _gap(match: Match) -> float:
    return (match.one_to_one.bound or 0) - (match.one_to_one.mean.value or 0)


def _dictionary(decoder: torch.Tensor) -> Dictionary:
    features, width = decoder.shape
    return Dictionary(
        name="made",
        hook_point="blocks.1.hook_resid_pre",
        architecture="standard",
        digest="",
        config={},
        W_enc=decoder.T,
        b_enc=torch.zeros(features),
        W_dec=decoder,
        b_dec=torch.zeros(width),
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time the matching of two dictionaries of one space.")
    parser.add_argument("--features", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
