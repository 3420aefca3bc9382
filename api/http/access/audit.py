"""Write every request that changes something into the audit log, refused ones included.

A change and its entry are one commit: neither is stored without the other, whenever the process ends.
"""

import time
from threading import Lock

from anyio.to_thread import run_sync
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.access.control import ACTION, PRINCIPAL, SUCCESS
from api.http.problems import CODE
from api.http.request_log import IDENTIFIER
from interp.domain.access import Principal
from interp.observability import logs
from interp.store.access import audit
from interp.store.access.audit import AuditEntry
from interp.store.db.engine import COMMIT_HOOK, Engine, Session, SQLAlchemyError, transaction

log = logs.get_logger(__name__)

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
# Requests of unknown senders with an entry of their own, a minute and process: anyone may send them, and entries take space.
MOST_UNKNOWN, MINUTE = 60, 60.0
NO_ACTION = "none"


class AuditLog:
    """Middleware that writes an entry with each change, or before a refusal is answered."""

    def __init__(self, app: ASGIApp, engine: Engine) -> None:
        self._app, self._engine = app, engine
        self._unknown = UnknownSenders()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in SAFE:
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {})
        entry, is_answered = RequestEntry(scope, self._unknown), False

        async def audited(message: Message) -> None:
            nonlocal is_answered
            if message["type"] == "http.response.start" and not is_answered:
                is_answered = True
                await self._answered(entry, message["status"], Headers(raw=message.get("headers", [])).get("location"))
            await send(message)

        token = COMMIT_HOOK.set(entry)
        try:
            await self._app(scope, receive, audited)
        except Exception:
            if not is_answered:
                await self._answered(entry, 500, None)
            raise
        finally:
            COMMIT_HOOK.reset(token)

    async def _answered(self, entry: "RequestEntry", status: int, location: str | None) -> None:
        left = entry.left_to_write(status, location)
        if left is not None:
            await run_sync(self._write, left)

    def _write(self, entry: AuditEntry) -> None:
        try:
            with transaction(self._engine) as session:
                audit.write(session, entry)
        except SQLAlchemyError as error:
            # Nothing was changed, or the change has an entry of its own.
            values = {"action": entry.action, "target": entry.target, "status": entry.status, "who": entry.who, "id": entry.key_id}
            log.error("an entry of the audit log cannot be written", error=type(error).__name__, **values)


class RequestEntry:
    """The entry of a request, which its first commit writes, too.

    That one says what the answer will say: the status of success, and the address of what was made (`made_at`). Where the answer says
    something else, or nothing was committed, another entry is left to write.
    """

    def __init__(self, scope: Scope, unknown: "UnknownSenders") -> None:
        self._scope, self._unknown = scope, unknown
        self._is_listed: bool | None = None
        self._unlisted = 0
        self._is_answered = False
        self._pending: AuditEntry | None = None
        self._stored: AuditEntry | None = None
        self.location: str | None = None

    def before_commit(self, session: Session) -> None:
        """Add the entry to the first commit of an admitted request."""
        status = self._scope["state"].get(SUCCESS)
        if status is None or self._stored is not None or self._is_answered:
            return
        self._pending = self._entry(status, self.location)
        if self._pending is not None:
            audit.write(session, self._pending)

    def after_commit(self) -> None:
        self._stored = self._stored or self._pending

    def left_to_write(self, status: int, location: str | None) -> AuditEntry | None:
        """Return the entry of an answer; None where it is stored, or is not listed."""
        self._is_answered = True
        target = location or self._scope["path"]
        if self._stored is not None and (self._stored.status, self._stored.target) == (status, target):
            return None
        return self._entry(status, location)

    def _entry(self, status: int, location: str | None) -> AuditEntry | None:
        """Return an entry; None for one too many of unknown senders."""
        state, client = self._scope["state"], self._scope.get("client")
        principal: Principal | None = state.get(PRINCIPAL)
        if principal is None and self._is_listed is None:
            self._is_listed, self._unlisted = self._unknown.count()
        if self._is_listed is False:
            return None
        return AuditEntry(
            action=state.get(ACTION) or NO_ACTION,
            target=location or self._scope["path"],
            status=status,
            who=None if principal is None else principal.name,
            key_id=None if principal is None else principal.key_id,
            address=client[0] if client else None,
            code=state.get(CODE),
            request_id=state.get(IDENTIFIER),
            unlisted=self._unlisted,
        )


def made_at(path: str) -> str:
    """Return the address of what a request makes.

    The request's entry in the audit log then names it. It is called within the transaction that makes it.
    """
    entry = COMMIT_HOOK.get()
    if isinstance(entry, RequestEntry):
        entry.location = path
    return path


class UnknownSenders:
    """The number of entries of unknown senders in this minute, and of those left out."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._began, self._listed, self._left_out = float("-inf"), 0, 0

    def count(self) -> tuple[bool, int]:
        """Count one request; return whether it is listed, and how many before it were not."""
        with self._lock:
            if time.monotonic() - self._began >= MINUTE:
                self._began, self._listed = time.monotonic(), 0
            if self._listed >= MOST_UNKNOWN:
                self._left_out += 1
                return False, 0
            self._listed += 1
            left_out, self._left_out = self._left_out, 0
            return True, left_out
