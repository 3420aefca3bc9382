"""The client library: both clients on a socket, typed answers, tables, imports."""

import asyncio
import inspect
import json
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

import glossator
from api import client_models
from api.server import Service
from glossator import ApiError, AsyncClient, Client, PackageMissingError, UnreachableError, models, session
from glossator.records import METHODS, Record
from tests.api.synthetic import FEATURES, NAME
from tests.deploy.house import packages

SERVICE = (
    "fastapi",
    "starlette",
    "uvicorn",
    "sqlalchemy",
    "alembic",
    "celery",
    "torch",
    "numpy",
    "pydantic",
    "pydantic_settings",
    "typer",
    "redis",
    "psycopg",
    "pandas",
    "polars",
    "IPython",
)
OURS = ("api", "interp", "workers", "migrations")
# Of a running server and of browsers.
OPERATIONAL = {"get_health", "get_readiness", "get_problem_kind", "get_session", "begin_session", "end_session"}


def test_the_client_imports_none_of_the_services_dependencies() -> None:
    code = f"import sys; sys.modules |= dict.fromkeys({(*SERVICE, *OURS)}); import glossator; print(glossator.Client().url, glossator.__version__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["http://127.0.0.1:8420", glossator.__version__]


def test_the_base_install_has_no_engine_no_broker_and_no_database() -> None:
    base = packages()
    assert {"httpx", "httpx-sse"} <= base
    assert not base & {"torch", "celery", "redis", "sqlalchemy", "psycopg", "fastapi", "uvicorn", "numpy", "scipy"}
    assert {"fastapi", "celery", "sqlalchemy", "psycopg"} <= packages("service")
    assert {"fastapi", "torch"} <= packages("models")


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://127.0.0.1:99999", f"http://{'a' * 70}.example", "nonsense"])
def test_nobody_at_an_address_is_one_error_with_a_cure(url: str) -> None:
    with pytest.raises(UnreachableError) as error, Client(url) as client:
        client.get_job("x")
    assert "glossator serve" in error.value.cure
    assert url in error.value.what


def test_an_error_keeps_the_problem_document() -> None:
    error = ApiError({"code": "not-found", "status": 404, "detail": "No job x.", "cure": "List them.", "details": {"job": "x"}})
    assert (error.code, error.status, error.what, error.cure, error.problem["details"]) == ("not-found", 404, "No job x.", "List them.", {"job": "x"})
    assert str(error) == "No job x. List them."


def test_both_clients_read_the_same_page_by_page(book_server: Service, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "PAGE_SIZE", 5)

    async def read() -> tuple[Any, ...]:
        async with AsyncClient(book_server.url) as other:
            features = [row async for row in other.list_features(NAME, sort="score", order="desc")]
            with pytest.raises(ApiError) as refused:
                await other.get_dictionary("nobody")
            return features, await other.get_feature(NAME, 3, items=True), await other.is_ready(), refused.value.status

    features, feature, ready, refused = asyncio.run(read())
    assert features == client.list_features(NAME, sort="score", order="desc").to_list()
    assert len(features) == FEATURES > 2 * 5
    assert len(client.list_features(NAME, 7).to_list()) == 7
    assert feature == client.get_feature(NAME, 3, items=True)
    assert (ready, refused) == (True, 404)


def test_answers_have_typed_attributes(client: Client) -> None:
    found = client.get_feature(NAME, 3, items=True)
    assert isinstance(found, models.FeatureAnswer)
    assert found.explanations[0].scores[0].value == found["explanations"][0]["scores"][0]["value"]
    assert isinstance(found.evidence.created_at, datetime)
    score = found.explanations[0].scores[0]
    assert score.items_ is not None
    assert score.items_[0].kind == score["items"][0]["kind"]
    assert {"explanations", "contexts"} <= set(dir(found))
    with pytest.raises(AttributeError, match="no field 'novel'"):
        getattr(found, "novel")  # noqa: B009


def test_a_newer_server_is_understood() -> None:
    """Unknown fields are kept; values of another form than described stay as they are."""
    job = models.JobAnswer({"id": "x", "novel": {"a": 1}, "created_at": "soon", "stages": "none", "control": 3, "status": "resting"})
    assert (job.id, job.status, job.created_at, job.stages, job.control) == ("x", "resting", "soon", "none", 3)
    assert getattr(job, "novel") == {"a": 1}  # noqa: B009


