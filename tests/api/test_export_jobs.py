"""Exports by REST: made once, downloaded by ranges, resumed, expired."""

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, update

from api.app import create_app
from api.cli import exporting
from api.http.ranges import span_of
from benches.in_process import InProcess
from glossator import Client, UnreachableError
from glossator.operations import Operations
from interp.config.settings import Settings
from interp.domain.access import LOCAL, Principal, Scope
from interp.domain.errors import GlossatorError, NotFoundError, RangeInvalidError
from interp.exchange import read
from interp.store import exports
from interp.store.db.engine import snapshot, transaction
from interp.store.db.tables import ExportRow
from tests.api.synthetic import FEATURES, NAME
from workers import artifact_paths
from workers.exports import clear_expired, make_due

REQUEST = {"dictionary": NAME, "format": "jsonl"}


@pytest.fixture(autouse=True)
def nothing_left(store: Engine, service_settings: Settings) -> Iterator[None]:
    """Deletes all exports, whose files go with them."""
    yield
    with transaction(store) as session:
        session.execute(delete(ExportRow))
    clear_expired(store, service_settings)


@pytest.fixture
def made(http: httpx.Client, store: Engine, service_settings: Settings) -> dict[str, Any]:
    """A completed export."""
    asked = http.post("/v1/exports", json=REQUEST)
    assert (asked.status_code, asked.json()["status"], asked.headers["location"]) == (202, "queued", f"/v1/exports/{asked.json()['id']}")
    assert http.get(f"/v1/exports/{asked.json()['id']}/content").status_code == 409
    assert make_due(store, service_settings) == 1
    found: dict[str, Any] = http.get(asked.headers["location"]).json()
    assert (found["status"], found["features_done"], found["features_total"]) == ("completed", FEATURES, FEATURES)
    return found


def test_the_file_is_what_the_answer_says(http: httpx.Client, made: dict[str, Any]) -> None:
    content = http.get(made["content"])
    assert content.content == http.get(f"/v1/dictionaries/{NAME}/features", params={"format": "jsonl"}).content
    assert (len(content.content), hashlib.sha256(content.content).hexdigest()) == (made["bytes"], made["sha256"])
    assert content.headers["etag"] == f'"{made["sha256"]}"'
    assert made["manifest"]["files"] == [{"name": "", "bytes": made["bytes"], "sha256": made["sha256"]}]
    assert made["expires_at"] is not None
    listed = http.get("/v1/exports").json()["items"]
    assert [item["id"] for item in listed] == [made["id"]]


def test_ranges_conditions_and_heads(http: httpx.Client, made: dict[str, Any]) -> None:
    whole, etag = http.get(made["content"]).content, f'"{made["sha256"]}"'

    def asked(**headers: str) -> httpx.Response:
        return http.get(made["content"], headers={name.replace("_", "-"): value for name, value in headers.items()})

    part = asked(Range="bytes=10-19", If_Range=etag)
    assert (part.status_code, part.content, part.headers["content-range"]) == (206, whole[10:20], f"bytes 10-19/{len(whole)}")
    assert asked(Range="bytes=100-").content == whole[100:]
    assert asked(Range="bytes=-7").content == whole[-7:]
    assert (asked(Range="bytes=5-9", If_Range='"another"').status_code, asked(Range="bytes=1-2,4-5").status_code) == (200, 200)
    beyond = asked(Range=f"bytes={len(whole)}-")
    assert (beyond.status_code, beyond.json()["code"]) == (416, "range-invalid")
    assert asked(If_None_Match=etag).status_code == 304
    head = http.head(made["content"])
    assert (head.status_code, head.headers["content-length"], head.content) == (200, str(len(whole)), b"")
    assert http.get(made["content"], headers={"Accept-Encoding": "gzip"}).headers["content-encoding"] == "identity"


