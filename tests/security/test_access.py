"""Who may do what: every operation with each kind of key, and each scope."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute
from sqlalchemy import Engine, event, select, update

from api.app import ROUTERS, create_app
from api.http.access.scopes import RouteTable, scope_of
from api.pages import install as pages
from benches.in_process import InProcess
from interp.config.settings import Settings
from interp.domain.access import IMPLIED, Scope
from interp.domain.lifecycle import JobStatus
from interp.store.access import keys
from interp.store.db.engine import make_engine, snapshot, transaction
from interp.store.db.tables import ApiKeyRow, AuditRow, JobRow
from interp.store.queue import jobs
from tests import databases
from tests.store import steps

ROUTES = RouteTable((*ROUTERS, *pages.ROUTERS)).routes
SECRETS = [route for route in ROUTES if scope_of(route) is not None]
WRONG = f"gl_{'0' * 8}_{'1' * 64}"
UNLIMITED: dict[str, Any] = dict.fromkeys(("rate_reads", "rate_writes", "rate_expensive", "rate_failed_logins"), "")
# What could be a key, or a way around one.
NO_KEYS = ("", " ", "gl_", "null", WRONG[:-1], WRONG + "0", WRONG.upper(), "é", "x" * 5000, f"{WRONG} {WRONG}")


@dataclass(frozen=True)
class Closed:
    """A service that has keys: of each scope, and of each kind that is none."""

    http: httpx.Client
    engine: Engine
    keys: dict[str, str]
    job: str

    def send(self, route: APIRoute, key: str | None) -> httpx.Response:
        values = {"job_id": self.job, "check_id": self.job, "run_id": 1, "index": "1", "dictionary": "none", "code": "none", "key_id": "0" * 8}
        path = route.path
        for name in route.param_convertors:
            path = path.replace(f"{{{name}}}", str(values.get(name, "1"))).replace(f"{{{name}:path}}", "1")
        return self.http.request(min(route.methods), path, headers=bearer(key))

    def audit(self) -> list[AuditRow]:
        with snapshot(self.engine) as session:
            return list(session.scalars(select(AuditRow).order_by(AuditRow.id)))


def bearer(key: str | None) -> dict[str, str]:
    return {} if key is None else {"Authorization": f"Bearer {key}"}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def closed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Closed]:
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else ""
    settings = Settings(home=tmp_path_factory.mktemp(f"closed-{request.param}"), database_url=url, **UNLIMITED)
    databases.upgrade_and_empty(settings.database_url)
    engine = make_engine(settings.database_url)
    with transaction(engine) as session:
        made = {str(scope): keys.create(session, f"{scope}er", [scope], "test").text for scope in Scope}
        made["owner"] = keys.create(session, "owner", [Scope.SUBMIT], "test").text
        made["expired"] = keys.create(session, "admin", [Scope.ADMIN], "test", datetime.now(UTC) - timedelta(seconds=1)).text
        revoked = keys.create(session, "admin", [Scope.ADMIN], "test")
        keys.revoke(session, revoked.row.id)
        made |= {"revoked": revoked.text, "wrong": WRONG}
        job = jobs.submit(session, steps.SPEC, steps.Checked(), owner="owner").id
    with httpx.Client(transport=InProcess(create_app(settings)), base_url="http://test") as http:
        yield Closed(http, engine, made, job)
    engine.dispose()


def each_route(routes: Any = ROUTES) -> Any:
    return pytest.mark.parametrize("route", routes, ids=lambda route: f"{min(route.methods)} {route.path}")


@each_route(SECRETS)
def test_nobody_gets_in_without_a_valid_key_and_no_answer_says_why(closed: Closed, route: APIRoute) -> None:
    answers = {kind: closed.send(route, closed.keys[kind]) for kind in ("wrong", "expired", "revoked")}
    assert {answer.status_code for answer in answers.values()} == {401}
    assert len({(answer.content, str({**answer.headers, "x-request-id": ""})) for answer in answers.values()}) == 1, "they are told apart"
    missing = closed.send(route, None)
    assert missing.status_code == 401
    assert missing.json()["code"] == "api-key-missing" and answers["wrong"].json()["code"] == "api-key-invalid"
    for answer in (missing, answers["wrong"]):
        assert answer.headers["www-authenticate"].startswith("Bearer ")
        assert answer.headers["content-type"] == "application/problem+json"
        assert "glossator keys create" in answer.json()["cure"]


@each_route(SECRETS)
@pytest.mark.parametrize("scope", Scope)
def test_each_scope_opens_what_is_declared_and_nothing_else(closed: Closed, route: APIRoute, scope: Scope) -> None:
    if route.path.endswith("/events") and scope_of(route) in IMPLIED[scope]:
        return  # It would stay open: tests/api/test_job_events.py.
    answer = closed.send(route, closed.keys[scope])
    refused = answer.status_code == 403 and answer.json()["code"] == "scope-missing"
    needed = scope_of(route)
    assert needed is not None
    assert answer.status_code != 401
    assert refused == (needed not in IMPLIED[scope]), answer.text
    if refused:
        assert answer.json()["details"]["scope"] == needed
        assert f"`{needed}`" in answer.json()["detail"]


@each_route([route for route in ROUTES if scope_of(route) is None])
def test_what_is_public_needs_no_key_and_says_so(closed: Closed, route: APIRoute) -> None:
    for key in (None, WRONG):
        answer = closed.send(route, key)
        # A login's end without its beginning is refused, with or without a key.
        assert answer.status_code not in (401, 403) or answer.json()["code"] == "login-refused"
    assert min(route.methods) == "GET"


def test_the_public_routes_are_these(closed: Closed) -> None:
    public = {route.path for route in ROUTES if scope_of(route) is None}
    assert public == {"/healthz", "/readyz", "/v1/session/callback", "/v1/session/login", "/docs", "/problems", "/problems/{code}", "/sign-in"}
    assert closed.http.get("/openapi.json").status_code == 200
    assert closed.http.get("/static/swagger-ui/swagger-ui.css").status_code == 200
    assert closed.http.get("/static/../api/app.py").status_code in (401, 404)


@pytest.mark.parametrize("path", ["/none", "/v1", "/v1/nothing", "/V1/jobs", "/v1/jobs/", "//v1/jobs", "/static", "/openapi.json/x"])
def test_no_other_path_tells_anything_without_a_key(closed: Closed, path: str) -> None:
    for method in ("GET", "HEAD", "POST", "DELETE", "OPTIONS", "TRACE", "PROPFIND"):
        assert closed.http.request(method, path).status_code == 401, method
    assert closed.http.get(path, headers=bearer(closed.keys["admin"])).status_code == 404


def test_the_document_says_what_each_operation_needs(closed: Closed) -> None:
    document = closed.http.get("/openapi.json").json()
    schemes = document["components"]["securitySchemes"]
    assert {name: scheme["type"] for name, scheme in schemes.items()} == {"bearer": "http", "key": "apiKey"}
    for route in ROUTES:
        if not route.include_in_schema:
            continue
        operation = document["paths"][route.path][min(route.methods).lower()]
        scope = scope_of(route)
        assert operation["security"] == ([{name: [scope]} for name in schemes] if scope else [])
        assert ({"401", "403"} <= set(operation["responses"])) == (scope is not None)


@pytest.mark.parametrize("text", NO_KEYS, ids=lambda text: repr(text[:20]))
def test_no_other_text_is_a_key(closed: Closed, text: str) -> None:
    for headers in ({"x-api-key": text}, {"Authorization": f"Bearer {text}"}, {"Authorization": text}, {"Authorization": f"Basic {text}"}):
        answer = closed.http.get("/v1/jobs", headers={name: value.encode() for name, value in headers.items()})
        assert answer.status_code == 401


def test_either_header_carries_a_key_and_two_different_keys_are_none(closed: Closed) -> None:
    read, admin = closed.keys["read"], closed.keys["admin"]
    for headers in (
        {"x-api-key": read},
        {"authorization": f"bearer {read}"},
        {"Authorization": f"BEARER   {read}"},
        {"x-api-key": read, "Authorization": f"Bearer {read}"},
        {"x-api-key": read, "Authorization": "Basic abc"},
    ):
        assert closed.http.get("/v1/jobs", headers=headers).status_code == 200, headers
    assert closed.http.get("/v1/jobs", headers={"x-api-key": read, "Authorization": f"Bearer {admin}"}).status_code == 401
    assert closed.http.get("/v1/jobs", headers=[("x-api-key", read), ("x-api-key", admin)]).status_code == 401
    assert closed.http.get("/v1/jobs", params={"api_key": read}).status_code == 401


def test_a_refused_body_is_not_read(closed: Closed) -> None:
    answer = closed.http.post("/v1/jobs", content=b"{")
    assert answer.status_code == 401, "and not 422 of what was sent"
    assert answer.headers["connection"] == "close"


# Owners.

CHANGES = ("pause", "cancel", "resume", "retry")


@pytest.mark.parametrize("change", CHANGES)
def test_only_its_owner_and_admins_change_a_job(closed: Closed, change: str) -> None:
    with transaction(closed.engine) as session:
        mine = jobs.submit(session, steps.SPEC, steps.Checked(), owner="owner").id
        nobodys = jobs.submit(session, steps.SPEC, steps.Checked()).id
        session.execute(update(JobRow).where(JobRow.id.in_([mine, nobodys])).values(status=JobStatus.RUNNING))

    def status(job: str, kind: str) -> tuple[int, str]:
        answer = closed.http.post(f"/v1/jobs/{job}/{change}", headers=bearer(closed.keys[kind]))
        return answer.status_code, answer.json().get("code", "")

    expected = (409, "conflict") if change == "retry" else (202, "")
    assert status(mine, "submit") == status(nobodys, "submit") == status(nobodys, "owner") == (403, "not-owner")
    with snapshot(closed.engine) as session:
        assert {jobs.get(session, job).status for job in (mine, nobodys)} == {JobStatus.RUNNING}, "a refusal changes nothing"
    assert status(mine, "owner") == expected
    assert status(nobodys, "admin") == expected


def test_jobs_show_their_owner_and_are_filtered_by_it(closed: Closed) -> None:
    with transaction(closed.engine) as session:
        jobs.submit(session, steps.SPEC, steps.Checked(), owner="bob")

    def owners(**params: Any) -> set[str | None]:
        page = closed.http.get("/v1/jobs", params={"limit": 500} | params, headers=bearer(closed.keys["read"])).json()
        return {job["owner"] for job in page["items"]}

    assert owners() >= {"owner", "bob"}
    assert owners(owner="bob") == {"bob"}
    assert owners(owner="nobody") == set()
    assert closed.http.get(f"/v1/jobs/{closed.job}", headers=bearer(closed.keys["read"])).json()["owner"] == "owner"


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/checks"])
def test_a_priority_above_the_default_is_for_admins(closed: Closed, path: str) -> None:
    body = steps.SPEC.model_dump(mode="json")

    def is_refused(kind: str, priority: int) -> bool:
        answer = closed.http.post(path, json=body | {"priority": priority}, headers=bearer(closed.keys[kind]))
        return answer.status_code == 403 and answer.json()["code"] == "scope-missing"

    assert is_refused("submit", 1)
    assert not any((is_refused("submit", 0), is_refused("submit", -1), is_refused("admin", 1)))


# Revocation and the first key.


def test_a_revoked_key_is_refused_at_once_by_every_process(closed: Closed) -> None:
    settings = Settings(home=Path("/nonexistent"), database_url=closed.engine.url.render_as_string(hide_password=False))
    with httpx.Client(transport=InProcess(create_app(settings)), base_url="http://test") as other:
        made = closed.http.post("/v1/keys", json={"name": "bob", "scopes": ["read", "read"]}, headers=bearer(closed.keys["admin"])).json()
        assert made["scopes"] == ["read"] and made["created_by"] == "adminer"
        for http in (closed.http, other):
            assert http.get("/v1/jobs", headers=bearer(made["key"])).status_code == 200
        assert closed.http.delete(f"/v1/keys/{made['id']}", headers=bearer(closed.keys["admin"])).json()["revoked_at"] is not None
        for http in (other, closed.http):
            assert http.get("/v1/jobs", headers=bearer(made["key"])).status_code == 401


def test_the_first_key_closes_a_running_service_and_no_end_of_keys_opens_it(engine: Engine, settings: Settings) -> None:
    with httpx.Client(transport=InProcess(create_app(settings)), base_url="http://test") as http:
        assert http.get("/v1/jobs").status_code == http.get("/metrics").status_code == 200
        assert http.get("/v1/jobs", headers=bearer(WRONG)).status_code == 200, "without keys none is looked at"
        assert http.post("/v1/keys", json={"name": "x", "scopes": ["submit"]}).status_code == 422, "nobody could make another"
        made = http.post("/v1/keys", json={"name": "admin", "scopes": ["admin"]}).json()
        assert made["created_by"] == "local"
        assert http.get("/v1/jobs").status_code == http.get("/metrics").status_code == 401
        assert http.get("/v1/jobs", headers=bearer(made["key"])).status_code == 200
        assert http.delete(f"/v1/keys/{made['id']}", headers=bearer(made["key"])).status_code == 200
        assert http.get("/v1/jobs").status_code == 401
    with httpx.Client(transport=InProcess(create_app(settings)), base_url="http://test") as again:
        assert again.get("/v1/jobs").status_code == 401


def test_a_service_that_others_reach_answers_nobody_while_it_has_no_key(engine: Engine, settings: Settings) -> None:
    with httpx.Client(transport=InProcess(create_app(settings.model_copy(update={"host": "0.0.0.0"}))), base_url="http://test") as http:
        assert http.get("/v1/jobs").status_code == 401
        assert http.get("/readyz").status_code == 200


def test_a_request_with_a_key_takes_one_lookup_and_no_write_but_of_its_first_use(engine: Engine, settings: Settings) -> None:
    with transaction(engine) as session:
        key = keys.create(session, "alice", [Scope.READ], "test").text
    app, said = create_app(settings), list[str]()
    with httpx.Client(transport=InProcess(app), base_url="http://test", headers=bearer(key)) as http:
        http.get("/v1/jobs")
        event.listen(app.state.engine, "before_cursor_execute", lambda _c, _cursor, statement, *_: said.append(statement))
        for _ in range(3):
            http.get("/v1/jobs").raise_for_status()
    asked = [statement for statement in said if "api_keys" in statement and statement.startswith("SELECT")]
    assert len(asked) == 3 and all("WHERE api_keys.id = " in statement for statement in asked)
    assert len([statement for statement in said if statement.startswith("UPDATE")]) <= 1


def test_the_use_of_a_key_is_written_beside_the_request_and_once(closed: Closed) -> None:
    for _ in range(3):
        assert closed.http.get("/v1/jobs", headers=bearer(closed.keys["review"])).status_code == 200
    key_id = closed.keys["review"].split("_")[1]
    page = closed.http.get("/v1/keys", headers=bearer(closed.keys["admin"])).json()
    [shown] = [key for key in page["items"] if key["id"] == key_id]
    assert shown["last_used_at"] is not None
    with snapshot(closed.engine) as session:
        assert session.scalar(select(ApiKeyRow.last_used_at).where(ApiKeyRow.id == key_id)) is not None


# The audit log.


def test_every_change_and_every_refusal_is_in_the_log_and_no_secret(
    closed: Closed, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr("api.http.access.audit.MOST_UNKNOWN", 10**6)
    before = len(closed.audit())
    secret = "very-secret-body"
    closed.http.get("/v1/jobs", headers=bearer(closed.keys["read"]))
    closed.http.post("/v1/jobs", json={"x": secret}, headers=bearer(closed.keys["read"]) | {"X-Request-ID": "mine"})
    closed.http.post(f"/v1/jobs/{closed.job}/cancel", headers=bearer(closed.keys["submit"]))
    closed.http.delete("/v1/nothing", headers=bearer(closed.keys["admin"]))
    made = closed.http.post("/v1/keys", json={"name": "carol"}, headers=bearer(closed.keys["admin"])).json()
    closed.http.post("/v1/jobs", content=b"x" * 5_000_000, headers=bearer(closed.keys["submit"]))
    closed.http.post("/v1/jobs", headers=bearer(closed.keys["admin"]) | {"Origin": "http://evil.example"})
    found = [(row.who, row.action, row.target, row.status, row.code) for row in closed.audit()[before:]]
    assert found == [
        ("reader", "submit_job", "/v1/jobs", 403, "scope-missing"),
        ("submiter", "cancel_job", f"/v1/jobs/{closed.job}/cancel", 403, "not-owner"),
        ("adminer", "none", "/v1/nothing", 404, "not-found"),
        ("adminer", "create_key", f"/v1/keys/{made['id']}", 201, None),
        ("submiter", "submit_job", "/v1/jobs", 413, HTTPStatus(413).phrase.lower().replace(" ", "-")),
        (None, "none", "/v1/jobs", 403, "cross-site-refused"),
    ]
    assert closed.audit()[before].request_id == "mine"
    assert closed.audit()[before].key_id == closed.keys["read"].split("_")[1]
    everything = str([vars(row) for row in closed.audit()]) + caplog.text + str([vars(record) for record in caplog.records])
    assert "submit_job" in everything and len(caplog.records) > 5
    assert secret not in everything
    assert not any(key.rpartition("_")[2] in everything for key in (*closed.keys.values(), made["key"]))


def test_the_log_is_read_by_who_what_and_when(closed: Closed) -> None:
    admin = bearer(closed.keys["admin"])
    for name in ("dave", "erin"):
        closed.http.post("/v1/keys", json={"name": name}, headers=admin)

    def page(**params: Any) -> Any:
        return closed.http.get("/v1/audit", params=params, headers=admin).json()

    first = page(who="adminer", action="create_key", limit=1)
    second = page(who="adminer", action="create_key", limit=1, cursor=first["next_cursor"])
    assert first["items"][0]["id"] > second["items"][0]["id"]
    assert page(who="nobody")["items"] == []
    moment = first["items"][0]["at"]
    assert all(item["at"] >= moment for item in page(since=moment)["items"])
    assert all(item["at"] < moment for item in page(until=moment)["items"])
    assert closed.http.get("/v1/audit", params={"since": "yesterday"}, headers=admin).status_code == 422
    assert page(action="create_key", cursor=first["next_cursor"])["code"] == "cursor-invalid"


def test_unknown_senders_cannot_fill_the_log(engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.http.access.audit.MOST_UNKNOWN", 3)
    with transaction(engine) as session:
        admin = keys.create(session, "admin", [Scope.ADMIN], "test").text
    with httpx.Client(transport=InProcess(create_app(settings)), base_url="http://test") as http:
        for _ in range(10):
            assert http.post("/v1/jobs").status_code == 401
        assert len(http.get("/v1/audit", headers=bearer(admin)).json()["items"]) == 3
        monkeypatch.setattr("api.http.access.audit.MINUTE", 0.0)
        http.post("/v1/jobs")
        assert http.get("/v1/audit", headers=bearer(admin)).json()["items"][0]["unlisted"] == 7


def test_a_database_that_does_not_answer_is_told_and_lets_nobody_in(tmp_path: Path) -> None:
    app = create_app(Settings(home=tmp_path, database_url="postgresql://x:secret@127.0.0.1:1/none"))
    with httpx.Client(transport=InProcess(app), base_url="http://test") as http:
        for method in ("GET", "POST"):
            answer = http.request(method, "/v1/jobs", headers=bearer(WRONG))
            assert answer.status_code == 503 and answer.json()["code"] == "database-unreachable"
            assert "secret" not in answer.text
        assert http.get("/healthz").status_code == 200
