"""`python -m examples.babyllama.sample FOLDER --seed 11`: labels of random features with their strongest and random test contexts, for a reader.

Runs `job.yaml` on the folder's `subject`, `dictionary` and `text.jsonl`, on an embedded service whose database is deleted afterwards.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from api.cli.commands.features import print_context
from api.cli.output.console import out
from examples.jobs import results_of
from glossator import Client

JOB = Path(__file__).parent / "job.yaml"
# Contexts shown of each kind.
SHOWN = {"top": 4, "uniform": 5}


def features_of(client: Client, dictionary: str, count: int, seed: int) -> list[dict[str, Any]]:
    """Return `count` features of the dictionary, drawn without replacement."""
    known = sorted(item.index for item in client.list_features(dictionary))
    drawn = np.random.default_rng(seed).choice(known, min(count, len(known)), replace=False)
    return [client.get_feature(dictionary, int(feature)) for feature in drawn]


def contexts_of(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the test contexts to show, the strongest first."""
    test = [context for context in found["contexts"] if context["split"] == "test"]
    of_kind = {kind: [context for context in test if context["kind"] == kind] for kind in SHOWN}
    of_kind["top"].sort(key=lambda context: -context["max_activation"])
    return [context for kind, count in SHOWN.items() for context in of_kind[kind][:count]]


def show(found: dict[str, Any]) -> None:
    for explanation in found["explanations"]:
        scores = ", ".join(f"{score['scorer']} {score['value']:.2f}" for score in explanation["scores"] if score["value"] is not None)
        out.print(f"\n{found['index']}: {explanation['text'] or 'no label'} ({scores})", markup=False)
    for context in contexts_of(found):
        print_context(out, context, found["statistics"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--seed", type=int, default=11)
    asked = parser.parse_args()
    for found in results_of(JOB, asked.folder, lambda client, dictionary: features_of(client, dictionary, asked.count, asked.seed)):
        show(found)


if __name__ == "__main__":
    main()
