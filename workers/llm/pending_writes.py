"""One thread that writes a process's finished calls. Nobody waits for it but at a chunk's end, so it compresses and writes many at a time."""

import logging
import threading
import time
from dataclasses import dataclass, field

from sqlalchemy import Engine

from interp.llm.call_store import Call, StoredReply
from interp.store.db.engine import transaction
from interp.store.llm import calls
from interp.store.llm.calls import CallRows, pack_call

log = logging.getLogger(__name__)

# A call is written at the latest after this: what a killed worker may have to ask again beside what was in flight.
WRITE_SECONDS = 0.05
# The rest after an error of the database.
AGAIN_SECONDS = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class Flush:
    """A thread waits until everything that came before is durable; `errors` is what kept it from being so."""

    done: threading.Event = field(default_factory=threading.Event)
    errors: list[BaseException] = field(default_factory=list)

    def wait(self) -> None:
        """Raises the first error."""
        self.done.wait()
        if self.errors:
            raise self.errors[0]


class PendingWrites:
    """`keep` from event loops, `flush` from any other thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        # Held by whoever of this process writes the books: SQLite lets one writer in and the other poll, tens of milliseconds long.
        self.writing = threading.Lock()
        self._changed = threading.Condition()
        self._new: list[Call] = []
        self._flushes: list[Flush] = []
        self._packed: list[CallRows] = []
        # Answers that are not in the database yet, for whoever asks the same meanwhile.
        self._fresh: dict[str, StoredReply] = {}
        threading.Thread(target=self._run, name="keeper", daemon=True).start()

    def keep(self, call: Call) -> None:
        """Keeps the call, and its answer."""
        if call.status == "answered" and call.raw is not None:
            self._fresh.setdefault(call.key, StoredReply(call.key, call.raw, call.usage, call.cost_usd))
        with self._changed:
            self._new.append(call)
            if len(self._new) == 1:
                self._changed.notify()

    def fresh(self, key: str) -> StoredReply | None:
        """An answer that came back and is not in the database yet."""
        return self._fresh.get(key)

    def flush(self) -> None:
        """Waits until every call is durable. Raises what the database raised; what was not written is tried again."""
        flush = Flush()
        with self._changed:
            self._flushes.append(flush)
            self._changed.notify()
        flush.wait()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._new or self._flushes or self._packed)
                self._changed.wait_for(lambda: self._flushes, WRITE_SECONDS)
                new, self._new = self._new, []
                flushes, self._flushes = self._flushes, []
            try:
                self._packed += [pack_call(call) for call in new]
                self._write()
            except BaseException as error:  # the next round is as good as any
                log.warning("calls could not be written, next time again: %s", error)
                for flush in flushes:
                    flush.errors.append(error)
                time.sleep(AGAIN_SECONDS)
            for flush in flushes:
                flush.done.set()

    def _write(self) -> None:
        with self.writing, transaction(self._engine) as session:
            calls.save(session, self._packed)
        written, self._packed = self._packed, []
        for item in written:
            self._fresh.pop(item.call["key"], None)