def test_the_generated_models_are_current(openapi: dict[str, Any]) -> None:
    assert client_models.FILE.read_text() == client_models.source(openapi), "the API's schemas changed: run `make client-models`"


def test_examples_of_answers_have_the_attributes_of_their_models(openapi: dict[str, Any]) -> None:
    def check(record: Record) -> int:
        names = {name[:-1] if name.endswith("_") and name[:-1] in METHODS else name for name in type(record).__annotations__}
        assert set(record) <= names, type(record)
        inner = [getattr(record, f"{name}_" if name in METHODS else name) for name in record]
        return 1 + sum(check(one) for value in inner for one in (value if isinstance(value, list) else [value]) if isinstance(one, Record))

    checked = 0
    for methods in openapi["paths"].values():
        for operation in methods.values():
            for content in (content for answer in operation["responses"].values() for content in answer["content"].values()):
                if "$ref" in content.get("schema", {}):
                    checked += check(getattr(models, content["schema"]["$ref"].rpartition("/")[2])(content["example"]))
    assert checked > 100


def test_both_clients_have_every_operation(openapi: dict[str, Any]) -> None:
    operations = {operation["operationId"] for methods in openapi["paths"].values() for operation in methods.values()} - OPERATIONAL
    for kind in (Client, AsyncClient):
        assert operations <= set(dir(kind))
    own = {name for name, _ in inspect.getmembers(AsyncClient, inspect.isfunction) if not name.startswith("_")}
    assert own == {name for name, _ in inspect.getmembers(Client, inspect.isfunction) if not name.startswith("_")}
    assert all(inspect.getdoc(getattr(Client, name)) for name in own)


def test_listings_become_tables(client: Client) -> None:
    table = client.list_features(NAME, sort="score", order="desc").to_pandas()
    assert list(table["index"]) == [row["index"] for row in client.list_features(NAME, sort="score", order="desc")]
    assert table.set_index("index").loc[9, "score"] == pytest.approx(client.get_feature(NAME, 9).score)
    polars = client.list_features(NAME).to_polars()
    assert polars.columns == list(table.columns)
    assert polars.height == FEATURES


@pytest.mark.parametrize("package", ["pandas", "polars"])
def test_a_table_without_its_package_names_the_extra(client: Client, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(PackageMissingError, match=rf"pip install 'glossator\[{package}\]'"):
        getattr(client.list_features(NAME), f"to_{package}")()
    assert package in packages(package) - packages()


BASE_ONLY = """
import sys
sys.modules |= dict.fromkeys({blocked!r})
from api.cli import main
main()
"""


def on_base_install(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line where no package of an extra can be imported."""
    modules = {"psycopg": "psycopg", "standardwebhooks": "standardwebhooks", "opentelemetry-api": "opentelemetry"}
    extras = {modules.get(name, name.replace("-", "_")) for name in packages("models") - packages() - {"glossator"}}
    code = BASE_ONLY.format(blocked=sorted(extras))
    return subprocess.run([sys.executable, "-c", code, *arguments], env=os.environ | environment, capture_output=True, text=True, check=False)


def test_the_reading_commands_need_the_base_install_alone(book_server: Service, tmp_path: Path) -> None:
    ran = on_base_install("features", NAME, "--json", GLOSSATOR_API_URL=book_server.url, GLOSSATOR_HOME=str(tmp_path))
    assert ran.returncode == 0, ran.stderr
    assert len(json.loads(ran.stdout)) == FEATURES


def test_a_command_without_its_extra_says_what_to_install(tmp_path: Path) -> None:
    ran = on_base_install("serve", GLOSSATOR_HOME=str(tmp_path))
    assert ran.returncode == 2
    assert "pip install 'glossator[service]'" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_folder_is_uploaded_by_both_clients(book_server: Service, client: Client, tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "a.txt").write_text("a" * 3_000_000)
    sent: list[int] = []

    async def upload() -> models.FileAnswer:
        async with AsyncClient(book_server.url) as other:
            return await other.upload_file(tmp_path / "corpus")

    made = client.upload_file(tmp_path / "corpus", progress=sent.append)
    assert sent == [1 << 20, 2 << 20, 3_000_000]
    assert asyncio.run(upload()).id == made.id
    assert client.get_file(made.id)["content"][0]["path"] == "a.txt"
    client.delete_file(made.id)
    assert client.list_files().to_list() == []
