"""Keys end when they should, and entries of the audit log are never changed."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, insert, select, update

from interp.domain.access import LOCAL, Principal, Scope
from interp.domain.api_key import ApiKey, parsed
from interp.domain.errors import ConflictError, NotFoundError
from interp.store.access import audit, keys
from interp.store.access.audit import AuditEntry, AuditFilters
from interp.store.db.engine import DBAPIError, snapshot, transaction
from interp.store.db.tables import ApiKeyRow, AuditRow
from interp.store.queue import jobs, retention
from tests.store import steps


def made(engine: Engine, name: str = "alice", *scopes: Scope, expires_at: datetime | None = None) -> keys.NewKey:
    with transaction(engine) as session:
        return keys.create(session, name, scopes or (Scope.SUBMIT,), "test", expires_at)


def key_of(text: str) -> ApiKey:
    found = parsed(text)
    assert found is not None
    return found


def sender(engine: Engine, text: str) -> Principal | None:
    with snapshot(engine) as session:
        return keys.sender(session, key_of(text))


def test_a_key_is_known_by_its_text_alone_which_is_nowhere_in_the_database(engine: Engine) -> None:
    with snapshot(engine) as session:
        assert not keys.any_exists(session)
    new = made(engine)
    assert sender(engine, new.text) == Principal("alice", "alice", frozenset({Scope.SUBMIT}), new.row.id)
    with snapshot(engine) as session:
        assert keys.any_exists(session)
        [row] = session.scalars(select(ApiKeyRow))
        assert new.text.rpartition("_")[2] not in str(vars(row))
        assert row.id == new.text.split("_")[1], "the visible part names the row"


def test_a_wrong_an_expired_and_a_revoked_key_are_nobodys(engine: Engine) -> None:
    new = made(engine)
    wrong = new.text[:-1] + ("0" if new.text[-1] != "0" else "1")
    unknown = f"gl_{'0' * 8}_{'0' * 64}"
    ended = made(engine, expires_at=datetime.now(UTC) - timedelta(seconds=1))
    revoked = made(engine)
    with transaction(engine) as session:
        keys.revoke(session, revoked.row.id)
    assert [sender(engine, text) for text in (wrong, unknown, ended.text, revoked.text)] == [None] * 4
    with snapshot(engine) as session:
        assert [keys.is_live(session, key_id) for key_id in (new.row.id, ended.row.id, revoked.row.id, "none")] == [True, False, False, False]


def test_revoking_twice_keeps_the_first_time_and_an_unknown_key_is_told(engine: Engine) -> None:
    new = made(engine)
    with transaction(engine) as session:
        first = keys.revoke(session, new.row.id).revoked_at
    with transaction(engine) as session:
        assert keys.revoke(session, new.row.id).revoked_at == first
        with pytest.raises(NotFoundError, match="keys list"):
            keys.revoke(session, "0" * 8)


def test_a_key_of_the_settings_is_made_once_and_stays_revoked(engine: Engine) -> None:
    text = f"gl_{'a' * 8}_{'b' * 64}"
    for _ in range(2):
        with transaction(engine) as session:
            keys.ensure(session, key_of(text), "admin", "settings")
    found = sender(engine, text)
    assert found is not None and found.is_admin
    with transaction(engine) as session:
        keys.revoke(session, "a" * 8)
        keys.ensure(session, key_of(text), "admin", "settings")
    assert sender(engine, text) is None


def test_the_last_use_is_written_once_a_minute(engine: Engine) -> None:
    new = made(engine)

    def use() -> datetime | None:
        with transaction(engine) as session:
            keys.used(session, new.row.id)
            return session.scalar(select(ApiKeyRow.last_used_at))

    first = use()
    assert first is not None
    assert use() == first, "the second use wrote nothing"
    with transaction(engine) as session:
        session.execute(update(ApiKeyRow).values(last_used_at=first - timedelta(seconds=keys.LAST_USE_SECONDS + 1)))
    assert use() not in (first, None)


def test_keys_are_paged_oldest_first(engine: Engine) -> None:
    ids = [made(engine, f"name {number}").row.id for number in range(5)]
    found, after = [], None
    with snapshot(engine) as session:
        while True:
            page = keys.page(session, after, 2)
            found += [row.id for row in page.rows]
            after = page.next
            if after is None:
                break
    assert found == ids


def test_admin_implies_all_and_the_others_reading() -> None:
    def scopes(*granted: Scope) -> frozenset[Scope]:
        return Principal("x", "x", frozenset(granted)).scopes

    assert scopes(Scope.ADMIN) == frozenset(Scope)
    assert scopes(Scope.SUBMIT) == {Scope.SUBMIT, Scope.READ}
    assert scopes(Scope.REVIEW) == {Scope.REVIEW, Scope.READ}
    assert scopes() == frozenset()


def test_what_nobody_owns_only_an_admin_changes() -> None:
    alice = Principal("alice", "alice", frozenset({Scope.SUBMIT}))
    assert [alice.may_change(owner) for owner in ("alice", "bob", None)] == [True, False, False]
    assert LOCAL.may_change(None)
    assert not Principal("x", None, frozenset({Scope.SUBMIT})).may_change(None)


def test_the_idempotency_key_of_one_owner_is_not_anothers(engine: Engine) -> None:
    with transaction(engine) as session:
        ids = {owner: jobs.submit(session, steps.SPEC, steps.Checked(), "same", owner=owner).id for owner in ("alice", "bob", None)}
        assert len(set(ids.values())) == 3
        for owner, job_id in ids.items():
            known = jobs.submitted(session, steps.SPEC, "same", owner=owner)
            assert known is not None and known.id == job_id and known.owner == owner
        with pytest.raises(ConflictError):
            jobs.submitted(session, steps.SPEC.model_copy(update={"priority": 1}), "same", owner="alice")


def test_a_control_belongs_to_the_owner_of_its_job(engine: Engine) -> None:
    spec = steps.SPEC.model_copy(update={"controls": ("random_weights",)})
    with transaction(engine) as session:
        job = jobs.submit(session, spec, steps.Checked(), owner="alice")
        control = jobs.control_of(session, job.id)
        assert control is not None and control.owner == "alice"


def test_the_audit_log_is_paged_newest_first_and_filtered(engine: Engine) -> None:
    with transaction(engine) as session:
        for number in range(6):
            audit.write(session, AuditEntry(("submit_job", "cancel_job")[number % 2], f"/v1/jobs/{number}", 202, who="alice" if number < 4 else None))
    with snapshot(engine) as session:
        first = audit.page(session, AuditFilters(), None, 4)
        rest = audit.page(session, AuditFilters(), first.next, 4)
        assert [row.target[-1] for row in (*first.rows, *rest.rows)] == list("543210")
        assert rest.next is None
        assert [row.target[-1] for row in audit.page(session, AuditFilters(who="alice", action="cancel_job"), None, 4).rows] == ["3", "1"]
        middle = first.rows[2].at
        since, until = AuditFilters(since=middle), AuditFilters(until=middle)
        assert [len(audit.page(session, filters, None, 10).rows) for filters in (since, until)] == [3, 3]


def test_entries_go_when_they_are_old_enough(engine: Engine) -> None:
    with transaction(engine) as session:
        for _ in range(3):
            audit.write(session, AuditEntry("submit_job", "/v1/jobs", 202))
        session.execute(insert(AuditRow).values(at=datetime.now(UTC) - timedelta(days=11), action="old", target="/", status=200))
    assert retention.prune(engine, retention.RULES["audit"], 10.0, dry_run=True) == 1
    assert retention.prune(engine, retention.RULES["audit"], 10.0) == 1
    with snapshot(engine) as session:
        assert set(session.scalars(select(AuditRow.action))) == {"submit_job"}


def test_an_entry_of_the_audit_log_cannot_be_changed(engine: Engine) -> None:
    with transaction(engine) as session:
        audit.write(session, AuditEntry("submit_job", "/v1/jobs", 401))
    with pytest.raises(DBAPIError, match="never changed"), transaction(engine) as session:
        session.execute(update(AuditRow).values(who="mallory"))
