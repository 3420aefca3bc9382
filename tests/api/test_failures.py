"""Wrong settings: every command says which, in a few lines and with the cure, and ends with an error."""

import io
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

from api.app import create_app
from api.cli import main
from api.demo.local_servers import free_port
from benches.in_process import InProcess
from interp.config.environment import check_names
from interp.config.settings import Settings, settings
from interp.domain.errors import SettingsInvalidError
from interp.store import migrate
from interp.store.db.engine import make_engine

RUN = "from api.cli import main; main()"
COMMANDS = (["job", "list"], ["serve", "--port", "0"], ["worker", "upkeep"], ["db", "upgrade"], ["doctor"])
NOBODY = f"postgresql://somebody:hidden-password@127.0.0.1:{free_port()}/none"


def run(home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"GLOSSATOR_HOME": str(home), "GLOSSATOR_PORT": "1"} | variables
    return subprocess.run([sys.executable, "-c", RUN, *arguments], env=environment, capture_output=True, text=True, timeout=150, check=False)


def told(done: subprocess.CompletedProcess[str]) -> str:
    """What a command that failed printed: a few lines, and no traceback."""
    assert done.returncode == 2, done
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    assert "hidden-password" not in done.stdout + done.stderr
    assert 1 <= len(done.stderr.splitlines()) <= 6, done.stderr
    assert "cure: " in done.stderr
    return done.stderr


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_misspelt_variable_stops_every_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str]
) -> None:
    """In this process: settings are the first that a command looks at."""
    for name, value in {"GLOSSATOR_HOME": str(tmp_path), "GLOSSATOR_PORT": "1", "GLOSSATOR_DATABASE_ULR": "x"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["glossator", *arguments])
    settings.cache_clear()
    with pytest.raises(SystemExit) as exit_:
        main()
    settings.cache_clear()
    printed = capsys.readouterr()
    done = subprocess.CompletedProcess(arguments, int(str(exit_.value.code)), printed.out, printed.err)
    assert "Did you mean GLOSSATOR_DATABASE_URL?" in told(done)


def test_a_worker_process_of_its_own_says_the_same(tmp_path: Path) -> None:
    environment = os.environ | {"GLOSSATOR_HOME": str(tmp_path), "GLOSSATOR_DATABASE_URL": "nonsense"}
    done = subprocess.run([sys.executable, "-m", "workers.process", "llm"], env=environment, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "postgresql://user:password@host" in done.stderr


@pytest.mark.parametrize("arguments", [["job", "list"], ["serve", "--port", "0"], ["db", "upgrade"]], ids=" ".join)
def test_a_database_that_does_not_answer_is_told(tmp_path: Path, arguments: list[str]) -> None:
    message = told(run(tmp_path, *arguments, GLOSSATOR_DATABASE_URL=NOBODY))
    assert "The database does not answer." in message
    assert "GLOSSATOR_DATABASE_URL" in message


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("GLOSSATOR_DATABASE_URL", "mysql://u:hidden-password@host/db", "postgresql://user:password@host"),
        ("GLOSSATOR_DATABASE_URL", "postgres://u@host/db", "postgresql://"),
        ("GLOSSATOR_BROKER_URL", "localhost:6379", "redis://host:6379/0"),
        ("GLOSSATOR_PORT", "http", "GLOSSATOR_PORT"),
        ("GLOSSATOR_LEASE_SECONDS", "1", "heartbeat_interval_seconds"),
        ("GLOSSATOR_LLM_KEYS", "hidden-password", "GLOSSATOR_LLM_KEYS: its value is no JSON"),
        ("GLOSSATOR_WEBHOOK_SECRET", "hidden-password!", "GLOSSATOR_WEBHOOK_SECRET"),
        ("OPENAI_API_KEY", "fine", ""),
    ],
)
def test_a_wrong_value_names_its_variable_and_no_secret(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, expected: str) -> None:
    monkeypatch.setenv(variable, value)
    if not expected:
        Settings()
        return
    with pytest.raises(SettingsInvalidError) as error:
        Settings()
    assert expected in str(error.value)
    assert "hidden-password" not in str(error.value)
    assert error.value.cure


def test_a_url_that_no_driver_reads_is_told_without_its_password() -> None:
    with pytest.raises(SettingsInvalidError) as error:
        make_engine("postgresql://u:hidden-password@host:port/db")
    assert "hidden-password" not in str(error.value)


def test_names_that_are_like_no_setting_are_warned_of_once_and_those_of_other_programs_not_at_all() -> None:
    told_to = io.StringIO()
    environment = {
        "GLOSSATOR_QUX": "1",
        "GLOSSATOR_SERVICE_HOST": "10.0.0.1",
        "GLOSSATOR_API_PORT_8420_TCP_ADDR": "10.0.0.1",
        "GLOSSATOR_TEST_REDIS_URL": "redis://",
        "glossator_home": "/x",
        "PATH": "/bin",
    }
    for _ in range(2):
        check_names(environment, {"home", "database_url"}, told_to)
    assert told_to.getvalue().count("GLOSSATOR_QUX") == 1
    assert len(told_to.getvalue().splitlines()) == 1


def test_a_database_of_another_version_is_told(tmp_path: Path) -> None:
    database_url = Settings(home=tmp_path).database_url
    migrate.upgrade(database_url, "0002")
    assert "glossator db upgrade" in told(run(tmp_path, "job", "list"))
    engine = make_engine(database_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    assert "another version" in told(run(tmp_path, "db", "upgrade"))


def test_the_api_tells_a_database_that_is_away_as_a_problem() -> None:
    app = create_app(Settings(database_url=NOBODY))
    with httpx.Client(transport=InProcess(app), base_url="http://test") as http:
        answer = http.get("/v1/jobs")
    assert (answer.status_code, answer.json()["code"]) == (503, "database-unreachable")
    assert answer.headers["retry-after"]
    assert "hidden-password" not in answer.text
