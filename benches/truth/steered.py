"""A subject and directions whose effect on predictions is known: scores of `output` are compared with the truth.

The subject is a GPT-2 of two blocks with random weights of a fixed seed. Directions are added after its first block, so that a block of attention and
MLP, two layer norms and the unembedding come after. There are directions of four kinds:

- `planted`: the unembedding's row of a token, with a label that names the token;
- `mislabelled`: the same, with a label that names a token of no direction;
- `elsewhere`: a random direction, with such a label;
- `unread`: all components are equal. What comes after reads the residual stream through layer norms alone, which subtract the mean (Ba, Kiros and
  Hinton, arXiv 1607.06450). So nothing reads this direction, at any strength.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import copy
from typing import Any, Literal, cast

import numpy as np
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from api.demo.fake_llm.readers import QuotedReader
from benches.truth.corpus import definitions
from benches.truth.judges import InProcess, judge
from benches.truth.oracle import OracleReader
from benches.truth.shares import interval_line, null_line
from benches.truth.world import EXAMPLE
from interp.collect.measure.effects import effects_of, prompts_of
from interp.corpus.tokenized import tokenize_corpus
from interp.dictionary.module import Dictionary
from interp.domain.evidence import Contexts, Statistics
from interp.domain.explanation import Explanation
from interp.domain.score import Score
from interp.domain.spec import ScorerSpec, SubjectSpec
from interp.domain.vocabulary import Vocabulary
from interp.files.artifact_store import Store
from interp.score.base import FeatureEffect, ScorerInput
from interp.score.scorers.output import FOILS, POOL, PROMPTS
from interp.subject.base import open_subject
from interp.subject.loaded import OpenedSubject
from workers.tasks.measurements import effect_content, effect_of

OUTPUT = ScorerSpec(name="output", judge="llm")
HOOK_POINT = "blocks.0.hook_resid_post"
WIDTH, POSITIONS, SPREAD = 64, 64, 0.2
# Some tens of documents, of which a dozen become prompts.
TOKENS = 12_000
KINDS = ("planted", "mislabelled", "elsewhere", "unread")
CHANCE = 1 / (1 + FOILS)
Line = dict[str, Any]
DType = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class SteeredWorld:
    """F directions with their kinds, labels, and measured effects.

    says  of each label, the text of the token that it names
    """

    vocabulary: Vocabulary
    kinds: tuple[str, ...]
    labels: tuple[str, ...]
    says: dict[str, str]
    effects: tuple[FeatureEffect, ...]

    def oracle(self) -> QuotedReader:
        """Return a judge who takes a label's token for what it means, and nothing else."""
        return OracleReader({label: lambda text, token=token: text == token for label, token in self.says.items()})

    def items(self, nulls: int = 2, seed: int = 0) -> list[ScorerInput]:
        """Return what the scorer is given of each direction: foils and nulls drawn among the others."""
        found = []
        for feature, label in enumerate(self.labels):
            others = np.random.default_rng((seed, feature)).permutation([other for other in range(len(self.labels)) if other != feature]).tolist()
            borrowed = tuple(_explanation(other, self.labels[other]) for other in others[:nulls])
            effects = (self.effects[feature], *(self.effects[other] for other in others[-POOL:]))
            found.append(ScorerInput(feature, NO_CONTEXTS, STATISTICS, _explanation(feature, label), borrowed, effects=effects))
        return found

    def scores(self, seed: int = 0) -> list[Score]:
        """Return the oracle's score of each direction."""
        return judge(InProcess(self.oracle()), OUTPUT, self.items(seed=seed), self.vocabulary, seed)


# The scorer reads neither contexts nor statistics.
NO_CONTEXTS = Contexts(
    *(np.zeros((0, 1), kind) for kind in (np.uint32, np.float16)),
    *(np.zeros(0, kind) for kind in (np.uint16, np.uint8, np.uint8, np.uint64, np.uint32, np.uint16)),
)
STATISTICS = Statistics(10_000, 100, (1000, 1000), (100, 100), 10.0, 5.0)


