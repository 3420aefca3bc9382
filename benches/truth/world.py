"""A dictionary whose features have known meanings, over real text, collected like any other.

The subject is a GPT-2 of one block with weights set by hand: an embedding is a code of the token beside a code of the position, and one attention
head copies the code of the token before. The dictionary, in SAELens' form, reads single tokens, pairs of tokens, a token after another, positions,
many frequent tokens, and a random direction. Where a feature fires follows from the token ids alone, so the truth needs no activation.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from transformers import GPT2Config, GPT2LMHeadModel

from benches.truth.corpus import definitions
from interp.collect.finish import finish
from interp.collect.layout import Layout, layout_of
from interp.collect.run import collect
from interp.corpus.tokenized import TokenizedCorpus, tokenize_corpus
from interp.dictionary.module import open_dictionary
from interp.domain.evidence import Contexts, FeatureEvidence, Split
from interp.domain.explanation import Explanation
from interp.domain.spec import CollectionSpec, DictionarySpec, SplitCounts, SubjectSpec
from interp.domain.vocabulary import Vocabulary
from interp.explain.pattern.literals import OneOf
from interp.explain.pattern.rule import Clause, Rule
from interp.files.artifact_store import Store
from interp.llm.prompt_text import pieces, shown
from interp.subject.base import Subject, open_subject

EXAMPLE = Path(__file__).parents[2] / "examples" / "pystdlib"
HOOK_POINT = "blocks.0.hook_resid_post"
ROW, WINDOW = 64, 32
CODE = 128
WIDTH = 2 * CODE + ROW
SHARPNESS = 10.0
# Windows of the test split in which a feature must fire at least, and share of them at most.
FEWEST, MOST = 120, 0.25
# Many test windows, so that scorers with several seeds see different samples of them.
EXPLAIN = SplitCounts(top=5, uniform=15, weighted=10, inactive=10, near_miss=5)
TEST = SplitCounts(top=5, uniform=150, weighted=50, inactive=300, near_miss=40)

SPEC = CollectionSpec(row_tokens=ROW, window=WINDOW, explain=EXPLAIN, test=TEST, output_tokens=3, batch_tokens=4096)


@dataclass(frozen=True)
class Meaning:
    """Fires at `tokens`, right after one of `before` where these are given, at `places` of a row (start, stop) where these are."""

    kind: str
    label: str
    tokens: tuple[int, ...]
    before: tuple[int, ...] = ()
    places: tuple[int, int] | None = None

    @property
    def rule(self) -> Rule | None:
        """What the executable judge can run; a place has none."""
        if self.places is not None or not self.tokens:
            return None
        literals = [OneOf("token", 0, self.tokens)] + ([OneOf("token", -1, self.before)] if self.before else [])
        return Rule((Clause(tuple(literals), 1.0),))

    def explanation(self, feature: int) -> Explanation:
        return Explanation(feature, "planted", self.label, rule=None if self.rule is None else self.rule.to_json())


@dataclass(frozen=True)
class World:
    """F features with their meanings and evidence, and all W windows of the corpus.

    ids, previous  int64 [W, WINDOW]; -1 beyond the end and before a row's first token
    places         int64 [W, WINDOW]  place in the row
    """

    vocabulary: Vocabulary
    meanings: tuple[Meaning, ...]
    evidence: tuple[FeatureEvidence, ...]
    ids: np.ndarray
    previous: np.ndarray
    places: np.ndarray
    splits: np.ndarray
    documents: np.ndarray
    starts: np.ndarray
    texts: tuple[str, ...]
    known: dict[str, np.ndarray] = field(default_factory=dict)
    folder: Path = Path()

    def fires(self, meaning: Meaning) -> np.ndarray:
        """bool [W, WINDOW], from token ids alone."""
        if meaning.label not in self.known:
            self.known[meaning.label] = fires(meaning, self.ids, self.previous, self.places)
        return self.known[meaning.label]

    @cached_property
    def rows(self) -> dict[str, int]:
        """A window by its text; of windows with the same text, the first."""
        return {text: row for row, text in reversed(list(enumerate(self.texts)))}

    def spans(self, meaning: Meaning, text: str) -> list[tuple[int, int, float]]:
        """Where in a text it fires that is a window, or ends in one after its left context; nothing of another text."""
        start, row = next(((start, self.rows[text[start:]]) for start in range(len(text)) if text[start:] in self.rows), (0, None))
        if row is None:
            return []
        columns = np.flatnonzero(self.fires(meaning)[row])
        if not len(columns):
            return []
        strings = [shown(string) for string in pieces(self.contexts, row, self.vocabulary)]
        ends = start + np.cumsum([len(string) for string in strings])
        return [(int(ends[column]) - len(strings[column]), int(ends[column]), 10.0) for column in columns if strings[column]]

    @cached_property
    def contexts(self) -> Contexts:
        """All windows as contexts of a feature that fires nowhere."""
        count = len(self.ids)
        return Contexts(
            tokens=np.maximum(self.ids, 0).astype(np.uint32),
            activations=np.zeros(self.ids.shape, dtype=np.float16),
            lengths=(self.ids >= 0).sum(axis=1).astype(np.uint16),
            kinds=np.zeros(count, dtype=np.uint8),
            splits=self.splits.astype(np.uint8),
            documents=self.documents,
            starts=self.starts,
            positions=self.places[:, 0].astype(np.uint16),
        )

    def test_windows(self) -> np.ndarray:
        return np.flatnonzero(self.splits == Split.TEST)


def fires(meaning: Meaning, ids: np.ndarray, previous: np.ndarray, places: np.ndarray) -> np.ndarray:
    found = (ids > 0) & (np.isin(ids, meaning.tokens) if meaning.tokens else True)
    if meaning.before:
        found &= np.isin(previous, meaning.before)
    if meaning.places is not None:
        found &= (places >= meaning.places[0]) & (places < meaning.places[1])
    return found


def build(folder: Path, max_tokens: int = 400_000, pairs: int = 30, seed: int = 0) -> World:
    """The planted dictionary over the standard library's sources. The same for the same Python; files are written under the folder."""
    codes = _codes(len(json.loads((EXAMPLE / "subject" / "tokenizer.json").read_text())["model"]["vocab"]) + 1)
    _write_subject(folder / "subject", codes)
    subject = open_subject(SubjectSpec(model=str(folder / "subject"), device="cpu", backend="huggingface"), HOOK_POINT)
    corpus = tokenize_corpus(definitions(folder, max_tokens), subject, Store.in_folder(folder), lambda _tokens: None)
    layout = layout_of(corpus, subject.bos, SPEC)
    windows = _windows(layout, corpus, subject.vocabulary)
    meanings = _meanings(windows, subject.vocabulary, codes, pairs)
    _write_dictionary(folder / "dictionary", meanings, codes)
    dictionary = open_dictionary(DictionarySpec(source=str(folder / "dictionary"), name="planted@0-res"))
    features = np.arange(len(meanings), dtype=np.int64)
    part = collect(subject, dictionary, corpus, (0, len(corpus)), SPEC, seed, features, lambda _tokens: None)
    evidence = tuple(finish(part, subject, dictionary, corpus, SPEC))
    return World(meanings=tuple(meanings), evidence=evidence, folder=folder, **windows)


