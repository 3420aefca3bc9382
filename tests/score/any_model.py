"""A model for every scorer: it answers each kind of question, embeds and reads, and keeps all that it was ever shown."""

import json
import re
from dataclasses import dataclass, field, replace

import numpy as np

from interp.judge.writing import KINDS
from interp.llm.base import Ability, TokenChoice
from interp.score.base import FeatureEffect, ProbedTexts
from tests.score.fake_model import Asked, FakeModel, reply


def said(asked: Asked) -> str:
    """Yes to a text with a cat; in words, levels, groups or numbers, as the question wants it."""
    cats = {name: " cat" in text for name, text in asked.texts.items()}
    if asked.kind in ("detect", "fuzz"):
        return json.dumps({name: "yes" if holds else "no" for name, holds in cats.items()})
    if asked.kind == "select":
        return json.dumps({"fires": [int(name) for name, holds in cats.items() if holds]})
    if asked.kind == "simulate":
        lines = {name: [line.partition("\t") for line in text.split("\n")] for name, text in asked.texts.items()}
        if "lines" in asked.prompt.template or asked.prompt.schema is None:
            return "\n".join(f"{number}\t{9 if 'cat' in token else 0}" for number, _, token in next(iter(lines.values())))
        return json.dumps({name: [[int(number), 9] for number, _, token in rows if "cat" in token] for name, rows in lines.items()})
    if asked.kind == "write":
        return json.dumps({kind: [f"{kind} {letter}" for letter in "abcdefghij"] for kind in KINDS})
    if asked.kind == "output":
        return json.dumps({"shift": 1})
    return json.dumps({"group": 1} if asked.kind == "discriminate" else {"intruder": 1})


@dataclass(frozen=True)
class AnyModel(FakeModel):
    abilities: frozenset[Ability] = frozenset({Ability.EMBEDDINGS, Ability.PROMPT_LOGPROBS})
    shown: list[str] = field(default_factory=list)

    def for_purpose(self, purpose):
        return replace(self, purpose=f"{self.purpose}/{purpose}")

    async def ask(self, prompt):
        self.shown.append("\n".join(message.content for message in prompt.messages))
        return await super().ask(prompt)

    async def embed(self, texts):
        self.shown.extend(texts)
        vectors = np.array([[1.0, 3.0 * ("cat" in text)] for text in texts], dtype=np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    async def read(self, text):
        self.shown.append(text)
        return tuple(TokenChoice(word.group(), -1.0 if "cat" in word.group() else -3.0) for word in list(re.finditer(r"\s*\S+|\s+$", text))[1:])


def any_model() -> AnyModel:
    return AnyModel(lambda asked: reply(said(asked), key=asked.prompt.digest))


async def scored(scorer, item, context):
    """Texts that the scorer has written are read first: the feature fires in those that should make it."""
    if scorer.writes:
        written = await scorer.write(item, context)
        firing, silent = (2.0,) * len(written.fires), (0.0,) * len(written.near)
        readings = [{"kind": kind, "tokens": [text], "activations": [1.0]} for kind in ("fires", "near") for text in getattr(written, kind)]
        others = {null.feature: silent for null in item.nulls}
        item = replace(item, probed=ProbedTexts(1.0, 0.0, firing, silent, others, silent, tuple(readings), written.failure, written.calls))
    elif scorer.probes:
        shifts = tuple(((f" up{prompt}",), (f" down{prompt}",)) for prompt in range(12))
        item = replace(item, effects=tuple(FeatureEffect(feature, 1.0, 0.5, shifts) for feature in (item.feature, 50, 51, 52)))
    return await scorer.score(item, context)