def build(folder: Path, counts: Sequence[int] = (32, 8, 8, 4), seed: int = 0, dtype: DType = "float32") -> SteeredWorld:
    """Return directions of each kind, `counts` of them, with what patched forward passes find of them."""
    folder.mkdir(parents=True, exist_ok=True)
    subject = _subject(folder / "subject", seed, dtype)
    kinds = tuple(kind for kind, count in zip(KINDS, counts, strict=True) for _ in range(count))
    random = np.random.default_rng(seed)
    # As many tokens that a direction is of, and as many that a label names beside it.
    tokens = random.permutation(_words(subject.vocabulary))[: 2 * len(kinds)].reshape(2, -1)
    named = np.where(np.array(kinds) == "planted", tokens[0], tokens[1])
    texts = [subject.vocabulary.text(int(token)) for token in named]
    labels = tuple(f"the token {text!r}" for text in texts)
    corpus = tokenize_corpus(definitions(folder, TOKENS), subject, Store.in_folder(folder), lambda _tokens: None)
    dictionary = _dictionary(_directions(subject, kinds, tokens[0], random))
    found = effects_of(subject, dictionary, np.arange(len(kinds)), prompts_of(corpus, subject.bos))
    contents = [effect_content(effect, subject.vocabulary) for effect in found]
    effects = tuple(effect_of(feature, content) for feature, content in enumerate(contents))
    return SteeredWorld(subject.vocabulary, kinds, labels, dict(zip(labels, texts, strict=True)), effects)


def _subject(folder: Path, seed: int, dtype: DType) -> OpenedSubject:
    size = json.loads((EXAMPLE / "subject" / "config.json").read_text())["vocab_size"]
    config = GPT2Config(
        vocab_size=size,
        n_positions=POSITIONS,
        n_embd=WIDTH,
        n_layer=2,
        n_head=2,
        n_inner=2 * WIDTH,
        initializer_range=SPREAD,
        bos_token_id=0,
        eos_token_id=0,
        tie_word_embeddings=False,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        GPT2LMHeadModel(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        copy(EXAMPLE / "subject" / name, folder / name)
    return cast(OpenedSubject, open_subject(SubjectSpec(model=str(folder), device="cpu", backend="huggingface", dtype=dtype), HOOK_POINT))


def _words(vocabulary: Vocabulary) -> list[int]:
    """Return tokens of letters with a space before, whose texts differ."""
    return [
        token
        for token in range(len(vocabulary))
        if vocabulary.wholes[token] and vocabulary.text(token)[:1] == " " and vocabulary.text(token)[1:].isalpha()
    ]


def _directions(subject: OpenedSubject, kinds: Sequence[str], tokens: np.ndarray, random: np.random.Generator) -> torch.Tensor:
    """Return a direction of each kind, float32 [F, D], of norms that differ."""
    unembedding = subject.output_directions(HOOK_POINT).float().cpu().T
    found = torch.from_numpy(random.standard_normal((len(kinds), WIDTH)).astype(np.float32))
    for row, (kind, token) in enumerate(zip(kinds, tokens.tolist(), strict=True)):
        if kind in ("planted", "mislabelled"):
            found[row] = unembedding[token]
        elif kind == "unread":
            found[row] = 1.0
    return found * torch.from_numpy(10.0 ** random.uniform(-2, 2, (len(kinds), 1)).astype(np.float32))


def _dictionary(directions: torch.Tensor) -> Dictionary:
    count = len(directions)
    return Dictionary("steered@0", HOOK_POINT, "relu", "steered", {}, torch.zeros(WIDTH, count), torch.zeros(count), directions, torch.zeros(WIDTH))


def _explanation(feature: int, label: str) -> Explanation:
    return Explanation(feature, "planted", label)


def lines(world: SteeredWorld, seeds: int, runs: int) -> Iterator[Line]:
    """Is what is planted found, and nothing else? Then guessing judges, whose choices are drawn, and the interval's coverage."""
    found = [(kind, score) for seed in range(seeds) for kind, score in zip(world.kinds, world.scores(seed), strict=True)]
    for kind in KINDS:
        scores = [score for own, score in found if own == kind]
        values = [score.value for score in scores if score.value is not None]
        yield {
            "bench": "output",
            "case": kind,
            "scored": len(values) / len(scores),
            "success": float(np.mean(values)) if values else None,
            "above_chance": np.mean([score.interval is not None and score.interval.low > CHANCE for score in scores]),
            "runs": len(scores),
        }
    random = np.random.default_rng(0)
    for nulls in (2, 20):
        guesses = (random.random((1 + nulls, PROMPTS)) < CHANCE for _ in range(runs))
        yield null_line("output", f"guessing judge, {nulls} nulls", guesses, random)
    yield interval_line("output", PROMPTS)
