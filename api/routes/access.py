"""Routes of keys and of the audit log, for admins."""

from typing import Annotated

from fastapi import APIRouter, Body, Path, Query, Response

from api.http.access.audit import made_at
from api.http.access.scopes import needs
from api.http.openapi import answers
from api.reads import access as reads
from api.reads.access import AuditQuery
from api.routes.dependencies import Caller, CursorText, Limit, Reading, Store
from api.schemas.access import AuditPage, KeyAnswer, KeyPage, KeyQuota, KeyUsageAnswer, NewKeyAnswer, NewKeyRequest
from api.schemas.examples import EXAMPLES
from interp.domain.access import Scope
from interp.store.db.engine import transaction

router = APIRouter(prefix="/v1", tags=["access"])

KeyId = Annotated[str, Path(pattern="^[0-9a-f]{8}$", description="The key's id, as listings and the audit log show it.", examples=["5f3a9c21"])]
Wanted = Annotated[NewKeyRequest, Body(openapi_examples=EXAMPLES["new_keys"])]


@router.get("/keys", responses=answers(EXAMPLES["key_page"], 422))
@needs(Scope.ADMIN)
def list_keys(session: Reading, cursor: CursorText = None, limit: Limit = 50) -> KeyPage:
    """List all keys, oldest first, with expired and revoked ones; their secrets are not stored."""
    return reads.key_page(session, cursor, limit)


@router.get("/keys/self", responses=answers(EXAMPLES["key_usage"], 422))
@needs(Scope.READ)
def get_own_key(session: Reading, caller: Caller) -> KeyUsageAnswer:
    """Return the caller's own key: name, scopes, quota, and what of it is used."""
    return reads.usage_of(session, caller)


@router.get("/keys/{key_id}/usage", responses=answers(EXAMPLES["key_usage"], 404, 422))
@needs(Scope.ADMIN)
def get_key_usage(session: Reading, key_id: KeyId) -> KeyUsageAnswer:
    """Return a key's quota, and what of it is used."""
    return reads.usage_of_key(session, key_id)


@router.put("/keys/{key_id}/quota", responses=answers(EXAMPLES["key_usage"], 404, 422))
@needs(Scope.ADMIN)
def set_key_quota(engine: Store, key_id: KeyId, quota: Annotated[KeyQuota, Body(openapi_examples=EXAMPLES["quotas"])]) -> KeyUsageAnswer:
    """Set the whole quota of a key: what is left out has no limit.

    It holds for what comes from then on; running jobs go on.
    """
    with transaction(engine) as session:
        reads.set_quota(session, key_id, quota)
        return reads.usage_of_key(session, key_id)


@router.post("/keys", status_code=201, responses=answers(EXAMPLES["new_key"], 422, status=201))
@needs(Scope.ADMIN)
def create_key(response: Response, engine: Store, caller: Caller, wanted: Wanted) -> NewKeyAnswer:
    """Make a key. This answer alone shows its text.

    The first key closes the service: from then on every request needs one.
    """
    with transaction(engine) as session:
        made = reads.create_key(session, wanted, caller.name)
        response.headers["Location"] = made_at(f"/v1/keys/{made.id}")
    response.headers["Cache-Control"] = "no-store"
    return made


@router.delete("/keys/{key_id}", responses=answers(EXAMPLES["revoked_key"], 404, 422))
@needs(Scope.ADMIN)
def revoke_key(engine: Store, key_id: KeyId) -> KeyAnswer:
    """Revoke a key for good: every process refuses it from then on.

    Repeating it changes nothing.
    """
    with transaction(engine) as session:
        return reads.revoke_key(session, key_id)


@router.get("/audit", responses=answers(EXAMPLES["audit_page"], 422))
@needs(Scope.ADMIN)
def list_audit_entries(session: Reading, query: Annotated[AuditQuery, Query()]) -> AuditPage:
    """List what was changed, or was refused, newest first: who, what, when, from where."""
    return reads.audit_page(session, query)
