"""Documents of the API: changelog, examples that run, pages without other hosts."""

import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.server import Service
from tests.api.synthetic import NAME

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLES = re.findall(r"(?ms)^```python\n(.*?)^```", (DOCS / "api.md").read_text(encoding="utf-8"))


def test_the_changelog_names_every_operation_and_no_other(openapi: dict[str, Any]) -> None:
    listed = re.findall(r"(?m)^\| `([A-Z]+ /\S+)` \| `(\w+)` \|", (DOCS / "api-changelog.md").read_text(encoding="utf-8"))
    operations = {(f"{method.upper()} {path}", one["operationId"]) for path, methods in openapi["paths"].items() for method, one in methods.items()}
    assert set(listed) == operations, "the API's operations changed: name them in docs/api-changelog.md, and run `make client-models`"


@pytest.mark.parametrize("place", range(len(EXAMPLES)))
def test_examples_of_the_document_run(place: int, book_server: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("GLOSSATOR_API_URL", book_server.url)
    code = EXAMPLES[place].replace("http://127.0.0.1:8420", book_server.url).replace("pystdlib@1-res", NAME)
    exec(compile(code, f"docs/api.md, example {place}", "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out


def test_the_page_of_the_api_loads_nothing_from_other_hosts(book_server: Service) -> None:
    """Everything that the page, its script and its style refer to is on this server."""
    page = httpx.get(f"{book_server.url}/docs", timeout=60).text
    assets = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(assets) == 3
    for asset in assets:
        assert asset.startswith("/static/")
        found = httpx.get(f"{book_server.url}{asset}", timeout=60)
        assert found.status_code == 200
        if asset.endswith(".css"):
            assert not re.search(r"url\(\s*[\"']?(?:https?:)?//|@import", found.text)
    assert "https://" not in re.sub(r'"validatorUrl": null', "", page)
