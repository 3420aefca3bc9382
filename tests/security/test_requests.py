"""No request breaks the service: what cannot be stored or shown is refused at the edge, and what is stored takes nothing with it."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text

import interp.stats
from api.app import create_app
from api.http.body_limits import MAX_BODY_BYTES
from benches.in_process import InProcess
from glossator import ApiError, Client
from interp.config.settings import EXAMPLES, Settings
from interp.domain.spec import MOST_RANGES
from interp.store.db import engine as engines
from interp.store.listings import queries
from tests import databases
from tests.api import synthetic

JSON = {"content-type": "application/json"}
HALF = "\ud800"
# As JSON may write it, and as UTF-8 would if it could.
HALVES = (b"\\ud800", b"\\udfff and more", b"\xed\xa0\x80")
SPEC: dict[str, Any] = {
    "subject": {"model": str(EXAMPLES / "pystdlib" / "subject"), "device": "cpu"},
    "dictionary": {"source": str(EXAMPLES / "pystdlib" / "dictionary")},
    "corpus": {"path": str(Path(interp.stats.__file__).parent), "include": ["*.py"]},
    "features": [0],
    "explainers": ["pattern"],
    "scorers": ["detection"],
}


def texts_of(content: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The way to each text of a JSON value."""
    if isinstance(content, str):
        yield path
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for name, item in items:
        yield from texts_of(item, (*path, name))


def replaced(content: Any, path: tuple[str | int, ...], value: Any) -> Any:
    copy = json.loads(json.dumps(content))
    place = copy
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    return copy


def refused(answer: httpx.Response, status: int = 422) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["status"] == status
    assert problem["detail"]
    return problem


WHOLE = SPEC | {
    "subject": SPEC["subject"] | {"revision": "main", "dtype": "float32"},
    "dictionary": SPEC["dictionary"] | {"format": "auto", "name": "a@b", "hook_point": "blocks.0.hook_resid_post"},
    "corpus": SPEC["corpus"] | {"text_field": "text", "exclude": ["x"]},
    "features": "0-3",
    "explainers": [{"name": "pattern", "base": "contexts"}],
    "models": {"judge": {"model": "m", "base_url": "http://127.0.0.1/v1", "extra": {"a": {"b": ["c"]}}}},
    "webhook": {"url": "https://example.org/x"},
}


@pytest.mark.parametrize("path", list(texts_of(WHOLE)), ids=str)
def test_half_of_a_character_is_refused_in_every_field(http: httpx.Client, path: tuple[str | int, ...]) -> None:
    for half in HALVES:
        body = json.dumps(replaced(WHOLE, path, "HERE")).encode().replace(b"HERE", half)
        problem = refused(http.post("/v1/jobs", content=body, headers=JSON))
        assert problem["cure"]
        assert problem["errors"][0]["field"] in (".".join(["body", *map(str, path)]), "body")
    assert http.get("/v1/jobs").json()["items"] == []


@pytest.mark.parametrize("name", ["x", "subject", "models.judge.extra"])
def test_half_of_a_character_is_refused_in_a_name(http: httpx.Client, name: str) -> None:
    body = json.dumps({"subject": {HALF: 1}, HALF: {"a": [{HALF: HALF}]}}).encode()
    problem = refused(http.post("/v1/jobs", content=body, headers=JSON))
    assert all(error["field"].startswith("body") for error in problem["errors"])


@pytest.mark.parametrize(
    ("method", "path", "body"), [("POST", "/v1/jobs/none/resume", {"budget": HALF}), ("PUT", "/v1/dictionaries/x/current-run", {"run": HALF})]
)
def test_half_of_a_character_is_refused_in_every_body(http: httpx.Client, method: str, path: str, body: dict[str, str]) -> None:
    assert "surrogate" in refused(http.request(method, path, content=json.dumps(body), headers=JSON))["detail"]


