"""The batch transport: questions handed in as files and answered within a day, at half the price (OpenAI Batch API)."""

from typing import Literal

from interp.llm.call_store import CallStore
from interp.llm.transports.base import ChatRequest, TransportReply
from interp.llm.transports.batch_file import MOST_LINES
from interp.llm.transports.batch_queue import BatchCollector, Manner
from interp.llm.transports.openai_sdk import Endpoint
from interp.llm.transports.quirks import EndpointQuirks

QUIET_SECONDS = 1.0
PATIENCE_SECONDS = 120.0


class BatchTransport:
    """`Transport` over files. Used from one event loop; a desk for each chunk's books and model."""

    name: Literal["batch"] = "batch"

    def __init__(
        self,
        endpoint: Endpoint,
        dialect: EndpointQuirks,
        poll_seconds: float = 30.0,
        quiet_seconds: float | None = None,
        patience_seconds: float = PATIENCE_SECONDS,
        most_lines: int = MOST_LINES,
    ) -> None:
        self.endpoint, self.dialect = endpoint, dialect
        quiet = min(QUIET_SECONDS, poll_seconds) if quiet_seconds is None else quiet_seconds
        self._manner = Manner(poll_seconds, quiet, patience_seconds, most_lines)
        self._desks: dict[tuple[int, str], BatchCollector] = {}

    async def chat(self, request: ChatRequest, books: CallStore) -> TransportReply:
        """The answer, once its batch has landed. Raises Fault; AbilityMissing where the endpoint has no batches; JobMustPause where somebody
        cancelled the batch there."""
        name = (id(books), request.spec.model)
        desk = self._desks.get(name)
        if desk is None:
            desk = self._desks[name] = BatchCollector(self.endpoint, self.dialect, self._manner, books, request.spec.model, self._release)
        desk.visitors += 1
        try:
            await desk.open()
            return await desk.take(request)
        finally:
            desk.visitors -= 1
            self._release(desk)

    def _release(self, desk: BatchCollector) -> None:
        """Forgets a desk that nobody needs: it holds its chunk's books."""
        if not desk.visitors and not desk.is_busy:
            self._desks = {name: other for name, other in self._desks.items() if other is not desk}

    async def close(self) -> None:
        """Leaves every batch as it is: the books know them."""
        desks = list(self._desks.values())
        self._desks.clear()
        for desk in desks:
            await desk.close()
