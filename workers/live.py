"""Answer live requests in a thread of each gpu worker, beside its chunks.

The database is asked, and no broker: Celery takes no message while a chunk is in work. It is asked often for a while after a request, and seldom
else.
"""

import importlib
import json
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from interp.domain.errors import DiskFullError, GlossatorError, WorkInterruptedError, problem_of
from interp.observability import logs
from interp.observability.import_time import without_collecting
from interp.store.db.engine import SQLAlchemyError, snapshot, transaction
from interp.store.queue import live
from interp.store.queue.live import LiveLease, LiveUnavailableError
from workers.runtime import Runtime
from workers.worker import RevisionCheck

log = logs.get_logger(__name__)

# Pauses between two looks: while somebody tries texts, and else; and for how long after a request somebody does.
OFTEN_SECONDS, SELDOM_SECONDS, TRYING_SECONDS = 0.02, 0.25, 60.0
AWAY_SECONDS = 2.0
# A worker that is killed loses its request after so long.
LEASE_SECONDS, RENEW_SECONDS = 5.0, 1.0
# For so long a request is left to workers that have its models open.
AFFINITY_SECONDS = 0.3
MOST_REPLY_BYTES = 8 << 20
ANSWERS = "workers.tasks.live:answer"


class Answer(Protocol):
    """Answer a request; `opened` is called once the models are open, `between` may raise."""

    def __call__(self, runtime: Runtime, lease: LiveLease, opened: Callable[[], object], between: Callable[[], object]) -> dict[str, Any]: ...


class LiveLane:
    """A thread that answers live requests, one after another."""

    def __init__(self, runtime: Runtime, answer: Answer | None = None) -> None:
        self._runtime, self._answer = runtime, answer
        self._thread = threading.Thread(target=self._run, name="live", daemon=True)
        self._revision = RevisionCheck(runtime.engine, runtime.settings.poll_interval_seconds)
        self._often_until = 0.0

    def start(self) -> None:
        self._thread.start()

    def join(self, seconds: float | None = None) -> None:
        """Wait, after `stop`, until the request in work is handed back."""
        self._thread.join(seconds)

    def run_next(self) -> bool:
        """Answer the next request; return False where none waits."""
        engine, models = self._runtime.engine, self._runtime.info.loaded_models
        with snapshot(engine) as session:
            if not live.waits(session, models, AFFINITY_SECONDS):
                return False
        with transaction(engine) as session:
            lease = live.claim(session, LEASE_SECONDS, models, AFFINITY_SECONDS)
        if lease is None:
            return False
        with logs.bound(live=lease.id, attempt=lease.attempt):
            self._run_one(lease)
        return True

    def _run(self) -> None:
        pause = SELDOM_SECONDS
        while not self._runtime.stopping.wait(pause):
            try:
                if self._revision.fits() and self.run_next():
                    self._often_until = time.monotonic() + TRYING_SECONDS
            except (SQLAlchemyError, DiskFullError) as error:
                log.warning("live requests cannot be answered just now", why=str(error))
                pause = AWAY_SECONDS
                continue
            except Exception:  # a lane that had ended would answer nothing, in a worker that looks well
                log.exception("the live lane met an unexpected error, it tries again later")
                pause = AWAY_SECONDS
                continue
            pause = OFTEN_SECONDS if time.monotonic() < self._often_until else SELDOM_SECONDS

    def _run_one(self, lease: LiveLease) -> None:
        runtime, began = self._runtime, time.monotonic()
        watch = _Watch(runtime, lease)
        try:
            with watch.renewing(), runtime.turns.live():
                reply = self._answering()(runtime, lease, watch.opened, watch.between)
            self._write(live.finish, lease, _bounded(reply | {"seconds": round(time.monotonic() - began, 4)}))
        except WorkInterruptedError as error:
            log.info("live request ends", why=str(error))
            if runtime.stopping.is_set():
                with transaction(runtime.engine) as session:
                    live.hand_back(session, lease)
            return
        except GlossatorError as error:
            self._write(live.fail, lease, problem_of(error))
        except SQLAlchemyError:
            raise
        except Exception as error:  # whatever it is, the client is told and the lane goes on
            log.exception("live request failed", traceback=traceback.format_exc())
            self._write(live.fail, lease, problem_of(GlossatorError("The worker met an unexpected error.", why=type(error).__name__)))
        log.debug("live request done", seconds=round(time.monotonic() - began, 3))

    def _answering(self) -> Answer:
        if self._answer is None:
            module, _, name = ANSWERS.partition(":")
            with without_collecting():
                self._answer = getattr(importlib.import_module(module), name)
        assert self._answer is not None
        return self._answer

    def _write(self, ending: Callable[..., bool], lease: LiveLease, content: dict[str, Any]) -> None:
        with transaction(self._runtime.engine) as session:
            ending(session, lease, content)


class _Watch:
    """Whether somebody still waits for a request, and its lease, in a thread."""

    def __init__(self, runtime: Runtime, lease: LiveLease) -> None:
        self._runtime, self._lease = runtime, lease
        self._is_wanted, self._over = True, threading.Event()

    def between(self) -> None:
        """Raise WorkInterruptedError where nobody waits any more, or the process stops."""
        if not self._is_wanted:
            raise WorkInterruptedError("nobody waits for it any more")
        if self._runtime.stopping.is_set():
            raise WorkInterruptedError("the worker stops")

    def opened(self) -> None:
        """Write that the models are open."""
        with transaction(self._runtime.engine) as session:
            self._is_wanted = live.computes(session, self._lease)
        self.between()

    @contextmanager
    def renewing(self) -> Iterator[None]:
        thread = threading.Thread(target=self._renew, name="live-lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()

    def _renew(self) -> None:
        while not self._over.wait(RENEW_SECONDS):
            try:
                with transaction(self._runtime.engine) as session:
                    self._is_wanted = live.renew(session, self._lease, LEASE_SECONDS)
            except (SQLAlchemyError, DiskFullError) as error:
                log.warning("a live request's lease cannot be renewed", why=str(error))
            if not self._is_wanted:
                return


def _bounded(reply: dict[str, Any]) -> dict[str, Any]:
    """Return the reply; raises LiveUnavailableError for one that is too large to keep."""
    if len(json.dumps(reply)) > MOST_REPLY_BYTES:
        raise LiveUnavailableError("The answer is too large.", cure="Ask for fewer features, or send less text.")
    return reply