def _codes(size: int) -> np.ndarray:
    """float32 [V, CODE]: a random code a token, of length 1 and sum 0, so that a layer norm changes nothing but the scale."""
    codes = np.random.default_rng(0).standard_normal((size, CODE)).astype(np.float32)
    codes -= codes.mean(axis=1, keepdims=True)
    return codes / np.linalg.norm(codes, axis=1, keepdims=True)


def _write_subject(folder: Path, codes: np.ndarray) -> None:
    """Axes: token, token before, place. The head attends from each place to the one before, and copies the token's code to the second part."""
    size = json.loads((EXAMPLE / "subject" / "config.json").read_text())["vocab_size"]
    config = GPT2Config(
        vocab_size=size, n_positions=ROW, n_embd=WIDTH, n_layer=1, n_head=1, n_inner=8, bos_token_id=0, eos_token_id=0, tie_word_embeddings=False
    )
    model = GPT2LMHeadModel(config)
    weights = {name: torch.zeros_like(parameter) for name, parameter in model.named_parameters()}
    token, before, place = slice(0, CODE), slice(CODE, 2 * CODE), slice(2 * CODE, WIDTH)
    eye = torch.eye(ROW)
    # Token and place have length 1 each: that is what the layer norm divides by.
    scale = float(np.sqrt(2 / WIDTH - (1 / WIDTH) ** 2))
    weights["transformer.wte.weight"][:, token] = torch.from_numpy(codes[:size])
    weights["transformer.wpe.weight"][:, place] = eye
    for name in ("transformer.h.0.ln_1.weight", "transformer.h.0.ln_2.weight", "transformer.ln_f.weight"):
        weights[name] += 1
    mixing = weights["transformer.h.0.attn.c_attn.weight"]
    mixing[place, 0:ROW] = torch.roll(eye, -1, dims=1) * SHARPNESS
    mixing[place, WIDTH : WIDTH + ROW] = eye
    mixing[token, 2 * WIDTH : 2 * WIDTH + CODE] = torch.eye(CODE) * scale
    weights["transformer.h.0.attn.c_proj.weight"][0:CODE, before] = torch.eye(CODE)
    model.load_state_dict(weights, strict=False)
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(EXAMPLE / "subject" / name, folder / name)


