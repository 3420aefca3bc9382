"""`python -m examples.superposition.measure`: what the health reports of four dictionaries say, held against what is true.

Runs `job.yaml` for each on an embedded service, whose database is deleted afterwards. How many true directions does a dictionary have, one to one
(`interp.health.matching`)? And which composites (a feature for two true ones together) does the report name, of those that the dictionary has?
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from examples.jobs import results_of
from examples.superposition.train import HERE, HOOK_POINT, TRAINED, run
from examples.superposition.world import World
from interp.dictionary.module import Dictionary, open_dictionary
from interp.domain.spec import DictionarySpec
from interp.health.matching import SAME, Match, Matching, matching

DICTIONARIES = (*TRAINED, "planted")


@dataclass(frozen=True)
class Pair:
    """A planted pair: the dictionary's nearest features of its sum and of its two parts, with cosines, and whether the report names it."""

    features: tuple[int, int, int]
    cosines: tuple[float, float, float]
    named: bool

    @property
    def has_sum(self) -> bool:
        return self.cosines[0] > SAME

    @property
    def is_whole(self) -> bool:
        """Whether sum and parts are three features of the dictionary."""
        return min(self.cosines) > SAME and len(set(self.features)) == 3


@dataclass(frozen=True)
class Measured:
    """A dictionary's matching with the truth, its planted pairs, and its health report; `wrong` composites in it are no planted pair."""

    matching: Matching
    pairs: list[Pair]
    report: dict[str, Any]
    wrong: int

    @property
    def found(self) -> int:
        """True features with a partner of their own above .9."""
        return self._same(self.matching.pairs[0].decoder.match)

    @property
    def by_chance(self) -> int:
        """The same for as many random directions."""
        return self._same(self.matching.pairs[0].decoder.random)

    @staticmethod
    def _same(match: Match) -> int:
        return round((match.one_to_one.same.value or 0.0) * match.one_to_one.pairs)


def unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    found: NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return found


def planted(world: World, dictionary: Dictionary, truth: Dictionary, named: set[tuple[int, ...]]) -> list[Pair]:
    """The planted pairs in a dictionary; `named` are the report's composites, as feature and ascending parts."""
    decoder, true = unit(dictionary.W_dec.numpy()), truth.W_dec.numpy()
    found = []
    for first, second in world.composites:
        cosines = decoder @ unit(np.stack([true[first] + true[second], true[first], true[second]])).T
        sum_, one, other = cosines.argmax(axis=0).tolist()
        found.append(Pair((sum_, one, other), tuple(cosines.max(axis=0).tolist()), (sum_, *sorted((one, other))) in named))
    return found


def measure(world: World, target: Path, name: str) -> Measured:
    """Run the job on one of the target's dictionaries, and compare."""
    report = results_of(HERE / "job.yaml", target, lambda client, named: client.get_dictionary_health(named)["report"], name)
    truth = open_dictionary(DictionarySpec(source=str(target / "truth.npy"), format="directions", hook_point=HOOK_POINT))
    dictionary = open_dictionary(DictionarySpec(source=str(target / name)))
    named = {(one["feature"], *sorted(one["parts"])) for one in report["cofiring"]["composites"]}
    pairs = planted(world, dictionary, truth, named)
    return Measured(matching(dictionary, (truth,)), pairs, report, len(named) - sum(pair.named for pair in pairs))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", type=Path, default=HERE, help="the folder that the training wrote")
    target, world = parser.parse_args().target, World()
    if not all((target / name).exists() for name in DICTIONARIES):
        run(world, target)
    for name in DICTIONARIES:
        found = measure(world, target, name)
        show(name, world, found)


def show(name: str, world: World, found: Measured) -> None:
    report, pairs = found.report, found.pairs
    print(f"{name}: {report['features']} features", end="")
    for label, figure in (("L0", report["activity"]["l0"]), ("FVU", report["reconstruction"]["error"]["fvu"])):
        print(f", {label} {figure['value']:.3f} ± {figure['standard_error']:.3f}", end="")
    print(f"\n  true features found one to one above {SAME}: {found.found} of {world.features} (random directions {found.by_chance})")
    print(f"  sums of pairs: {sum(pair.has_sum for pair in pairs)} of {len(pairs)}, with both parts {sum(pair.is_whole for pair in pairs)}")
    print(f"  composites in the report: {sum(pair.named for pair in pairs)} of the planted pairs, {found.wrong} others")
    print("  cosines of sum and parts: " + "; ".join(" ".join(f"{cosine:.2f}" for cosine in pair.cosines) for pair in pairs))


if __name__ == "__main__":
    main()
