"""Reader of SAEDashboard's `batch-N.json`, which Neuronpedia imports and our export `saedashboard` writes.

A batch has the strongest windows of its features and some of each interval, so they give contexts, the largest activation and the tokens of the
decoder's logits, but no counts: `feature_records` says what that means. Each window is a document of its own. A batch names no hook point but the
layer. SAEDashboard writes the pieces of byte-level tokenizers with blanks and dashes as themselves and other bytes as letters: `âĢĻ` is `’`.
"""

import codecs
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from interp.corpus.feature_records import (
    LIMITS,
    NO_LAYER,
    SPECIAL,
    Activation,
    Component,
    FeatureRecords,
    Pair,
    RecordedDictionary,
    Text,
    Token,
    evidence_of,
)
from interp.domain.digests import digest_of
from interp.domain.errors import FileMissingError, InputError
from interp.domain.evidence import TokenEffect
from interp.domain.vocabulary import Vocabulary
from interp.security.bounded_json import read_json
from interp.security.foreign_config import Foreign, Index, Name, typed
from interp.subject.text.tokenizer import byte_alphabet

BATCHES = "batch-*.json"
MOST_TOKENS, MOST_EFFECTS = 20_000_000, 20
CURE = "Correct it, or take it out of the folder."

Effects = Annotated[list[Token], Field(max_length=1000)]
Logits = Annotated[list[float], Field(max_length=1000)]


class ShownWindow(Foreign):
    """Tokens of a window, and the feature's activations at them."""

    tokens: Text
    values: Annotated[list[Activation], Field(max_length=8192)]


class BatchFeature(Foreign):
    """Windows of a feature, and the tokens that its decoder direction promotes and suppresses most."""

    feature_index: Index
    activations: Annotated[list[ShownWindow], Field(max_length=10_000)]
    pos_str: Effects = Field(default_factory=list)
    pos_values: Logits = Field(default_factory=list)
    neg_str: Effects = Field(default_factory=list)
    neg_values: Logits = Field(default_factory=list)


class Batch(Foreign):
    """Features of one dictionary, which model, layer and set name."""

    model_id: Annotated[Name, Field(min_length=1)]
    layer: Annotated[int, Field(ge=0, lt=10_000)] | Name
    sae_set: Annotated[Name, Field(min_length=1)]
    sae_id_suffix: Name | None = None
    features: Annotated[list[BatchFeature], Field(max_length=100_000)]

    @property
    def component(self) -> Component:
        """Return set and layer; a layer that is a text begins the set's name."""
        name = self.sae_set if self.sae_id_suffix is None else f"{self.sae_set}__{self.sae_id_suffix}"
        if isinstance(self.layer, int):
            return name, self.layer
        return (name if self.layer in ("", name) else f"{self.layer}-{name}"), NO_LAYER


@dataclass(frozen=True, slots=True)
class Tokens:
    """Distinct token texts, numbered in their order."""

    ids: dict[str, int]
    vocabulary: Vocabulary

    def effects(self, texts: Sequence[str], logits: Sequence[float]) -> tuple[TokenEffect, ...]:
        return tuple(TokenEffect(self.ids[text], logit) for text, logit in zip(texts[:MOST_EFFECTS], logits, strict=False))


def read(folder: Path) -> FeatureRecords:
    """Read a folder of batches; raises FileMissingError, PathRefusedError and InputError."""
    batches = list(_batches(folder))
    if not batches:
        raise FileMissingError(f"{folder} holds no batches of SAEDashboard.", cure=f"It needs {BATCHES}: see docs/exports.md.")
    models = sorted({batch.model_id for batch in batches})
    if len(models) > 1:
        raise InputError(f"{folder} holds batches of several models, such as {models[0]} and {models[1]}.", cure="Give each model a folder.")
    tokens = _tokens(batches)
    features: dict[Component, dict[int, list[BatchFeature]]] = defaultdict(lambda: defaultdict(list))
    for batch in batches:
        for feature in batch.features:
            features[batch.component][feature.feature_index].append(feature)
    found = []
    for component, numbered in sorted(features.items()):
        evidence = tuple(
            evidence_of(
                number,
                [(window.tokens, window.values) for part in parts for window in part.activations],
                tokens.ids,
                tokens.effects(parts[0].pos_str, parts[0].pos_values),
                tokens.effects(parts[0].neg_str, parts[0].neg_values),
            )
            for number, parts in sorted(numbered.items())
        )
        found.append(RecordedDictionary(component, "", max(numbered) + 1, evidence, ()))
    digest = digest_of([batch.model_dump(mode="json") for batch in batches])
    return FeatureRecords(tokens.vocabulary, tuple(found), digest, 0, models[0])


def _batches(folder: Path) -> Iterator[Batch]:
    total = 0
    for file in sorted(folder.glob(BATCHES)):
        batch = typed(Batch, read_json(file, InputError, LIMITS), file, InputError, CURE)
        for feature in batch.features:
            for tokens, values in _pairs(feature):
                if len(tokens) != len(values):
                    numbers = f"{len(tokens)} tokens and {len(values)} values"
                    raise InputError(f"{file}: a window of feature {feature.feature_index} has {numbers}.", cure=CURE)
                total += len(tokens)
        if total > MOST_TOKENS:
            raise InputError(f"{folder} holds more than {MOST_TOKENS:,} tokens.", cure="Import fewer batches.")
        yield batch


def _pairs(feature: BatchFeature) -> Iterator[Pair]:
    return ((window.tokens, window.values) for window in feature.activations)


def _tokens(batches: Sequence[Batch]) -> Tokens:
    """Number all texts of tokens, and decide whether they are bytes written as letters."""
    windows = [tokens for batch in batches for feature in batch.features for tokens, _ in _pairs(feature)]
    texts = {text for tokens in windows for text in tokens}
    for batch in batches:
        for feature in batch.features:
            texts.update(feature.pos_str[:MOST_EFFECTS], feature.neg_str[:MOST_EFFECTS])
    as_bytes = {text: piece_bytes(text) for text in texts}
    whole = [_joined(tokens, as_bytes) for tokens in windows]
    # A Latin letter before the window's end reads as a cut character: one whole character that no piece has says that letters are bytes.
    made = [set(text or "").difference("".join(tokens)) for text, tokens in zip(whole, windows, strict=True)]
    is_bytes = None not in whole and not all("".join(signs).isascii() for signs in made)
    ids = {text: number for number, text in enumerate(sorted(texts))}
    found = tuple(as_bytes[text] if is_bytes else text.encode() for text in ids)
    return Tokens(ids, Vocabulary(found, frozenset({ids[SPECIAL]} if SPECIAL in ids else ())))


def piece_bytes(text: str) -> bytes:
    """Return the bytes of a byte-level piece.

    Characters that are no letter of a byte stand for themselves.
    """
    alphabet = byte_alphabet()
    return b"".join(bytes([alphabet[sign]]) if not sign.isascii() and sign in alphabet else sign.encode() for sign in text)


def _joined(tokens: Sequence[str], as_bytes: dict[str, bytes]) -> str | None:
    """Return the text of pieces, or None where they are no UTF-8.

    Characters that a window's ends cut are left out.
    """
    joined = b"".join(as_bytes[token] for token in tokens)
    begin = next((place for place, byte in enumerate(joined[:4]) if byte & 0xC0 != 0x80), 0)
    try:
        return codecs.utf_8_decode(joined[begin:], "strict", False)[0]
    except UnicodeDecodeError:
        return None
