"""Ask questions of known answer in both orders of a prompt, of a model in a folder in Hugging Face form.

    python -m examples.smollm2.prepare
    python -m benches.orders --model examples/smollm2/subject --json

The questions are those of the control `gold`: a label about one word, and windows of documentation with and without it. The reply's form is forced:
after each number the likelier of "yes" and "no" is written, as an endpoint that holds a reply to a schema does. `accuracy` is the share of right
answers, `yes` the share of "yes" (half is right), `auc` the chance that a window with the word gets a higher probability of "yes" than one without
it in its own prompt, and `se` and `auc_se` are standard errors over prompts.
"""

import argparse
import asyncio
import json
import re
import sysconfig
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, get_args

import numpy as np

from examples.smollm2.prepare import documents
from interp.domain.errors import AbilityMissingError
from interp.domain.evidence import ContextKind, Contexts, Split
from interp.domain.spec import PromptOrder
from interp.domain.vocabulary import Vocabulary
from interp.judge.verdicts import Verdict
from interp.judge.yes_no import NO, YES, Question, Window, ask_windows
from interp.llm.base import Ability, Prompt, Reply, TokenChoice, Usage
from interp.score.controls.gold import gold_of
from interp.stats.ranking import Floats, auroc

PIECE = re.compile(r"\s*\w+|\s*[^\w\s]|\s+")
WINDOW, WINDOWS = 32, 60


@dataclass
class FolderModel:
    """A causal language model with a chat template, as a judge whose replies are forced into their form."""

    folder: Path
    name: str = "folder"
    provenance: dict[str, Any] = field(default_factory=dict)
    abilities: frozenset[Ability] = frozenset({Ability.LOGPROBS})

    def __post_init__(self) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self._tokenizer: Any = AutoTokenizer.from_pretrained(self.folder)
        self._model: Any = AutoModelForCausalLM.from_pretrained(self.folder)
        self._words = {word: self._tokenizer(word, add_special_tokens=False)["input_ids"][0] for word in (YES, NO)}

    def for_purpose(self, purpose: str) -> "FolderModel":
        del purpose
        return self

    async def ask(self, prompt: Prompt) -> Reply:
        """A verdict under each number of the prompt's schema, each after those before."""
        import torch

        messages = [{"role": message.role, "content": message.content} for message in prompt.messages]
        pending: list[int] = self._tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]
        assert prompt.schema is not None
        state, choices = None, list[TokenChoice]()
        for number, key in enumerate(prompt.schema.body["properties"]):
            opening = f'{"{" if number == 0 else ", "}"{key}": "'
            pending = pending + self._tokenizer(opening, add_special_tokens=False)["input_ids"]
            with torch.inference_mode():
                made = self._model(torch.tensor([pending]), past_key_values=state, use_cache=True, logits_to_keep=1)
            state, logs = made.past_key_values, torch.log_softmax(made.logits[0, -1].float(), 0)
            odds = {word: float(logs[token]) for word, token in self._words.items()}
            said = max(odds, key=lambda word: odds[word])
            choices += [TokenChoice(opening, 0.0), TokenChoice(said, odds[said], tuple(odds.items())), TokenChoice('"', 0.0)]
            pending = [self._words[said], *self._tokenizer('"', add_special_tokens=False)["input_ids"]]
        choices.append(TokenChoice("}", 0.0))
        return Reply("".join(choice.token for choice in choices), "stop", Usage(0, 0), prompt.digest, choices=tuple(choices))

    async def embed(self, texts: Sequence[str]) -> Any:
        del texts
        raise AbilityMissingError("No embeddings here.")

    async def read(self, text: str) -> tuple[TokenChoice, ...]:
        del text
        raise AbilityMissingError("No reading here.")


def windows_of(seed: int) -> tuple[Contexts, Vocabulary]:
    """Windows of the standard library's documentation, some of it drawn by seed, and a vocabulary of their pieces."""
    random = np.random.default_rng(seed)
    texts = list(islice(documents(Path(sysconfig.get_paths()["stdlib"])), 200))
    drawn = [PIECE.findall(texts[place]) for place in random.permutation(len(texts))[:12]]
    rows = [pieces[start : start + WINDOW] for pieces in drawn for start in range(0, len(pieces) - WINDOW, WINDOW)]
    rows = [rows[place] for place in random.permutation(len(rows))[:WINDOWS]]
    numbers = {piece: number for number, piece in enumerate(sorted({piece for row in rows for piece in row}))}
    contexts = Contexts(
        tokens=np.array([[numbers[piece] for piece in row] for row in rows], dtype=np.uint32),
        activations=np.zeros((len(rows), WINDOW), dtype=np.float16),
        lengths=np.full(len(rows), WINDOW, dtype=np.uint16),
        kinds=np.full(len(rows), ContextKind.INACTIVE, dtype=np.uint8),
        splits=np.full(len(rows), Split.TEST, dtype=np.uint8),
        documents=np.arange(len(rows), dtype=np.uint64),
        starts=np.zeros(len(rows), dtype=np.uint32),
        positions=np.zeros(len(rows), dtype=np.uint16),
    )
    return contexts, Vocabulary(tuple(piece.encode() for piece in numbers), frozenset())


def measured(model: FolderModel, prompts: int, per_prompt: int) -> Iterator[dict[str, Any]]:
    """A line for each kind of question and order, of `prompts` prompts with `per_prompt` windows."""
    for kind in get_args(Question):
        asked = [(seed, gold) for seed in range(prompts) if (gold := gold_of(kind, *windows_of(seed), per_prompt, seed)) is not None]
        for order in get_args(PromptOrder):
            begun = time.perf_counter()
            answers = [asyncio.run(ask_windows(model, kind, label, windows, seed, per_prompt, order)) for seed, (label, windows) in asked]
            yield {
                "bench": "orders",
                "model": model.folder.name,
                "kind": kind,
                "order": order,
                **figures([windows for _, (_, windows) in asked], answers),
                "seconds": round(time.perf_counter() - begun, 1),
            }


def figures(windows: Sequence[Sequence[Window]], answers: Sequence[Sequence[Verdict[bool]]]) -> dict[str, Any]:
    """Accuracy with its standard error over prompts, the share of yes, and the mean area under the curve of a prompt."""
    truths = [np.array([bool(window.group) for window in part]) for part in windows]
    said = [np.array([bool(verdict.value) for verdict in part]) for part in answers]
    odds = [np.array([verdict.probability for verdict in part], dtype=np.float64) for part in answers]
    right = np.array([(truth == answer).mean() for truth, answer in zip(truths, said, strict=True)])
    areas = [area for truth, chance in zip(truths, odds, strict=True) if (area := auroc(chance, truth)) is not None]
    return {
        "prompts": len(right),
        "windows": sum(map(len, said)),
        "accuracy": round(float(right.mean()), 3),
        "se": _error(right),
        "yes": round(float(np.concatenate(said).mean()), 3),
        "auc": round(float(np.mean(areas)), 3),
        "auc_se": _error(np.array(areas)),
    }


def _error(figures: Floats) -> float:
    return round(float(figures.std(ddof=1) / np.sqrt(len(figures))), 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder of the model")
    parser.add_argument("--prompts", type=int, default=20, help="of each kind in each order")
    parser.add_argument("--per-prompt", type=int, default=10, help="windows")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    for line in measured(FolderModel(arguments.model), arguments.prompts, arguments.per_prompt):
        print(json.dumps(line) if arguments.json else ", ".join(f"{name} {value}" for name, value in line.items()), flush=True)


if __name__ == "__main__":
    main()
