"""Find out who sends a request, by its API key."""

import asyncio
import time
from collections.abc import Callable
from typing import ClassVar, TypeVar

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from starlette.datastructures import Headers
from starlette.types import Scope

from api.http.access.cookies import SessionCookies, cookies, name_of
from interp.config.settings import Settings, is_loopback
from interp.domain.access import LOCAL, Principal
from interp.domain.api_key import parsed
from interp.domain.errors import GlossatorError
from interp.observability import logs
from interp.store.access import keys, sessions
from interp.store.db.engine import READING, Engine, Session, SQLAlchemyError, snapshot, transaction

log = logs.get_logger(__name__)

Found = TypeVar("Found")

# Threads, and so connections, that look keys up: apart from those of the routes, which may all be busy.
READERS = 4
SEND = "Send `Authorization: Bearer KEY` or `x-api-key: KEY`; an operator makes one with `glossator keys create`."


class KeyRefusedError(GlossatorError, code="api-key-invalid", status=401, title="The API key is not valid"):
    """A key that is unknown, expired or revoked; the answer does not say which."""

    # WWW-Authenticate, of RFC 6750.
    challenge: ClassVar[str] = 'Bearer realm="glossator", error="invalid_token"'


class KeyMissingError(KeyRefusedError, code="api-key-missing", title="An API key is needed"):
    """A request without a key, to a service that needs one."""

    challenge: ClassVar[str] = 'Bearer realm="glossator"'


class Authentication:
    """The senders of requests to one application.

    A key is looked up at every request, by primary key, and nothing about it is kept: all processes refuse a revoked key at once. That some key
    exists is kept, since rows of keys are never deleted.
    """

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine, self._is_local = engine, is_loopback(settings.host)
        self._has_keys = False
        own = settings.session_secret.get_secret_value()
        self._reading = engine.execution_options(**READING)
        self._cookies = SessionCookies(own) if own else None
        self._limiter = CapacityLimiter(READERS)
        self._noted: dict[str, float] = {}
        self._writes: set[asyncio.Task[None]] = set()

    async def principal(self, scope: Scope) -> Principal:
        """Return who sends a request: by its key, else by the cookie of its session.

        Raises KeyMissingError, KeyRefusedError and CsrfTokenMissingError.
        """
        headers = Headers(scope=scope)
        sent, has_cookie = sent_keys(headers), bool(cookies(headers, name_of(scope)))
        found = await self._in_thread(lambda: self._look_up(sent, has_cookie, scope)) if sent or has_cookie or not self._has_keys else None
        if found is None:
            raise _refused() if sent else _missing()
        if found.key_id is not None:
            self._note_use(found.key_id)
        return found

    async def is_current(self, principal: Principal) -> bool:
        """Return whether a principal's request would be accepted now, for streams that stay open."""
        return await self._in_thread(lambda: self._is_current(principal))

    @property
    def was_open(self) -> bool:
        """Return whether only this machine reaches the service, and no key was seen so far."""
        return self._is_local and not self._has_keys

    async def _in_thread(self, work: Callable[[], Found]) -> Found:
        return await run_sync(work, limiter=self._limiter)

    def cookies(self) -> SessionCookies:
        """Return the signatures of cookies; the first process makes their secret."""
        if self._cookies is None:
            with transaction(self._engine) as session:
                self._cookies = SessionCookies(sessions.ensure_secret(session))
        return self._cookies

    def _look_up(self, sent: frozenset[str], has_cookie: bool, scope: Scope) -> Principal | None:
        key = parsed(next(iter(sent))) if len(sent) == 1 else None
        if key is not None:
            # A connection takes a quarter of the time of a session, at every request.
            with self._reading.connect() as connection:
                found = keys.sender(connection, key)
            if found is not None:
                return found
        with snapshot(self._engine) as session:
            found = self._of_session(session, scope) if has_cookie and not sent else None
            return LOCAL if found is None and self._is_open(session) else found

    def _of_session(self, session: Session, scope: Scope) -> Principal | None:
        """Return whose session the request's cookie names; raises CsrfTokenMissingError."""
        if self._cookies is None and (secret := sessions.secret(session)) is not None:
            self._cookies = SessionCookies(secret)
        session_id = None if self._cookies is None else self._cookies.session_id(scope)
        found = None if session_id is None else sessions.sender(session, session_id)
        if found is not None and self._cookies is not None and session_id is not None:
            self._cookies.check_csrf(scope, session_id)
        return found

    def _is_current(self, principal: Principal) -> bool:
        with snapshot(self._engine) as session:
            if principal.session is not None:
                return sessions.is_live(session, principal.session)
            return self._is_open(session) if principal.key_id is None else keys.is_live(session, principal.key_id)

    def _is_open(self, session: Session) -> bool:
        """Return whether no key exists and only this machine reaches the service."""
        self._has_keys = self._has_keys or keys.any_exists(session)
        return self._is_local and not self._has_keys

    def _note_use(self, key_id: str) -> None:
        """Write a key's last use, at most once a minute and beside the request."""
        moment = time.monotonic()
        if moment - self._noted.get(key_id, float("-inf")) < keys.LAST_USE_SECONDS:
            return
        self._noted[key_id] = moment
        # It may wait for another writer, so it has no thread of the look-ups.
        task = asyncio.create_task(run_sync(self._write_use, key_id))
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)

    def _write_use(self, key_id: str) -> None:
        try:
            with transaction(self._engine) as session:
                keys.used(session, key_id)
        except SQLAlchemyError as error:
            log.warning("the last use of a key cannot be written", id=key_id, error=type(error).__name__)


def sent_keys(headers: Headers) -> frozenset[str]:
    """Return the different keys of the headers; more than one are no valid key."""
    given = [value.partition(" ") for value in headers.getlist("authorization")]
    bearers = [key.strip() for scheme, _, key in given if scheme.lower() == "bearer"]
    return frozenset([*bearers, *headers.getlist("x-api-key")])


def _refused() -> KeyRefusedError:
    return KeyRefusedError("The API key is not valid.", why="It is unknown, expired or revoked.", cure=SEND)


def _missing() -> KeyMissingError:
    return KeyMissingError("The request has no API key.", why="The service answers requests with a key alone.", cure=SEND)
