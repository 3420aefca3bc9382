"""What a command loads: what it needs, so that `--help` and commands that ask a server are quick."""

import json
import subprocess
import sys
from typing import Any

import pytest
import typer

from api.cli.registry import COMMANDS, ImportedOnUse
from api.demo.local_servers import free_port
from api.server import Service
from interp.config.settings import Settings
from interp.store.db.engine import make_engine
from tests import databases
from tests.api import synthetic
from tests.api.synthetic import NAME

SERVER_SIDE = ("torch", "transformers", "scipy", "numpy", "celery", "kombu", "sqlalchemy", "alembic", "openai", "fastapi", "starlette", "uvicorn")
# What a command that reads a local SQLite database does without.
WITHOUT_A_SERVER = {*SERVER_SIDE, "httpx", "anyio", "psycopg", "opentelemetry", "structlog", "genai_prices"} - {"sqlalchemy", "numpy"}
ON_THE_SERVERS_MACHINE = {"serve", "run", "worker", "doctor", "demo", "fake-llm", "db"}
CLIENTS = sorted(set(COMMANDS) - ON_THE_SERVERS_MACHINE)
RUN = """
import json, sys
from api.cli import main
try:
    main()
except SystemExit as ended:
    assert not ended.code, ended
sys.stderr.write("\\n" + json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def loaded(*arguments: str, environment: dict[str, str] | None = None) -> set[str]:
    """The packages that a command leaves in its process."""
    done = subprocess.run([sys.executable, "-c", RUN, *arguments], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_loads_no_command(option: str) -> None:
    assert not loaded(option) & {*SERVER_SIDE, "pydantic", "httpx", "rich", "yaml"}


def test_listing_jobs_of_a_server_loads_nothing_of_the_servers(listening: dict[str, str]) -> None:
    assert not loaded("job", "list", environment=listening) & {*SERVER_SIDE, "yaml"}


@pytest.mark.parametrize("command", ["job", "dictionaries", "runs", "features", "feature", "provenance", "export"])
def test_reading_without_a_server_loads_neither_an_app_nor_scorers(book: dict[str, str], command: str) -> None:
    names = {"job": ("list",), "features": (NAME,), "feature": (f"{NAME}:3",), "provenance": (f"{NAME}:3",), "export": (NAME,)}
    found = loaded(command, *names.get(command, ()), environment=book)
    assert "sqlalchemy" in found, "nobody else was asked"
    assert not found & WITHOUT_A_SERVER
    if command == "job":
        assert "numpy" not in found


def test_no_command_that_asks_a_server_imports_what_the_server_is_made_of() -> None:
    code = f"import sys; from api.cli.registry import *; [ImportedOnUse(COMMANDS)[name] for name in {CLIENTS}]; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {name.partition(".")[0] for name in done.stdout.split()} & set(SERVER_SIDE)


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a command line that has a filled SQLite database and no server."""
    settings = Settings(home=tmp_path_factory.mktemp("book"), port=free_port())
    databases.upgrade(settings.database_url)
    engine = make_engine(settings.database_url)
    synthetic.fill(engine)
    engine.dispose()
    return settings.environment()


@pytest.fixture(scope="module")
def listening(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The environment of a command line whose server answers."""
    settings = Settings(home=tmp_path_factory.mktemp("home"))
    with Service(settings, "127.0.0.1", 0, workers=False) as service:
        yield settings.model_copy(update={"api_url": service.url}).environment()


@pytest.mark.parametrize("name", COMMANDS)
def test_summaries_are_the_first_sentences_of_the_commands(name: str) -> None:
    command = ImportedOnUse(COMMANDS)[name]
    help_text = " ".join(str(command.help).split("\n\n")[0].split())
    assert f"{help_text} ".startswith(f"{COMMANDS[name].summary} ")
    assert command.name == name
    assert isinstance(command, typer.core.TyperCommand | typer.core.TyperGroup)
