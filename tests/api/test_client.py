"""The client library: importable without the service's dependencies."""

import subprocess
import sys

import pytest

import glossator
from glossator import ApiError, Client, UnreachableError

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
    "rich",
    "redis",
)
OURS = ("api", "interp", "workers", "migrations")


def test_the_client_imports_none_of_the_services_dependencies() -> None:
    code = f"import sys; sys.modules |= dict.fromkeys({(*SERVICE, *OURS)}); import glossator; print(glossator.Client().url, glossator.__version__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["http://127.0.0.1:8420", glossator.__version__]


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
