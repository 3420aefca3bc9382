"""glossator doctor, and /readyz: what is wrong with a real installation is found, and named with its cure."""

import json
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, delete, insert
from typer.testing import CliRunner

from api.app import create_app
from api.cli import app, checks
from api.cli.commands import doctor
from api.demo.fake_llm.server import ScriptedServer
from api.demo.local_servers import LocalServer
from benches.in_process import InProcess
from interp.config.settings import Settings
from interp.store import migrate
from interp.store.db.engine import make_engine, transaction
from interp.store.db.tables import WorkerRow
from tests.store import steps

SECRET = "sk-doctor-1234567890"
Look = tuple[int, dict[str, dict[str, Any]]]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch takes seconds to import, and has a test of its own."""
    monkeypatch.setattr(checks, "CHECKS", tuple(check for check in checks.CHECKS if check is not checks.models))


def look(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Look:
    """The exit status, and the findings by name."""
    monkeypatch.setattr(doctor, "settings", lambda: settings)
    result = CliRunner().invoke(app, ["doctor", "--json"])
    assert not result.exception or isinstance(result.exception, SystemExit), result.exception
    found = json.loads(result.stdout)
    assert all(bool(finding["cure"]) != finding["well"] for finding in found)
    return result.exit_code, {finding["name"]: finding for finding in found}


def wrong(found: Look) -> set[str]:
    return {name for name, finding in found[1].items() if not finding["well"]}


@pytest.fixture
def service(tmp_path: Path, private_postgres: LocalServer, private_redis: LocalServer) -> Iterator[Settings]:
    """A service on servers of its own, both of which run."""
    private_postgres.restart()
    private_redis.restart()
    settings = Settings(home=tmp_path, database_url=private_postgres.url, broker_url=private_redis.url, lease_seconds=1e6)
    migrate.upgrade(settings.database_url)
    engine = make_engine(settings.database_url)
    begin_worker(engine, "gpu")
    begin_worker(engine, "llm")
    engine.dispose()
    yield settings


def begin_worker(engine: Engine, queue: str) -> None:
    """A worker of the queue that has just told of itself."""
    moment = datetime.now(UTC)
    row = {"owner": f"me/{queue}/1", "queue": queue, "name": queue, "version": "0", "loaded_models": [], "started_at": moment, "seen_at": moment}
    with transaction(engine) as session:
        session.execute(delete(WorkerRow).where(WorkerRow.owner == row["owner"]))
        session.execute(insert(WorkerRow).values(row))


def test_an_installation_before_its_first_start_is_well_and_looking_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    status, found = look(Settings(home=tmp_path), monkeypatch)
    assert status == 0, found
    assert "glossator" in found["versions"]["detail"]
    assert not list(tmp_path.iterdir())


def test_models_that_cannot_be_imported_are_named_with_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "MODELS", ("no_such_module_anywhere",))
    [finding] = checks.models(Settings(home=tmp_path))
    assert not finding.well
    assert "no_such_module_anywhere" in finding.detail
    assert "glossator[models]" in finding.cure


def test_without_models_an_installation_whose_workers_run_elsewhere_is_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "MODELS", ("no_such_module_anywhere",))
    [finding] = checks.models(Settings(home=tmp_path, broker_url="redis://127.0.0.1:1/0"))
    assert finding.well
    assert "no_such_module_anywhere" in finding.detail


def test_servers_that_do_not_answer_are_named_without_their_passwords(
    service: Settings, private_postgres: LocalServer, private_redis: LocalServer, monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    assert look(service, monkeypatch)[0] == 0
    private_redis.stop(signal.SIGKILL)
    found = look(service, monkeypatch)
    assert (found[0], wrong(found)) == (1, {"broker"})
    private_postgres.stop(signal.SIGKILL)
    away = service.model_copy(update={"database_url": service.database_url.replace("@", ":hidden-password@")})
    found = look(away, monkeypatch)
    assert (found[0], wrong(found)) == (1, {"broker", "database"})
    assert "hidden-password" not in json.dumps(found[1])


def test_a_database_of_another_version_is_found(service: Settings, monkeypatch: pytest.MonkeyPatch, quick: None) -> None:
    migrate.downgrade(service.database_url, "0002")
    found = look(service, monkeypatch)
    assert wrong(found) == {"database"}
    assert "glossator db upgrade" in found[1]["database"]["cure"]
    migrate.upgrade(service.database_url)
    assert not wrong(look(service, monkeypatch)) - {"workers"}, "the list of workers began anew"


def test_a_queue_without_a_worker_is_found_with_or_without_work(service: Settings, monkeypatch: pytest.MonkeyPatch, quick: None) -> None:
    engine = make_engine(service.database_url)
    assert not wrong(look(service, monkeypatch))
    with transaction(engine) as session:
        session.execute(delete(WorkerRow))
    found = look(service, monkeypatch)
    assert wrong(found) == {"workers"}
    assert found[1]["workers"]["cure"] == "Start `glossator worker gpu` and `glossator worker llm`, or `glossator serve` with its own workers."
    begin_worker(engine, "llm")
    steps.submit(engine)
    found = look(service, monkeypatch)
    assert wrong(found) == {"workers"}
    assert "none of gpu (1 chunks wait for one)" in found[1]["workers"]["detail"]
    assert "worker llm" not in found[1]["workers"]["cure"]
    begin_worker(engine, "gpu")
    found = look(service, monkeypatch)
    assert not wrong(found)
    assert found[1]["workers"]["detail"].startswith("1 gpu, 1 llm")
    engine.dispose()


def test_endpoints_are_asked_with_their_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: None) -> None:
    with ScriptedServer(key=SECRET) as server:
        good = Settings(home=tmp_path, llm_base_url=server.base_url, llm_api_key=SECRET)
        status, found = look(good, monkeypatch)
        assert status == 0, found
        assert "answers" in found["endpoint"]["detail"]
        refused = look(Settings(home=tmp_path, llm_base_url=server.base_url, llm_api_key="sk-wrong-key-0987"), monkeypatch)
        assert wrong(refused) == {"endpoint"}
        assert "GLOSSATOR_LLM_API_KEY" in refused[1]["endpoint"]["cure"]
    gone = look(good, monkeypatch)
    assert wrong(gone) == {"endpoint"}
    assert SECRET not in json.dumps([found, gone[1]])


def test_a_bucket_that_cannot_be_opened_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: None) -> None:
    found = look(Settings(home=tmp_path, artifacts_url="s3://no-such-bucket-anywhere", artifact_options={"nonsense": 1}), monkeypatch)
    assert wrong(found) == {"artifacts"}


def test_readiness_follows_the_database_and_tells_of_the_broker(service: Settings, private_postgres: LocalServer, private_redis: LocalServer) -> None:
    with httpx.Client(transport=InProcess(create_app(service)), base_url="http://test") as http:

        def until(status: int, **expected: bool) -> dict[str, str]:
            """Waits until the answer has this status, and the named checks are well or not."""
            end = time.monotonic() + 150
            while True:
                answer = http.get("/readyz")
                said = answer.json()["checks"]
                if answer.status_code == status and all((said[name] == "ok") == well for name, well in expected.items()):
                    return dict(said)
                assert time.monotonic() < end, (answer.status_code, said)
                time.sleep(0.05)

        until(200, database=True, migrations=True, broker=True, artifacts=True)
        private_redis.stop(signal.SIGKILL)
        assert "does not answer" in until(200, database=True, broker=False)["broker"]
        private_redis.start()
        until(200, broker=True)
        private_postgres.stop(signal.SIGKILL)
        until(503, database=False, migrations=False)
        assert http.get("/healthz").status_code == 200
        private_postgres.start()
        until(200, database=True, migrations=True)
        migrate.downgrade(service.database_url, "0002")
        assert "glossator db upgrade" in until(503, database=True, migrations=False)["migrations"]
        migrate.upgrade(service.database_url)
        until(200, migrations=True)
