"""The language models of a chunk: one client a process, on the process's one event loop."""

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from interp.config.settings import Settings
from interp.domain.errors import InputError
from interp.domain.spec import JobSpec, ModelSpec
from interp.llm.base import Model
from interp.llm.call_store import CallStore, Tag
from interp.store.queue.chunks import Lease
from workers.llm.event_loop import the_loop

if TYPE_CHECKING:
    from interp.llm.client import LlmClient

CLOSE_SECONDS = 5.0

_clients: dict[Settings, "LlmClient"] = {}
_making = threading.Lock()


def client_of(settings: Settings) -> "LlmClient":
    """This process's client for the endpoints of the settings."""
    from interp.llm.client import LlmClient  # the SDK behind it costs half a second and 40 MB, which jobs that ask nobody need not pay

    with _making:
        if settings not in _clients:
            _clients[settings] = LlmClient.of(settings)
        return _clients[settings]


def close_clients() -> None:
    """Ends the process's connections: when it stops, and after a test. No chunk may be in work."""
    with _making:
        for client in _clients.values():
            the_loop().run(client.close()).result(CLOSE_SECONDS)
        _clients.clear()


@dataclass(frozen=True)
class ChunkModels:
    """Who answers for one chunk. Each model is bound to the feature and the purpose that its calls are booked under."""

    client: "LlmClient"
    spec: JobSpec
    books: CallStore
    lease: Lease

    def explainer(self, feature: int, purpose: str) -> Model:
        """Raises InputError where the job names none."""
        return self._needed(self.spec.models.explainer, "explainer", feature, purpose)

    def judge(self, feature: int, purpose: str) -> Model:
        """Raises InputError where the job names none."""
        return self._needed(self.spec.models.judge, "judge", feature, purpose)

    def checker(self, feature: int, purpose: str) -> Model:
        """Who answers an explainer's own checks: the judge, or the explainer's model where there is none."""
        return self._needed(self.spec.models.judge or self.spec.models.explainer, "explainer", feature, purpose)

    def second_judge(self, feature: int, purpose: str) -> Model | None:
        return self._of(self.spec.models.second_judge, feature, purpose)

    def embedder(self, feature: int, purpose: str) -> Model | None:
        return self._of(self.spec.models.embedding, feature, purpose)

    def _needed(self, model: ModelSpec | None, role: str, feature: int, purpose: str) -> Model:
        if model is None:
            raise InputError(
                f"{purpose} asks a language model.", why=f"The job names no models.{role}.", cure="Name one, or leave it out.", role=role
            )
        return self._bound(model, feature, purpose)

    def _of(self, model: ModelSpec | None, feature: int, purpose: str) -> Model | None:
        return None if model is None else self._bound(model, feature, purpose)

    def _bound(self, model: ModelSpec, feature: int, purpose: str) -> Model:
        return self.client.model(model, self.books, Tag(self.lease.job_id, self.lease.chunk_id, self.lease.stage, feature, purpose))
