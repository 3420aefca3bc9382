"""Record the keys of a model's calls for a score's provenance."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from interp.domain.errors import CallFailedError
from interp.llm.base import Ability, Model, Prompt, Reply, TokenChoice


@dataclass(frozen=True, slots=True)
class RecordingModel:
    """A model that records the keys of its calls.

    `calls` holds them by purpose: under `purpose`, or `purpose/part` for a model made `for_purpose(part)`.
    """

    model: Model
    purpose: str
    calls: dict[str, list[str]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def provenance(self) -> dict[str, Any]:
        return self.model.provenance

    @property
    def abilities(self) -> frozenset[Ability]:
        return self.model.abilities

    def for_purpose(self, purpose: str) -> "RecordingModel":
        return RecordingModel(self.model.for_purpose(purpose), f"{self.purpose}/{purpose}", self.calls)

    def with_model(self, model: Model, part: str) -> "RecordingModel":
        """Return another model (a second judge) that records into the same `calls`."""
        return RecordingModel(model.for_purpose(part), f"{self.purpose}/{part}", self.calls)

    async def ask(self, prompt: Prompt) -> Reply:
        try:
            reply = await self.model.ask(prompt)
        except CallFailedError as error:
            self._record(error.details.get("calls", ()))
            raise
        self._record([reply.key])
        return reply

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return await self.model.embed(texts)

    async def read(self, text: str) -> tuple[TokenChoice, ...]:
        return await self.model.read(text)

    def recorded(self) -> dict[str, list[str]]:
        """Return the distinct keys by purpose, sorted since calls return in no order."""
        return {purpose: sorted(set(keys)) for purpose, keys in sorted(self.calls.items())}

    def _record(self, keys: Sequence[str]) -> None:
        self.calls.setdefault(self.purpose, []).extend(keys)