@pytest.mark.parametrize(
    "target", ["/v1/jobs/%ED%A0%80", "/v1/jobs?cursor=%FF", "/v1/dictionaries/%00", "/v1/explanations?text=%ed%bf%bf", "/v1/jobs?%FF=1"]
)
def test_addresses_and_queries_are_text(http: httpx.Client, target: str) -> None:
    refused(http.get(target))


def test_headers_hold_no_control_characters(http: httpx.Client) -> None:
    for value in (b"a\x1b[2J", b"\x9b2J", b"\xc2\x9b2J", b"a\x00"):
        problem = refused(http.post("/v1/jobs", json=SPEC, headers=[(b"Idempotency-Key", value)]))
        assert problem["errors"][0]["field"] == "header.idempotency-key"
    assert http.get("/v1/jobs").json()["items"] == []


@pytest.mark.parametrize(
    "body",
    [
        b'{"seed": NaN}',
        b'{"control_share": Infinity}',
        b'{"budget": {"usd": 1e999}}',
        b'{"budget": {"calls": 9223372036854775808}}',
        b'{"seed": ' + b"9" * 5000 + b"}",
        b'{"models": {"judge": {"model": "m", "extra": {"a": -Infinity}}}}',
        b'{"models": {"judge": {"model": "m", "extra": ' + b'{"a":' * 70 + b"1" + b"}" * 70 + b"}}}",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        '{"seed": 1}'.encode("utf-16"),
        '{"seed": 1}'.encode("utf-32-le"),
        b'{"subject": {"model": "\\u0000"}}',
        b"\xff\xfe",
        b"\0",
        b"NaN",
        b'"\\udc00"',
    ],
    ids=lambda body: repr(body[:40]),
)
def test_numbers_and_depth_are_bounded(http: httpx.Client, body: bytes) -> None:
    problem = refused(http.post("/v1/jobs", content=body, headers=JSON))
    assert problem["cure"]


def test_a_bad_host_header_breaks_no_refusal(http: httpx.Client) -> None:
    for host in ("[", "[::1", "a b", "x:y:z", "http://[::1/v1"):
        assert http.get("/v1/none", headers={"Host": host}).status_code < 500


def test_ordinary_text_of_any_script_is_taken(http: httpx.Client) -> None:
    body = json.dumps(SPEC | {"corpus": {"path": "/no/\N{GRINNING FACE} \N{CYRILLIC SMALL LETTER EF}\n"}})
    assert "request-invalid" not in http.post("/v1/jobs", content=body, headers=JSON).text


# What a version before this one, or another program, may have left in the file. PostgreSQL refuses all of it.
STORED = [
    ("spec", '{"corpus": {"path": "\\ud800"}, "\\udfff": [NaN]}', False),
    ("spec", "{not json", False),
    ("warnings", '{"a": 1}', True),
    ("warnings", "[1, 2", True),
    ("corpus", '{"files": "\\ud800"}', True),
    ("spec", "[1]", True),
    ("summary", "3", True),
]


@pytest.fixture
def book(tmp_path: Path) -> Iterator[tuple[Client, Engine]]:
    settings = Settings(home=tmp_path / "home", database_url=f"sqlite:///{tmp_path / 'book.db'}", broker_url=f"filesystem://{tmp_path / 'broker'}")
    databases.upgrade(settings.database_url)
    made = engines.make_engine(settings.database_url)
    synthetic.fill(made)
    with Client("http://test", InProcess(create_app(settings))) as found:
        yield found, made
    made.dispose()


def read(client: Client, path: str) -> dict[str, Any]:
    """The answer itself: the client leaves out rows that cannot be read."""
    found: dict[str, Any] = client._operations._session._http.get(path).raise_for_status().json()
    return found


def write(engine: Engine, statement: str, **values: Any) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement), values)