@given(st.text(max_size=30) | st.from_regex(r"bytes=[0-9]{0,20}-[0-9]{0,20}", fullmatch=True), st.integers(0, 1000))
def test_any_range_is_a_part_of_the_file_or_refused(header: str, size: int) -> None:
    try:
        span = span_of(httpx.Headers({"range": header.encode("utf-8", "replace")}), size, '"x"')  # type: ignore[arg-type]
    except RangeInvalidError:
        return
    assert 0 <= span.start <= span.stop <= size
    assert span.is_part or (span.start, span.stop) == (0, size)
    assert not span.is_part or span.start < span.stop


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"dictionary": "none@such"}, 404),
        ({"format": "xml"}, 422),
        ({"features": "9-3"}, 422),
        ({"features": "x" * 100}, 422),
        ({"run": "77"}, 404),
        ({"min_score": "NaN"}, 422),
        ({"license": "MIT\n---\n"}, 422),
        ({"unknown": 1}, 422),
        ({"q": "a\u0000b"}, 422),
    ],
)
def test_what_cannot_be_exported_is_refused(http: httpx.Client, change: dict[str, Any], status: int) -> None:
    assert http.post("/v1/exports", json=REQUEST | change).status_code == status
    assert http.get("/v1/exports").json()["items"] == []


def test_a_format_of_many_files_is_one_archive(http: httpx.Client, store: Engine, service_settings: Settings) -> None:
    asked = http.post("/v1/exports", json={"dictionary": NAME, "format": "neuronpedia", "features": "0-3"}).json()
    make_due(store, service_settings)
    found = http.get(f"/v1/exports/{asked['id']}").json()
    with zipfile.ZipFile(io.BytesIO(http.get(found["content"]).content)) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        assert {file["name"]: file["sha256"] for file in manifest["files"]} == {
            name: hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist() if name != "manifest.json"
        }
    assert manifest == found["manifest"]
    assert manifest["asked"] == {"dictionary": NAME, "format": "neuronpedia", "features": "0-3"}


