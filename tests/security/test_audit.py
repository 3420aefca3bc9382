"""A change and its entry in the audit log are one commit, whenever the process ends."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, func, select

from api.app import create_app
from api.http.access import audit
from benches.in_process import InProcess
from interp.config.settings import Settings
from interp.store.db.engine import SQLAlchemyError, snapshot, transaction
from interp.store.db.tables import ApiKeyRow, AuditRow, FeatureListRow, JobRow
from interp.store.queue import jobs
from tests.store import steps

# A service that is killed at a moment of the commit of a new list.
KILLED = """
import os, sys
import httpx
from api.app import create_app
from api.http.access.audit import RequestEntry
from benches.in_process import InProcess
from interp.config.settings import Settings

moment, home, url = sys.argv[1:]
written = RequestEntry.before_commit
if moment == "before":
    RequestEntry.before_commit = lambda self, session: (written(self, session), os._exit(9))
else:
    RequestEntry.after_commit = lambda self: os._exit(9)
with httpx.Client(transport=InProcess(create_app(Settings(home=home, database_url=url))), base_url="http://test") as http:
    http.post("/v1/lists", json={"name": "odd"})
"""


def log(engine: Engine) -> list[tuple[str, str, int]]:
    with snapshot(engine) as session:
        return [(row.action, row.target, row.status) for row in session.scalars(select(AuditRow).order_by(AuditRow.id))]


def number(engine: Engine, table: Any) -> int:
    with snapshot(engine) as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_kill_leaves_both_or_neither(moment: str, engine: Engine, settings: Settings, tmp_path: Path) -> None:
    asked = [sys.executable, "-c", KILLED, moment, str(tmp_path / "home"), settings.database_url]
    assert subprocess.run(asked, cwd=Path(__file__).parents[2], timeout=120, check=False).returncode == 9
    with snapshot(engine) as session:
        made = list(session.scalars(select(FeatureListRow.id)))
    assert len(made) == (moment == "after")
    assert log(engine) == [("create_feature_list", f"/v1/lists/{made_id}", 201) for made_id in made]


@pytest.fixture
def http(settings: Settings) -> httpx.Client:
    return httpx.Client(transport=InProcess(create_app(settings)), base_url="http://test")


def test_a_change_whose_entry_cannot_be_written_is_not_stored(http: httpx.Client, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise SQLAlchemyError("no room for an entry")

    with monkeypatch.context() as patched:
        patched.setattr(audit.audit, "write", refused)
        assert http.post("/v1/lists", json={"name": "odd"}).status_code >= 500
        assert http.post("/v1/keys", json={"name": "carol", "scopes": ["admin"]}).status_code >= 500
    assert (number(engine, FeatureListRow), number(engine, ApiKeyRow), log(engine)) == (0, 0, [])
    assert http.post("/v1/lists", json={"name": "odd"}).status_code == 201


def test_each_change_has_one_entry_with_the_address_of_what_it_made(http: httpx.Client, engine: Engine) -> None:
    with transaction(engine) as session:
        job = jobs.submit(session, steps.SPEC, steps.Checked()).id
    asked: list[tuple[str, str, Any]] = [
        ("POST", "/v1/lists", {"name": "odd"}),
        ("PATCH", "/v1/lists/odd", {"description": "of odd ones"}),
        ("POST", "/v1/lists", {"name": "odd"}),
        ("DELETE", "/v1/lists/odd", None),
        ("POST", "/v1/files?name=a.txt", None),
        ("POST", f"/v1/jobs/{job}/pause", None),
        ("POST", f"/v1/jobs/{job}/cancel", None),
        ("POST", "/v1/keys", {"name": "carol", "scopes": ["admin"]}),
    ]
    answers = [http.request(method, path, json=body) if body else http.request(method, path, content=b"text") for method, path, body in asked]
    assert [answer.status_code for answer in answers] == [201, 200, 409, 200, 201, 202, 202, 201]
    expected = [
        (answer.headers.get("location") or path.partition("?")[0], answer.status_code) for (_, path, _), answer in zip(asked, answers, strict=True)
    ]
    assert [entry[1:] for entry in log(engine)] == expected


def test_an_answer_that_says_otherwise_has_an_entry_of_its_own(http: httpx.Client, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("after the commit")

    with transaction(engine) as session:
        job = jobs.submit(session, steps.SPEC, steps.Checked()).id
    http.post(f"/v1/jobs/{job}/pause")
    monkeypatch.setattr("api.routes.jobs.notify_workers", broken)
    assert http.post(f"/v1/jobs/{job}/resume").status_code == 500
    assert log(engine)[1:] == [("resume_job", f"/v1/jobs/{job}/resume", status) for status in (202, 500)]
    with snapshot(engine) as session:
        assert session.scalar(select(JobRow.status)) != "paused"