def _windows(layout: Layout, corpus: TokenizedCorpus, vocabulary: Vocabulary) -> dict[str, object]:
    places = layout.locate(np.arange(layout.first_windows[-1]))
    columns = np.arange(WINDOW)[None, :]
    ids = np.where(columns < places.lengths[:, None], layout.tokens(corpus.tokens, places).astype(np.int64), -1)
    previous = np.full_like(ids, -1)
    previous[:, 1:] = ids[:, :-1]
    inner = np.flatnonzero(places.positions > 0)
    previous[inner, 0] = ids[inner - 1, -1]
    arrays = {
        "ids": ids,
        "previous": previous,
        "places": places.positions[:, None] + columns,
        "splits": np.asarray(corpus.splits)[places.documents],
        "documents": np.asarray(corpus.documents)[places.documents],
        "starts": places.starts.astype(np.uint32),
    }
    bare = World(vocabulary=vocabulary, meanings=(), evidence=(), texts=(), **arrays)
    texts = tuple(shown("".join(pieces(bare.contexts, row, vocabulary))) for row in range(len(ids)))
    return {"vocabulary": vocabulary, "texts": texts, **arrays}


def _meanings(windows: dict[str, object], vocabulary: Vocabulary, codes: np.ndarray, pairs: int) -> list[Meaning]:
    """Single tokens, unions of two, tokens after a token, no token twice; then places, dense ones and random directions."""
    ids, test = np.asarray(windows["ids"]), np.asarray(windows["splits"]) == Split.TEST
    often = np.array(_window_counts(ids[test], len(vocabulary)))
    usable = [token for token in np.argsort(-often) if FEWEST <= often[token] <= MOST * test.sum() and vocabulary.wholes[token]]
    usable = [int(token) for token in usable if vocabulary.text(int(token)).strip()]
    found, free = [], set(usable)
    for first, second in _bigrams(np.asarray(windows["previous"])[test], ids[test], often, free)[: max(1, pairs // 2)]:
        found.append(Meaning("conditional", f"{_named(vocabulary, second)} right after {_named(vocabulary, first)}", (second,), (first,)))
        free -= {first, second}
    left = [token for token in usable if token in free]
    couples = list(zip(left[::2], left[1::2], strict=False))
    for number, (first, second) in enumerate(couples[: 3 * pairs]):
        if number % 3 == 2:
            found.append(Meaning("union", f"{_named(vocabulary, first)} or {_named(vocabulary, second)}", (first, second)))
        else:
            found += [Meaning("token", f"the token {_named(vocabulary, token)}", (token,)) for token in (first, second)]
    frequent = [int(token) for token in np.argsort(-often)[:3]]
    found.append(Meaning("dense", "the three most frequent tokens", tuple(frequent)))
    found.append(Meaning("position", "one of the first four tokens of a row", (), places=(1, 5)))
    found += [_random(codes[: len(vocabulary)], number) for number in range(2)]
    return found


def _window_counts(ids: np.ndarray, size: int) -> np.ndarray:
    """int64 [V]: windows that hold each token."""
    pairs = np.unique(np.stack([np.repeat(np.arange(len(ids)), ids.shape[1]), ids.ravel()]), axis=1)
    return np.bincount(pairs[1][pairs[1] > 0], minlength=size)


def _bigrams(previous: np.ndarray, ids: np.ndarray, often: np.ndarray, free: set[int]) -> list[tuple[int, int]]:
    """(before, token) pairs that are frequent, while the token stands elsewhere as often; no token in two of them."""
    pairs, counts = np.unique(np.stack([previous.ravel(), ids.ravel()], axis=1), axis=0, return_counts=True)
    used: set[int] = set()
    chosen = []
    for place in np.argsort(-counts):
        first, second = (int(token) for token in pairs[place])
        if counts[place] < FEWEST or first == second or not {first, second} <= free - used or often[second] < 1.5 * counts[place]:
            continue
        chosen.append((first, second))
        used |= {first, second}
    return chosen


def _named(vocabulary: Vocabulary, token: int) -> str:
    return json.dumps(vocabulary.text(token), ensure_ascii=False)


def _random(codes: np.ndarray, number: int) -> Meaning:
    """Tokens that a random direction of the codes reaches: what has nothing in common but the direction."""
    reached = np.argsort(-(codes @ _direction(number)))[:40]
    return Meaning("random", f"the random direction {number}", tuple(int(token) for token in reached))


def _direction(number: int) -> np.ndarray:
    direction = np.random.default_rng(100 + number).standard_normal(CODE).astype(np.float32)
    return direction / np.linalg.norm(direction)


def _write_dictionary(folder: Path, meanings: Sequence[Meaning], codes: np.ndarray) -> None:
    """JumpReLU with a threshold in the middle between what should fire and what should not. Raises ValueError where there is no middle."""
    encoder, threshold = np.zeros((WIDTH, len(meanings)), dtype=np.float32), np.zeros(len(meanings), dtype=np.float32)
    randoms = 0
    for number, meaning in enumerate(meanings):
        column = encoder[:, number]
        if meaning.kind == "random":
            column[:CODE] = _direction(randoms)
            randoms += 1
        elif meaning.places is not None:
            column[2 * CODE + meaning.places[0] : 2 * CODE + meaning.places[1]] = 1
        else:
            column[:CODE] = np.linalg.pinv(codes[list(meaning.tokens)]) @ np.ones(len(meaning.tokens), dtype=np.float32)
        values = codes @ column[:CODE] if meaning.tokens else np.array([0.0, 1.0])
        wanted = np.isin(np.arange(len(values)), meaning.tokens) if meaning.tokens else np.array([False, True])
        lowest, highest = values[wanted].min(), values[~wanted].max()
        if meaning.before:
            column[CODE : 2 * CODE] = np.linalg.pinv(codes[list(meaning.before)]) @ np.ones(len(meaning.before), dtype=np.float32)
            near = np.delete(codes @ column[CODE : 2 * CODE], list(meaning.before)).max()
            lowest, highest = lowest + 1, max(lowest + near, highest + 1)
        if lowest <= highest:
            raise ValueError(f"{meaning.label} cannot be told from other tokens by its code")
        threshold[number] = (lowest + highest) / 2
    decoder = encoder.T.copy()
    # Tokens of like frequency stand next to each other, and are each other's neighbours in the dictionary: near misses of one hold the other.
    singles = [number for number, meaning in enumerate(meanings) if meaning.kind == "token"]
    for first, second in zip(singles[::2], singles[1::2], strict=False):
        decoder[first], decoder[second] = encoder.T[first] + 0.6 * encoder.T[second], encoder.T[second] + 0.6 * encoder.T[first]
    decoder /= np.linalg.norm(decoder, axis=1, keepdims=True)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {"W_enc": encoder, "b_enc": np.zeros(len(meanings), dtype=np.float32), "threshold": threshold}
    save_file(tensors | {"W_dec": decoder, "b_dec": np.zeros(WIDTH, dtype=np.float32)}, folder / "sae_weights.safetensors")
    config = {"architecture": "jumprelu", "d_in": WIDTH, "d_sae": len(meanings), "dtype": "float32", "apply_b_dec_to_input": False}
    metadata = {"hook_name": HOOK_POINT, "model_name": "planted", "hook_head_index": None}
    (folder / "cfg.json").write_text(json.dumps(config | {"normalize_activations": "none", "metadata": metadata}))


def subject_of(folder: Path) -> Subject:
    """The planted subject again, from the folder that `build` wrote."""
    return open_subject(SubjectSpec(model=str(folder / "subject"), device="cpu", backend="huggingface"), HOOK_POINT)
