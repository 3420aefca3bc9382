"""`python -m examples.beliefs.seeds`: whether the report's shares find features of belief in dictionaries of other seeds, too.

`measure` compares two lists of one dictionary: of what the current token leaves, and the last two. That one is better there may be chance. Here are
dictionaries of other seeds and text on the same subject, each by the report's own function on held-out letters, without a job.
"""

import argparse
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from examples.beliefs import process, train
from examples.beliefs.measure import Truth, found_by, shown, truth_of
from examples.beliefs.probing import Ints, activations
from interp.dictionary.module import Dictionary, open_dictionary
from interp.domain.check_report import Figure
from interp.domain.spec import DictionarySpec, SubjectSpec
from interp.health.reconstruction.context import context
from interp.subject.base import open_subject

SEEDS = (101, 102, 103, 104)
SEQUENCES = 2000


def found(dictionary: Dictionary, x: torch.Tensor, sequences: Ints) -> tuple[Truth, dict[str, tuple[Figure, int]]]:
    """The truth of a dictionary's features at activations `[N, L, D]`, and what finds those that track belief: AUROC, and how many of the first."""
    features = dictionary.encode(x.flatten(0, 1)).reshape(*sequences.shape, -1).double().numpy()
    truth = truth_of(features, sequences, dictionary)
    fires = truth.density > 0
    # The BOS stands before each sequence, and is a token before like any other.
    before = np.pad(sequences[:, :-1], ((0, 0), (1, 0)), constant_values=len(process.TOKENS))
    documents = np.repeat(np.arange(len(sequences)), sequences.shape[1])
    report = asdict(context(dictionary, x.flatten(0, 1), sequences.reshape(-1), documents, before.reshape(-1)))
    lists = {"the token": report, "the last two tokens": report["last_two"]}
    return truth, {name: found_by(left, truth.tracks & fires, fires) for name, left in lists.items()}


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", type=Path, default=train.HERE, help="the folder that the training wrote")
    target = parser.parse_args().target
    sequences = process.sample(process.mess3(), SEQUENCES, train.LETTERS, train.TEXT_SEED + 1)
    with TemporaryDirectory(dir=target) as folder:
        for seed in SEEDS:
            made = Path(folder) / str(seed)
            with torch.inference_mode(False):
                train.train_dictionary(train.Sizes(), target / "subject", made, seed)
            dictionary = open_dictionary(DictionarySpec(source=str(made)))
            subject = open_subject(SubjectSpec(model=str(target / "subject"), device="cpu"), dictionary.hook_point)
            truth, lists = found(dictionary, torch.from_numpy(activations(subject, sequences)), sequences)
            count = int((truth.tracks & (truth.density > 0)).sum())
            parts = [f"beyond {name} {first} of the first {count}, AUROC {shown(area)}" for name, (area, first) in lists.items()]
            print(f"seed {seed}: {count} of {int((truth.density > 0).sum())} track belief; {'; '.join(parts)}")


if __name__ == "__main__":
    main()
