"""What a command loads: what it needs, so that `--help` and commands that ask a server are quick."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from api.cli.commands import COMMANDS, ImportedOnUse
from api.local_servers import free_port
from api.service import Service
from interp.settings import Settings
from interp.store import migrate

SERVER_SIDE = ("torch", "transformers", "scipy", "numpy", "celery", "kombu", "sqlalchemy", "alembic", "openai", "fastapi", "starlette", "uvicorn")
ON_THE_SERVERS_MACHINE = {"serve", "worker", "doctor", "demo", "fake-llm", "db"}
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
    assert not loaded("jobs", environment=listening) & {*SERVER_SIDE, "yaml"}


def test_listing_jobs_without_a_server_loads_only_what_reads(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, port=free_port())
    migrate.upgrade(settings.database_url)
    assert not loaded("jobs", environment=settings.environment()) & {"scipy", "alembic", "celery", "kombu", "genai_prices", "openai", "uvicorn"}


def test_no_command_that_asks_a_server_imports_what_the_server_is_made_of() -> None:
    code = f"import sys; from api.cli.commands import *; [ImportedOnUse(COMMANDS)[name] for name in {CLIENTS}]; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {name.partition(".")[0] for name in done.stdout.split()} & set(SERVER_SIDE)


@pytest.fixture(scope="module")
def listening(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The environment of a command line whose server answers."""
    settings = Settings(home=tmp_path_factory.mktemp("home"))
    with Service(settings, "127.0.0.1", 0, workers=False) as service:
        yield settings.model_copy(update={"url": service.url}).environment()


@pytest.mark.parametrize("name", COMMANDS)
def test_summaries_are_the_first_sentences_of_the_commands(name: str) -> None:
    command = ImportedOnUse(COMMANDS)[name]
    help_text = " ".join(str(command.help).split("\n\n")[0].split())
    assert f"{help_text} ".startswith(f"{COMMANDS[name].summary} ")
    assert command.name == name
    assert isinstance(command, typer.core.TyperCommand | typer.core.TyperGroup)