@pytest.mark.parametrize(("column", "stored", "is_left_out"), STORED)
def test_a_stored_row_takes_no_other_with_it(book: tuple[Client, Engine], column: str, stored: str, is_left_out: bool) -> None:
    client, engine = book
    jobs = [client.submit_job(SPEC | {"seed": seed})["id"] for seed in range(3)]
    write(engine, f"UPDATE jobs SET {column} = :stored WHERE id = :id", stored=stored, id=jobs[1])
    page = read(client, "/v1/jobs")
    shown = {job["id"] for job in page["items"]}
    assert shown >= {jobs[0], jobs[2]}
    assert (jobs[1] not in shown) == is_left_out
    assert [row["id"] for row in page.get("unreadable", [])] == ([jobs[1]] if is_left_out else [])


@pytest.mark.parametrize(
    "stored",
    [
        "3",
        "[1]",
        "{",
        '"x"',
        '{"scores": 7}',
        '{"scores": {"detection": 1}}',
        '{"dictionaries": [3]}',
        '{"scores": {"fuzz": {"median_lift": 1e999}}}',
    ],
)
def test_a_job_with_a_damaged_summary_takes_no_run_with_it(book: tuple[Client, Engine], stored: str) -> None:
    client, engine = book
    job = client.submit_job(SPEC | {"seed": 0})["id"]
    write(engine, "INSERT INTO job_runs (job_id, place, run_id) SELECT :job, 0, min(id) FROM runs", job=job)
    write(engine, "UPDATE jobs SET summary = :stored WHERE id = :job", stored=stored, job=job)
    page = read(client, "/v1/runs")
    assert page.get("unreadable", []) == []
    assert [found["median_lift"] for run in page["items"] for found in run["jobs"] if found["id"] == job] == [{}]


OTHERS = [
    ("dictionaries", "config", "/v1/dictionaries"),
    ("runs", "corpus", "/v1/runs"),
    ("runs", "identity", "/v1/runs"),
    ("explanations", "provenance", "/v1/explanations"),
    ("explanations", "rule", "/v1/explanations"),
    ("scores", "details", "/v1/explanations"),
    ("scores", "controls", "/v1/explanations"),
]


@pytest.mark.parametrize(("table", "column", "path"), OTHERS)
@pytest.mark.parametrize("stored", ['"\\ud800"', '{"a": NaN}', "{", "[[]]", "7"])
def test_no_stored_value_breaks_a_listing(book: tuple[Client, Engine], table: str, column: str, path: str, stored: str) -> None:
    client, engine = book
    before = read(client, path)
    write(engine, f"UPDATE {table} SET {column} = :stored WHERE id = (SELECT max(id) FROM {table})", stored=stored)
    after = read(client, path)
    assert len(after["items"]) + len(after.get("unreadable", [])) == len(before["items"])


def test_the_client_tells_of_rows_that_cannot_be_shown(book: tuple[Client, Engine], caplog: pytest.LogCaptureFixture) -> None:
    client, engine = book
    jobs = [client.submit_job(SPEC | {"seed": seed})["id"] for seed in range(2)]
    write(engine, "UPDATE jobs SET warnings = '7' WHERE id = :id", id=jobs[0])
    assert [job["id"] for job in client.list_jobs()] == jobs[1:]
    assert jobs[0] in caplog.text
    with pytest.raises(ApiError):
        client.get_job(jobs[0])


def with_values(**values: Any) -> dict[str, Any]:
    """The good job with values in the place of some of its own: `corpus__path` is the field `path` of `corpus`."""
    content: dict[str, Any] = json.loads(json.dumps(SPEC))
    for name, value in values.items():
        place = content
        *sections, field = name.split("__")
        for section in sections:
            place = place.setdefault(section, {})
        place[field] = value
    return content


