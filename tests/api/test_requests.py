"""Requests that are nearly right are told what is wrong; pages for readers ask nothing of another host; HEAD and gzip."""

import ast
import json
import re
from pathlib import Path

import httpx
import pytest

from api.app import create_app
from api.server import Service
from benches.in_process import InProcess
from interp.config.settings import Settings
from interp.store.db.engine import make_engine
from tests import databases
from tests.api.synthetic import NAME
from tests.store import steps

ROOT = Path(__file__).parents[2]
JSON = {"Content-Type": "application/json"}
SPEC = {"subject": {"model": "/m"}, "dictionary": {"source": "/d"}, "corpus": {"path": "/c"}}
BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


def paths(http: httpx.Client) -> list[tuple[str, str]]:
    """Every endpoint of the API with an address, by method."""
    fill = {"dictionary": NAME, "index": "3", "job_id": "none", "code": "not-found", "run": "1"}
    found = http.get("/openapi.json").json()["paths"]
    filled = {path: re.sub(r"\{(\w+)\}", lambda match: fill.get(match[1], "1"), path) for path in found}
    return [(method.upper(), filled[path]) for path, methods in found.items() for method in methods] + [("GET", "/metrics"), ("GET", "/problems")]


def test_unknown_query_parameters_are_refused_everywhere(http: httpx.Client) -> None:
    asked = paths(http)
    assert len(asked) > 15
    for method, path in asked:
        response = http.request(method, path, params={"no_such_thing": "1"})
        assert response.status_code == 422, (method, path, response.text)
        assert response.json()["errors"][0]["field"] == "query.no_such_thing"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (f"/v1/dictionaries/{NAME}/features?min_scor=0.5", "Did you mean min_score"),
        ("/v1/jobs?stat=failed", "Did you mean status"),
        ("/v1/explanations?zzz=1", "Known: "),
        ("/healthz?verbose=1", "This endpoint takes none."),
        (f"/v1/dictionaries/{NAME}/features/3?item=false", "Did you mean items"),
    ],
)
def test_a_misspelt_parameter_is_told_what_was_meant(http: httpx.Client, path: str, expected: str) -> None:
    response = http.get(path)
    assert response.status_code == 422
    assert expected in response.json()["detail"]


@pytest.mark.parametrize(
    ("body", "headers", "expected"),
    [
        (json.dumps(SPEC), {"Content-Type": "text/plain"}, "`Content-Type: application/json`"),
        (json.dumps(SPEC), {}, "`Content-Type: application/json`"),
        ('{"subject": ', JSON, "The body is no JSON"),
        ("[1]", JSON, "Send a JSON object"),
        ("", JSON, "Send a JSON object"),
        (json.dumps(SPEC | {"scorer": ["detection"]}), JSON, "Did you mean scorers?"),
        (json.dumps(SPEC | {"corpus": {"path": "/c", "max_token": 5}}), JSON, "Did you mean max_tokens or max_documents?"),
        (json.dumps(SPEC | {"collection": {"windows": 64}}), JSON, "Did you mean window?"),
        (json.dumps(SPEC | {"zzzz": 1}), JSON, "Known: "),
    ],
)
def test_a_body_that_is_nearly_right_is_told_what_is_wrong(http: httpx.Client, body: str, headers: dict[str, str], expected: str) -> None:
    response = http.post("/v1/jobs", content=body.encode(), headers=headers)
    assert response.status_code == 422, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert expected in problem["detail"] + problem["cure"], problem


def test_every_problem_has_a_page_for_readers_and_json_for_programs(http: httpx.Client) -> None:
    kinds = http.get("/problems").json()
    assert {kind["code"] for kind in kinds} >= codes()
    index = http.get("/problems", headers=BROWSER).text
    for kind in kinds:
        page = http.get(f"/problems/{kind['code']}", headers=BROWSER)
        assert page.headers["content-type"].startswith("text/html")
        assert kind["code"] in page.text
        assert f'href="/problems/{kind["code"]}"' in index
        assert http.get(f"/problems/{kind['code']}", headers={"Accept": "*/*"}).json() == kind


def codes() -> set[str]:
    """The codes of all errors that the service's code defines, but for those of the command line."""
    found = set()
    for path in sorted(path for folder in ("api", "interp", "workers") for path in (ROOT / folder).rglob("*.py")):
        if {"cli", "demo"} & set(path.parts) or path.name == "server.py":
            continue  # raised in the command line's process, and never answered by a server
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                found |= {str(keyword.value.value) for keyword in node.keywords if keyword.arg == "code" and isinstance(keyword.value, ast.Constant)}
    assert "disk-full" in found
    return found


def test_the_page_of_all_endpoints_asks_nothing_of_another_host(http: httpx.Client) -> None:
    page = http.get("/docs", headers=BROWSER)
    assert page.status_code == 200
    links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert links
    assert not [link for link in [*links, *re.findall(r"https?://[^\"'\s<]+", page.text)] if "://" in link]
    for link in links:
        assert http.get(link).status_code == 200, link
    assert '"validatorUrl": null' in page.text
    style = (ROOT / "api/static/swagger-ui/swagger-ui.css").read_text()
    assert not re.findall(r"url\(['\"]?https?:|@import", style)
    assert http.get("/redoc").status_code == 404


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/v1/jobs", f"/v1/dictionaries/{NAME}/features/3"])
def test_head_is_answered_as_get_without_the_body(http: httpx.Client, path: str) -> None:
    got, head = http.get(path), http.head(path)
    assert head.status_code == got.status_code == 200
    assert head.content == b""
    assert head.headers["content-type"] == got.headers["content-type"]


def test_large_answers_are_packed_for_those_who_ask_and_streams_are_not(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    databases.upgrade(settings.database_url)
    engine = make_engine(settings.database_url)
    job = steps.submit(engine)
    engine.dispose()
    with Service(settings, "127.0.0.1", 0, workers=False) as service, httpx.Client(base_url=service.url, timeout=60) as http:
        packed = http.get("/openapi.json", headers={"Accept-Encoding": "gzip"})
        plain = http.get("/openapi.json", headers={"Accept-Encoding": "identity"})
        assert packed.headers["content-encoding"] == "gzip"
        assert "content-encoding" not in plain.headers
        assert packed.json() == plain.json()
        assert "content-encoding" not in http.get("/healthz", headers={"Accept-Encoding": "gzip"}).headers
        with http.stream("GET", f"/v1/jobs/{job}/events", headers={"Accept-Encoding": "gzip"}) as stream:
            assert "content-encoding" not in stream.headers
            assert next(stream.iter_raw())


def test_a_probe_by_head_of_a_service_that_is_not_ready_says_so(tmp_path: Path) -> None:
    with httpx.Client(transport=InProcess(create_app(Settings(home=tmp_path))), base_url="http://test") as http:
        assert http.head("/readyz").status_code == 503
