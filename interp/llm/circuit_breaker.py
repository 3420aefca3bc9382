"""Pause the jobs of a model at an endpoint while no call can succeed."""

import asyncio
from collections.abc import Callable

from interp.domain.errors import EndpointUnreachableError, JobPausedError, QuotaExhaustedError
from interp.llm.transports.base import TransportError

COOL_DOWN = 5.0
FEW_FAULTS = 3
REJECTIONS = 20
# An endpoint that keeps announcing waits (each at most `max_outage`) may take so many times `max_outage` without a success.
ANNOUNCED_FACTOR = 10.0


class Breaker:
    """Circuit breaker, open on a general error or after `max_outage` seconds of transient faults.

    While it is open, `admit` raises that error at once. After `cool_down` seconds one call is admitted and the others wait for its outcome: so a
    resumed job works as soon as the endpoint does.
    """

    def __init__(self, base_url: str, max_outage: float, cool_down: float = COOL_DOWN, clock: Callable[[], float] | None = None) -> None:
        self._base_url, self._max_outage, self._cool_down = base_url, max_outage, cool_down
        self._clock = clock or (lambda: asyncio.get_running_loop().time())
        self._error: JobPausedError | None = None
        self._opened_at = 0.0
        self._trial: asyncio.Future[None] | None = None
        self._failing_since: float | None = None
        self._announced_until = 0.0
        self._faults = 0
        self._rejections = 0
        self.last_fault = ""

    @property
    def is_open(self) -> bool:
        return self._error is not None

    async def admit(self) -> bool:
        """Wait until a call may start; True for a trial; raises JobPausedError while open."""
        while self._error is not None:
            if self._trial is not None:
                await asyncio.shield(self._trial)
            elif self._clock() - self._opened_at < self._cool_down:
                raise self._error.copy()
            else:
                self._trial = asyncio.get_running_loop().create_future()
                return True
        return False

    def succeeded(self) -> None:
        """Close the breaker after any answer of the endpoint, even a refusal."""
        self._failing_since, self._faults, self._rejections, self._error = None, 0, 0, None
        self.last_fault = ""
        self.abandoned()

    def rejected(self, why: str) -> None:
        """Count a rejected request, or a reply that was too large.

        Many in a row without one answer indicate wrong settings, and open the breaker.
        """
        self._failing_since, self._faults = None, 0
        if self._error is not None:
            # The trial failed where rejections opened the breaker; else it has shown that the endpoint works, if not for this question.
            if self._trial is not None and type(self._error) is JobPausedError:
                self.open(self._error.copy())
            elif self._trial is not None:
                self.succeeded()
            return
        self._rejections += 1
        if self._rejections >= REJECTIONS:
            what = f"{self._base_url} gave the last {self._rejections} requests no answer that can be used: it rejected them, or sent too much."
            self.open(JobPausedError(what, why=why, cure="Correct the model's settings, or ask for another model."))

    def failed(self, fault: TransportError, wait: float | None = None) -> None:
        """Count a transient fault and its announced wait in seconds; open after `max_outage` seconds."""
        now = self._clock()
        self.last_fault = fault.message
        if self._error is not None:
            self.open(self._error.copy())  # the trial failed: open for another cool-down
            return
        self._faults += 1
        self._failing_since = now if self._failing_since is None else self._failing_since
        if wait is not None:
            self._announced_until = max(self._announced_until, now + wait)
            if wait > self._max_outage:
                why = f"It asks to come back in {wait:.0f} s, and {self._max_outage:g} s is the longest wait (GLOSSATOR_LLM_MAX_OUTAGE_SECONDS)."
                self.open(self._given_up(fault, why))
                return
        max_outage = self._max_outage * ANNOUNCED_FACTOR if now < self._announced_until + self._max_outage else self._max_outage
        if self._faults >= FEW_FAULTS and now - self._failing_since >= max_outage:
            self.open(self._given_up(fault, f"{self._faults} faults in {now - self._failing_since:.0f} s and not one answer."))

    def open(self, error: JobPausedError) -> None:
        """Admit no call until the cool-down is over."""
        self._error, self._opened_at = error, self._clock()
        self._failing_since, self._faults, self._rejections = None, 0, 0
        self.abandoned()

    def abandoned(self) -> None:
        """End a trial without an outcome: the call was cancelled or out of budget."""
        if self._trial is not None and not self._trial.done():
            self._trial.set_result(None)
        self._trial = None

    def check(self) -> None:
        """Raise the error when open without a trial, for a call between two attempts."""
        if self._error is not None and self._trial is None:
            raise self._error.copy()

    def _given_up(self, fault: TransportError, why: str) -> JobPausedError:
        if fault.status == 429:
            return QuotaExhaustedError(
                f"{self._base_url} only ever answers that it is asked too much.", why=f"{why} {fault.message}", cure="Resume later."
            )
        what = f"{self._base_url} does not answer."
        return EndpointUnreachableError(what, why=f"{why} The last: {fault.message}", cure="See to the endpoint and resume the job.")
