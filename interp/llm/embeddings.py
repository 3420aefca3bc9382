"""Texts to vectors: `/embeddings` in batches, each text kept by itself."""

import asyncio
import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from interp.domain.errors import AbilityMissingError, GlossatorError
from interp.llm.attempts import AttemptResult, CallCost
from interp.llm.base import Usage
from interp.llm.cache_key import packed_vector, unpacked_vector
from interp.llm.transports.payloads import TEXTS_PER_CALL, TOKENS_PER_MESSAGE, VECTOR_BYTES, json_of, read_vectors, usage_of

if TYPE_CHECKING:
    from interp.llm.client import ClientModel

BYTES_PER_CALL = 200_000
TEMPLATE = "embedding@1"


async def embed(model: "ClientModel", texts: Sequence[str]) -> NDArray[np.float32]:
    """float32 [N, D], rows of unit length. Raises AbilityMissing where vectors of two widths meet: the endpoint's model is not the one of before."""
    keys = {text: model.namer.embedding(text) for text in texts}
    kept = await asyncio.gather(*(model.books.recall(key) for key in keys.values()))
    found = {text: unpacked_vector(stored.raw) for text, stored in zip(keys, kept, strict=True) if stored is not None}
    missing = [text for text in keys if text not in found]
    for vectors in await asyncio.gather(*(_together(model, keys, some) for some in _batches(missing))):
        found |= vectors
    widths = {vector.shape[0] for vector in found.values()}
    if len(widths) > 1:
        raise AbilityMissingError(
            f"The embedding model {model.spec.model!r} gave vectors of {' and '.join(map(str, sorted(widths)))} numbers.",
            why="Vectors of two widths cannot be compared: the endpoint serves another model under the same name.",
            cure="Give the model that made the first ones, or one of another name.",
        )
    return np.stack([found[text] for text in texts]) if texts else np.zeros((0, 0), np.float32)


async def _together(model: "ClientModel", keys: dict[str, str], texts: list[str]) -> dict[str, NDArray[np.float32]]:
    name = hashlib.sha256("".join(keys[text] for text in texts).encode()).hexdigest()
    vectors, _ = await model.client.once(name, lambda: _asked(model, keys, texts))
    return vectors


async def _asked(model: "ClientModel", keys: dict[str, str], texts: list[str]) -> dict[str, NDArray[np.float32]]:
    sizes = [len(text.encode("utf-8", "replace")) + TOKENS_PER_MESSAGE for text in texts]
    bound, bill = Usage(sum(sizes), 0, is_known=False), CallCost(model.rates)
    body = json.dumps({"model": model.spec.model, "input": texts} | model.spec.extra)

    async def send() -> AttemptResult[list[NDArray[np.float32]]]:
        sent = await model.lane.endpoint.post("/embeddings", body.encode(), model.spec.timeout_seconds, len(texts) * VECTOR_BYTES)
        reply = json_of(sent.body, sent.headers)
        return AttemptResult(read_vectors(reply, len(texts)), usage_of(reply, bound), sent.headers)

    try:
        vectors = await model.lane.carry(send, bound, model.books, bill, path="embeddings")
    except GlossatorError as error:
        if bill.attempts:
            model.record(keys[texts[0]], TEMPLATE, bill, "failed", body, None, error)
        raise
    for text, vector, part in zip(texts, vectors, _shares(bill, sizes), strict=True):
        model.record(keys[text], TEMPLATE, part, "answered", json.dumps({"input": text}), packed_vector(vector))
    return dict(zip(texts, vectors, strict=True))


def _shares(bill: CallCost, sizes: list[int]) -> list[CallCost]:
    """The bill of one call, split over its texts by size; the shares add up to it."""
    shares, given, passed = [], 0, 0
    for place, size in enumerate(sizes):
        passed += size
        upto = bill.usage.prompt_tokens * passed // sum(sizes)
        usage = Usage(upto - given, 0, bill.usage.is_known)
        shares.append(CallCost(bill.rates, bill.attempts if place == 0 else 0, usage, bill.seconds if place == 0 else 0.0))
        given = upto
    return shares


def _batches(texts: list[str]) -> list[list[str]]:
    batches: list[list[str]] = []
    size = 0
    for text in texts:
        if not batches or len(batches[-1]) == TEXTS_PER_CALL or size + len(text) > BYTES_PER_CALL:
            batches.append([])
            size = 0
        batches[-1].append(text)
        size += len(text)
    return batches
