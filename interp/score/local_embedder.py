"""Provide the installed sentence encoder as an embedding model, for jobs that name none."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from interp.domain.errors import AbilityMissingError
from interp.domain.spec import JobSpec
from interp.llm.base import Ability, Prompt, Reply, TokenChoice
from interp.search import embedder

ONLY_EMBEDS = "The installed embedder gives vectors alone."


@dataclass(frozen=True, slots=True)
class LocalEmbedder:
    """The embedder of `interp.search.embedder`: no endpoint, no calls, no price."""

    @property
    def name(self) -> str:
        return embedder.identity().model

    @property
    def provenance(self) -> dict[str, Any]:
        """Return model, package, version, and digest of the weights."""
        return asdict(embedder.identity())

    @property
    def abilities(self) -> frozenset[Ability]:
        return frozenset({Ability.EMBEDDINGS})

    def for_purpose(self, purpose: str) -> "LocalEmbedder":  # noqa: ARG002 - it makes no calls that could be counted
        return self

    async def ask(self, prompt: Prompt) -> Reply:  # noqa: ARG002
        raise AbilityMissingError(ONLY_EMBEDS)

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return vectors, made beside the event loop, which sends the calls of others."""
        return await asyncio.to_thread(embedder.embed, texts)

    async def read(self, text: str) -> tuple[TokenChoice, ...]:  # noqa: ARG002
        raise AbilityMissingError(ONLY_EMBEDS)


def is_local(job: JobSpec) -> bool:
    """Return whether the job's scorers embed by the installed embedder."""
    return job.models.embedding is None and embedder.is_installed()