MANY = 2**63 - 1
PATHS = [
    "~nosuchuser",
    "~nosuchuser/x",
    "a" * 300,
    "/" + "a" * 300,
    "/" * 4096,
    "a/" * 2048,
    "/a" * 2000,
    "../" * 20,  # above every root, wherever the checkout lies
    "",
    "~",
    "\n",
    "\x1b[2J",
    "C:\\x",
]
URLS = ["http://[::1/v1", "http://[::1]:99999/v1", "http://a:b:c/v1", "http://[v1.x]/", "http://\u0000x", "http://x\\@y/v1", "https://" + "a" * 5000]
URLS += [
    "http://user:pass@127.0.0.1/v1",
    "http://%5B::1%5D/",
    "http://127.0.0.1:-1/v1",
    "http://127.0.0.1:\u0663/v1",
    "http:///v1",
    "http://\ufe52\ufe52/",
]
ABSURD: list[dict[str, Any]] = [
    *({field: path} for field in ("subject__model", "dictionary__source", "corpus__path") for path in PATHS),
    # The folder of the start holds text, so that as a corpus it is a good one.
    *({field: "."} for field in ("subject__model", "dictionary__source")),
    *({"models__judge": {"model": "m", "base_url": url}, "scorers": [{"name": "detection", "judge": "llm"}]} for url in URLS),
    *({"webhook": {"url": url}} for url in URLS),
    *({"subject__device": device} for device in ("cuda:99999999999", "cuda:-1", "meta", "cpu:", "gpu", "x" * 10_000, "")),
    *({"subject__revision": revision} for revision in ("x" * 300, "a" * 100_000)),
    *({"dictionary__format": name} for name in ("nosuch", "x" * 100_000, "")),
    *({"dictionary__name": name} for name in ("a@" + "b" * 300, "a", "@", "\u00e9@x")),
    *(
        {"dictionary__hook_point": name}
        for name in ("x" * 300, "blocks.99999999999999999999.hook_resid_post", "blocks.-1.hook_resid_post", "", "blocks.1e9.x")
    ),
    *({"corpus__text_field": name} for name in ("x" * 300,)),
    *({"corpus__max_tokens": number} for number in (0, -1, MANY, 1.5, "x")),
    *({"corpus__test_share": number} for number in (0, 1, -1, 1e308, 1e-320 * 0)),
    *({"collection__shard_tokens": number} for number in (0, -1, 1, MANY, 10**18)),
    *({"collection__batch_tokens": number} for number in (0, -1, 1, MANY, 10**18)),
    *({"collection__row_tokens": number} for number in (0, -8, 17, MANY, 8192 * 8)),
    *({"collection__window": number} for number in (0, -8, 9, MANY)),
    *(
        {"features": features}
        for features in ("", "x", "3-1", "0-", [], [-1], [2**31], [MANY], "0-" + "9" * 5000, "9" * 5000, "99999999999", "-1", [0] * 3 + ["x"])
    ),
    *({"seed": seed} for seed in (-1, 2**31, MANY, 0.5)),
    *({"priority": priority} for priority in (-101, 101, MANY)),
    *({"budget": {"calls": number}} for number in (-1, MANY)),
    *({"budget": {"usd": number}} for number in (-1e-9, 1e300, 1e7)),
    *(
        {"explainers": value}
        for value in ([], ["x"], ["pattern"] * 100, [{"name": "x" * 1000}], [{"name": "pattern", "contexts": MANY}], "pattern", [[]])
    ),
    *({"scorers": value} for value in (["x"], ["detection"] * 100, [{"name": "detection", "nulls": MANY}], [{"name": "detection", "width": -1}])),
    *({"controls": value} for value in (["x"], ["null"] * 100, 3)),
    {"models__judge": {"model": "m", "extra": {"a": "x" * 100_000}}},
    {"models__judge": {"model": "m", "price": {"input": 1e300, "output": 1}}},
    {"models__judge": {"model": "m", "timeout_seconds": 1e300}},
    {"models__judge": {"model": "", "context_window": MANY}},
]