def test_too_many_at_once_are_refused(http: httpx.Client, store: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "MOST_OPEN", 2)
    answers = [http.post("/v1/exports", json=REQUEST) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [202, 202, 429]
    assert http.delete(f"/v1/exports/{answers[0].json()['id']}").status_code == 200
    assert http.post("/v1/exports", json=REQUEST).status_code == 202


def test_an_expired_export_goes_with_its_file(http: httpx.Client, store: Engine, service_settings: Settings, made: dict[str, Any]) -> None:
    files = artifact_paths.store_of(service_settings)
    assert files.names("exports") == [made["id"]]
    assert clear_expired(store, service_settings) == 0
    with transaction(store) as session:
        session.execute(update(ExportRow).values(expires_at=ExportRow.created_at))
    assert clear_expired(store, service_settings, dry_run=True) == 1
    assert clear_expired(store, service_settings) == 1
    assert (files.names("exports"), http.get(made["content"]).status_code) == ([], 404)


def test_a_file_that_is_gone_says_so(http: httpx.Client, service_settings: Settings, made: dict[str, Any]) -> None:
    artifact_paths.store_of(service_settings).delete(artifact_paths.export(made["id"]))
    answer = http.get(made["content"])
    assert (answer.status_code, answer.json()["code"]) == (410, "export-gone")


def test_a_lost_process_is_followed_by_another_and_a_late_one_writes_nothing(http: httpx.Client, store: Engine, service_settings: Settings) -> None:
    export_id = http.post("/v1/exports", json=REQUEST).json()["id"]
    with transaction(store) as session:
        lost = exports.claim(session, seconds=-1)
    assert lost is not None
    assert make_due(store, service_settings) == 1
    assert http.get(f"/v1/exports/{export_id}").json()["status"] == "completed"
    with transaction(store) as session:
        assert not exports.renew(session, lost, 1, 60)
        assert not exports.fail(session, lost, {}, None)


def test_what_fails_every_process_fails(http: httpx.Client, store: Engine, service_settings: Settings) -> None:
    export_id = http.post("/v1/exports", json=REQUEST).json()["id"]
    for _ in range(exports.MOST_ATTEMPTS):
        with transaction(store) as session:
            assert exports.claim(session, seconds=-1) is not None
    make_due(store, service_settings)
    found = http.get(f"/v1/exports/{export_id}").json()
    assert (found["status"], found["error"]["detail"]) == ("failed", "The export was begun too often.")


def test_a_process_that_stops_gives_the_export_back(
    http: httpx.Client, store: Engine, service_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read, "PORTION", 1)
    export_id = http.post("/v1/exports", json=REQUEST).json()["id"]
    asked = iter([False, False, True, True])
    make_due(store, service_settings, lambda: next(asked))
    assert http.get(f"/v1/exports/{export_id}").json()["status"] == "queued"
    assert artifact_paths.store_of(service_settings).names("exports") == []
    assert make_due(store, service_settings) == 1
    assert http.get(f"/v1/exports/{export_id}").json()["status"] == "completed"


def test_one_owner_sees_no_export_of_another(store: Engine) -> None:
    mine, other = (Principal(name, name, frozenset({Scope.READ})) for name in ("mine", "other"))
    with transaction(store) as session:
        row = exports.submit(session, "mine", REQUEST, None)
    with snapshot(store) as session:
        assert [exports.get(session, caller, row.id).id for caller in (mine, LOCAL)] == [row.id] * 2
        assert exports.page(session, other, None, 10) == []
        with pytest.raises(NotFoundError):
            exports.get(session, other, row.id)


class Breaking(httpx.BaseTransport):
    """Breaks each download of a file off after some bytes."""

    def __init__(self, inner: InProcess, nbytes: int) -> None:
        self._inner, self._nbytes = inner, nbytes
        self.ranges: list[str | None] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = self._inner.handle_request(request)
        if not request.url.path.endswith("/content"):
            return answer
        self.ranges.append(request.headers.get("range"))
        content = answer.read()

        def some() -> Iterator[bytes]:
            yield content[: self._nbytes]
            if len(content) > self._nbytes:
                raise httpx.ReadError("broken off")

        return httpx.Response(answer.status_code, headers=answer.headers, content=some())

    def close(self) -> None:
        self._inner.close()


@pytest.fixture
def breaking(service_settings: Settings, store: Engine) -> Iterator[tuple[Client, Breaking]]:
    transport = Breaking(InProcess(create_app(service_settings)), 10_000)
    with Client("http://test", transport) as client:
        yield client, transport


def served(client: Client, store: Engine, service_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes each export as soon as it is asked for."""
    submit: Callable[..., Any] = client.submit_export

    def at_once(request: dict[str, Any]) -> Any:
        answer = submit(request)
        make_due(store, service_settings)
        return answer

    monkeypatch.setattr(client, "submit_export", at_once)


def test_a_download_that_breaks_is_resumed(
    breaking: tuple[Client, Breaking], store: Engine, service_settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    client, transport = breaking
    served(client, store, service_settings, monkeypatch)
    seen: list[tuple[int, int | None]] = []
    manifest = exporting.fetch(client, REQUEST, tmp_path / "out.jsonl", lambda *done: seen.append(done), is_folder=False)
    content = (tmp_path / "out.jsonl").read_bytes()
    assert (len(content), hashlib.sha256(content).hexdigest()) == (manifest["files"][0]["bytes"], manifest["files"][0]["sha256"])
    assert transport.ranges == [None, *(f"bytes={start}-" for start in range(10_000, len(content), 10_000))]
    assert len(transport.ranges) > 1
    assert json.loads((tmp_path / "out.jsonl.manifest.json").read_text())["files"][0]["name"] == "out.jsonl"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.jsonl", "out.jsonl.manifest.json"]
    assert seen[-1] == (FEATURES, FEATURES)
    assert list(client.list_exports()) == [], "what was fetched is deleted"


def test_an_archive_is_unpacked_into_a_folder(
    client: Client, store: Engine, service_settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with monkeypatch.context() as patch:
        served(client, store, service_settings, patch)
        exporting.fetch(client, {"dictionary": NAME, "format": "graph"}, tmp_path / "graph", lambda *_: None, is_folder=True)
    assert len(list((tmp_path / "graph" / "features" / NAME).iterdir())) == FEATURES
    assert [path.name for path in tmp_path.iterdir()] == ["graph"]


def test_a_server_that_sends_another_file_is_not_believed(
    client: Client, http: httpx.Client, made: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    answers = Operations.get_export

    async def another(operations: Operations, export_id: str) -> Any:
        return type(found := await answers(operations, export_id))(found | {"sha256": "0" * 64})

    monkeypatch.setattr(Operations, "get_export", another)
    with pytest.raises(UnreachableError, match="not the export"):
        client.get_export_content(made["id"], tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil"])
def test_a_hostile_archive_writes_nothing_outside(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("good", "x")
        archive.writestr(name, "x")
    with pytest.raises(GlossatorError, match="names"):
        exporting._unpack(tmp_path / "a.zip", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]
