"""The breaker of one model at one endpoint: when no call can succeed, none is tried, and every job that needs it pauses with the same reason."""

import asyncio
from collections.abc import Callable
from typing import Any

from interp.domain.errors import EndpointUnreachableError, JobPausedError, QuotaExhaustedError
from interp.llm.transports.base import TransportError

COOL_DOWN = 5.0
FEW_FAULTS = 3
REJECTIONS = 20
LONGEST_EXCUSE = 10.0  # times the patience: as long as an endpoint may keep on announcing waits, none above the patience, without one success


class Breaker:
    """Opens on an error that concerns every call, or when passing faults go on for `patience` seconds without one success.

    While it is open, `admit` raises that error at once. After `cool_down` seconds one call is let through and the others wait for its outcome: so a
    resumed job works as soon as the endpoint does.
    """

    def __init__(self, base_url: str, patience: float, cool_down: float = COOL_DOWN, clock: Callable[[], float] | None = None) -> None:
        self._base_url, self._patience, self._cool_down = base_url, patience, cool_down
        self._clock = clock or (lambda: asyncio.get_running_loop().time())
        self._error: JobPausedError | None = None
        self._opened_at = 0.0
        self._trial: asyncio.Future[None] | None = None
        self._failing_since: float | None = None
        self._excused_until = 0.0
        self._faults = 0
        self._rejections = 0
        self.last_fault = ""

    @property
    def is_open(self) -> bool:
        return self._error is not None

    async def admit(self) -> bool:
        """Returns when a call may be tried; True: it is the one on trial. Raises JobMustPause while the breaker is open."""
        while self._error is not None:
            if self._trial is not None:
                await asyncio.shield(self._trial)
            elif self._clock() - self._opened_at < self._cool_down:
                raise self._again()
            else:
                self._trial = asyncio.get_running_loop().create_future()
                return True
        return False

    def succeeded(self) -> None:
        """The endpoint answered, be it with a refusal."""
        self._failing_since, self._faults, self._rejections, self._error = None, 0, 0, None
        self.last_fault = ""
        self._end_trial()

    def rejected(self, why: str) -> None:
        """The endpoint called one request wrong, or sent too much. Many in a row and not one answered: then it is the settings, not the items."""
        self._failing_since, self._faults = None, 0
        if self._error is not None:
            self._rejected_while_open()
            return
        self._rejections += 1
        if self._rejections >= REJECTIONS:
            what = f"{self._base_url} gave the last {self._rejections} requests no answer that can be used: it rejected them, or sent too much."
            self.open(JobPausedError(what, why=why, cure="Mend the model's settings, or ask for another model."))

    def _rejected_while_open(self) -> None:
        """The trial of a breaker that rejections opened has failed; any other's has shown that the endpoint works, if not for this question.
        A call that was away when it opened shows nothing."""
        if self._trial is None:
            return
        if type(self._error) is JobPausedError:
            self.open(self._again())
        else:
            self.succeeded()

    def failed(self, fault: TransportError, wait: float | None = None) -> None:
        """One more passing fault; `wait` in seconds where the endpoint announced when to come back. Opens the breaker when patience is at an end."""
        now = self._clock()
        self.last_fault = fault.message
        if self._error is not None:
            self.open(self._again())  # the trial failed: closed for another while
            return
        self._faults += 1
        self._failing_since = now if self._failing_since is None else self._failing_since
        if wait is not None:
            self._excused_until = max(self._excused_until, now + wait)
            if wait > self._patience:
                why = f"It asks to come back in {wait:.0f} s, and {self._patience:g} s is the longest wait (GLOSSATOR_LLM_MAX_OUTAGE_SECONDS)."
                self.open(self._given_up(fault, why))
                return
        patience = self._patience * LONGEST_EXCUSE if now < self._excused_until + self._patience else self._patience
        if self._faults >= FEW_FAULTS and now - self._failing_since >= patience:
            self.open(self._given_up(fault, f"{self._faults} faults in {now - self._failing_since:.0f} s and not one answer."))

    def open(self, error: JobPausedError) -> None:
        """No call goes through until the cool-down is over."""
        self._error, self._opened_at = error, self._clock()
        self._failing_since, self._faults, self._rejections = None, 0, 0
        self._end_trial()

    def abandoned(self) -> None:
        """A call that was let through ended without an outcome: it was cancelled, or its budget was at an end."""
        self._end_trial()

    def check(self) -> None:
        """Raises the error when the breaker is open and no call is on trial: for a call that waits between attempts."""
        if self._error is not None and self._trial is None:
            raise self._again()

    def _given_up(self, fault: TransportError, why: str) -> JobPausedError:
        if fault.status == 429:
            return QuotaExhaustedError(
                f"{self._base_url} only ever answers that it is asked too much.", why=f"{why} {fault.message}", cure="Resume later."
            )
        what = f"{self._base_url} does not answer."
        return EndpointUnreachableError(what, why=f"{why} The last: {fault.message}", cure="See to the endpoint and resume the job.")

    def _again(self) -> JobPausedError:
        """A fresh copy of the error: one instance raised in many tasks would gather their tracebacks."""
        assert self._error is not None
        error = self._error
        details: dict[str, Any] = error.details
        return type(error)(error.what, why=error.why, cure=error.cure, **details)

    def _end_trial(self) -> None:
        if self._trial is not None and not self._trial.done():
            self._trial.set_result(None)
        self._trial = None