@pytest.mark.parametrize("values", ABSURD, ids=lambda values: str(values)[:60].encode("ascii", "replace").decode())
def test_absurd_values_are_refused_with_a_cure(service_http: httpx.Client, values: dict[str, Any]) -> None:
    problem = refused(service_http.post("/v1/jobs", json=with_values(**values)))
    assert problem["cure"]
    assert len(json.dumps(problem)) < 20_000


@pytest.fixture(scope="module")
def service_http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    home = tmp_path_factory.mktemp("absurd")
    settings = Settings(home=home / "home", database_url=f"sqlite:///{home / 'book.db'}", broker_url=f"filesystem://{home / 'broker'}")
    databases.upgrade(settings.database_url)
    with httpx.Client(transport=InProcess(create_app(settings)), base_url="http://localhost") as found:
        yield found


def test_the_job_itself_is_good(service_http: httpx.Client) -> None:
    assert service_http.post("/v1/jobs", json=with_values()).status_code == 202


MOST = {"budget": {"calls": 10**15, "tokens": 10**15, "usd": 9e6}, "priority": 100, "seed": 2**31 - 1, "corpus__max_tokens": 10**15}


def test_the_largest_of_everything_is_taken(http: httpx.Client) -> None:
    """Of both databases: what may be asked for can be stored."""
    answer = http.post("/v1/jobs", json=with_values(**MOST))
    assert answer.status_code == 202, answer.text
    job = answer.json()["id"]
    assert http.post(f"/v1/jobs/{job}/pause").status_code == 202
    assert http.post(f"/v1/jobs/{job}/resume", json={"budget": MOST["budget"]}).status_code == 202
    assert http.get(f"/v1/jobs/{job}").json()["budget"] is None or http.get(f"/v1/jobs/{job}").json()["budget"]["caps"] == MOST["budget"]
    assert http.post(f"/v1/jobs/{job}/cancel").status_code == 202


@pytest.mark.parametrize("filler", [b"[],", b"{},", b"1,"])
def test_a_body_of_a_million_values_is_refused_before_it_is_walked(http: httpx.Client, filler: bytes) -> None:
    body = b'{"features": [' + filler * (MAX_BODY_BYTES // len(filler) - 10) + b"1]}"
    began = time.process_time()
    assert "holds more than" in refused(http.post("/v1/jobs", content=body, headers=JSON))["detail"]
    assert time.process_time() - began < 1, "it is walked in 2 seconds or more, of every other request"


def test_features_are_named_by_a_bounded_number_of_ranges(http: httpx.Client) -> None:
    scattered = ",".join(map(str, range(0, 400_000, 2)))
    assert "100,000 ranges" in refused(http.post("/v1/jobs", json=SPEC | {"features": scattered}))["detail"]
    listed = [0] * (MOST_RANGES + 1)
    assert "100,000 indices" in refused(http.post("/v1/jobs", json=SPEC | {"features": listed}))["detail"]


def test_a_page_of_jobs_with_large_specs_is_short(http: httpx.Client, client: Client, store: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [client.submit_job(SPEC | {"seed": number})["id"] for number in range(1000, 1005)]
    monkeypatch.setattr(queries, "MAX_PAGE_CHARACTERS", int(2.5 * len(json.dumps(client.get_job(made[0])["spec"]))))
    found: list[str] = []
    page = http.get("/v1/jobs", params={"limit": 500}).json()
    while True:
        assert 1 <= len(page["items"]) <= 3
        found += [job["id"] for job in page["items"]]
        if page["next_cursor"] is None:
            break
        page = http.get("/v1/jobs", params={"limit": 500, "cursor": page["next_cursor"]}).json()
    assert found[:5] == made[::-1]
    assert len(set(found)) == len(found)
    monkeypatch.setattr(queries, "MAX_PAGE_CHARACTERS", 1)
    assert len(http.get("/v1/jobs").json()["items"]) == 1, "a page has one job, whatever its size"
