"""Bulk reads: whole features in pages and streams, with bounded work."""

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
from pyarrow import parquet
from sqlalchemy import Engine, event, update
from starlette.requests import ClientDisconnect

from api.app import create_app
from api.reads import bulk
from api.reads.bulk import BulkFilters
from api.server import Service
from benches import bigbook, exchange
from benches.in_process import InProcess
from interp.config.settings import Settings
from interp.exchange import read
from interp.store.db.engine import snapshot, transaction
from interp.store.db.tables import EvidenceRow
from tests.api import synthetic

PATH = f"/v1/dictionaries/{synthetic.NAME}/features"
ALL = "statistics,contexts,explanations,scores"
ARROW = "application/vnd.apache.arrow.stream"


def lines(http: httpx.Client, **params: Any) -> list[dict[str, Any]]:
    answer = http.get(PATH, params={"format": "jsonl"} | params)
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def test_a_page_shows_the_same_contexts_as_the_feature_alone(http: httpx.Client) -> None:
    page = http.get(PATH, params={"expand": "contexts", "limit": 5}).json()
    assert [item["index"] for item in page["items"]] == list(range(5))
    for item in page["items"]:
        alone = http.get(f"{PATH}/{item['index']}").json()
        assert item["contexts"] == alone["contexts"]
        assert item["label"] == alone["label"]
        assert "explanations" not in item and "statistics" not in item
    after = http.get(PATH, params={"expand": "contexts", "limit": 5, "cursor": page["next_cursor"]}).json()
    assert [item["index"] for item in after["items"]] == list(range(5, 10))


def test_parts_are_those_of_the_feature_alone(http: httpx.Client) -> None:
    rows = lines(http)
    assert [row["index"] for row in rows] == list(range(synthetic.FEATURES))
    for row in rows:
        alone = http.get(f"{PATH}/{row['index']}").json()
        assert row["contexts"] == alone["contexts"]
        assert row["histogram"] == alone["histogram"]
        assert [made["text"] for made in row["explanations"]] == [made["text"] for made in alone["explanations"]]
        assert [made["best"] for made in row["explanations"]] == [made["best"] for made in alone["explanations"]]
        for own, known in zip(row["explanations"], alone["explanations"], strict=True):
            assert [score["value"] for score in own["scores"]] == [score["value"] for score in known["scores"]]
            assert [score["details"] for score in own["scores"]] == [score["details"] for score in known["scores"]]
        assert {name: row[name] for name in ("state", "label", "explainer", "score", "lift", "q_value", "density", "max_activation")} == {
            name: alone[name] for name in ("state", "label", "explainer", "score", "lift", "q_value", "density", "max_activation")
        }


def test_arrow_and_parquet_hold_what_json_lines_hold(http: httpx.Client) -> None:
    rows = lines(http)
    arrow = pa.ipc.open_stream(http.get(PATH, headers={"Accept": ARROW}).content).read_all()
    stored = parquet.read_table(pa.BufferReader(http.get(PATH, params={"format": "parquet"}).content))
    assert arrow.schema.metadata[b"run"] == f"{synthetic.NAME}/1".encode()
    assert arrow.equals(stored)
    for row, column in zip(rows, arrow.to_pylist(), strict=True):
        assert column.pop("unreadable") is None
        for made in column["explanations"]:
            made |= {name: made[name] and json.loads(made[name]) for name in ("rule", "provenance")}
            for score in made["scores"]:
                score |= {name: score[name] and json.loads(score[name]) for name in ("null_values", "controls", "details")}
        assert column == row


def test_filters_order_and_parts_apply_to_streams(http: httpx.Client) -> None:
    rows = lines(http, min_score=0.5, sort="score", order="desc", expand="explanations")
    assert [row["index"] for row in rows] == [9, 8, 7, 6, 5]
    assert "contexts" not in rows[0] and "scores" not in rows[0]["explanations"][0]
    assert lines(http, min_score=2.0) == []


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"format": "jsonl", "limit": 5}, "limit"),
        ({"format": "xml"}, "format"),
        ({"expand": "everything"}, "expand"),
        ({"expand": ""}, "expand"),
        ({"limit": 501}, "limit"),
        ({"expand": "contexts", "limit": 5_001}, "limit"),
    ],
)
def test_what_cannot_be_streamed_is_refused(http: httpx.Client, params: dict[str, Any], field: str) -> None:
    answer = http.get(PATH, params=params)
    assert answer.status_code == 422
    assert field in answer.text


def test_a_head_does_no_work_and_names_the_type(http: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read, "_pages", lambda *_: pytest.fail("it was read"))
    answer = http.head(PATH, params={"format": "arrow"})
    assert (answer.status_code, answer.headers["content-type"], answer.content) == (200, ARROW, b"")


@pytest.fixture
def damaged(store: Engine) -> Iterator[int]:
    """A feature whose evidence is damaged."""
    of = EvidenceRow.feature == 4
    with transaction(store) as session:
        known = session.query(EvidenceRow.blob).where(of).scalar()
        session.execute(update(EvidenceRow).where(of).values(blob=known[:-1] + b"?"))
    yield 4
    with transaction(store) as session:
        session.execute(update(EvidenceRow).where(of).values(blob=known))


def test_evidence_that_cannot_be_read_is_named_and_the_rest_is_sent(http: httpx.Client, damaged: int) -> None:
    rows = lines(http)
    assert [row["index"] for row in rows if "unreadable" in row] == [damaged]
    assert "contexts" not in rows[damaged] and rows[damaged]["explanations"]
    arrow = pa.ipc.open_stream(http.get(PATH, params={"format": "arrow"}).content).read_all().to_pylist()
    assert [row["index"] for row in arrow if row["unreadable"]] == [row["index"] for row in arrow if row["contexts"] is None] == [damaged]
    page = http.get(PATH, params={"expand": "contexts"}).json()
    assert [item["index"] for item in page["items"] if "unreadable" in item] == [damaged]


def test_a_stream_asks_a_few_statements_a_portion(service_settings: Settings, store: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    app = create_app(service_settings)
    said: list[str] = []
    event.listen(app.state.engine, "before_cursor_execute", lambda _c, _cursor, statement, *_: said.append(statement))

    def asked(portion: int) -> int:
        monkeypatch.setattr(read, "PORTION", portion)
        said.clear()
        with httpx.Client(transport=InProcess(app), base_url="http://test") as http:
            assert len(lines(http)) == synthetic.FEATURES
        return len([statement for statement in said if statement.startswith("SELECT") and "set_config" not in statement])

    whole = asked(synthetic.FEATURES)
    assert whole <= 11, "of them one asks whether the service has keys"
    assert asked(6) - whole == 6, "keys, rows, evidence, explainers, explanations and scores of one portion more"
    app.state.engine.dispose()


def test_work_ends_when_the_reader_goes(service_settings: Settings, store: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read, "PORTION", 1)
    app, read_portions, sent = create_app(service_settings), [], []
    known = read._pages

    def counted(*arguments: Any) -> Iterator[Any]:
        for portion in known(*arguments):
            read_portions.append(portion)
            yield portion

    monkeypatch.setattr(read, "_pages", counted)
    scope = {"type": "http", "asgi": {"version": "3.0", "spec_version": "2.4"}, "http_version": "1.1", "method": "GET", "scheme": "http"}
    scope |= {"path": PATH, "raw_path": PATH.encode(), "query_string": b"format=jsonl", "headers": [(b"host", b"localhost")]}

    async def receive() -> dict[str, Any]:
        if not sent:
            sent.append(None)
            return {"type": "http.request", "body": b"", "more_body": False}
        await asyncio.sleep(3600)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body" and message["body"]:
            raise OSError("the client is gone")

    with pytest.raises(ClientDisconnect):
        asyncio.run(app(scope | {"client": ("127.0.0.1", 1), "server": ("localhost", 80), "root_path": ""}, receive, send))
    assert len(read_portions) == 1
    app.state.engine.dispose()


def test_a_page_with_parts_is_read_a_portion_at_a_time(http: httpx.Client, store: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = {"expand": "contexts,explanations", "sort": "score", "order": "desc", "limit": 8}
    whole = http.get(PATH, params=wanted)
    monkeypatch.setattr(read, "PORTION", 3)
    assert http.get(PATH, params=wanted).content == whole.content
    known, read_portions = read._pages, []

    def counted(*arguments: Any) -> Iterator[Any]:
        for portion in known(*arguments):
            read_portions.append(len(portion))
            yield portion

    monkeypatch.setattr(read, "_pages", counted)
    with snapshot(store) as session:
        pieces = bulk.page(session, store, synthetic.NAME, BulkFilters(**wanted))
    seen = [list(read_portions) for _ in pieces]
    assert [len(before) for before in seen] == [0, 1, 2, 3, 3], "a piece holds one portion"
    assert read_portions == [3, 3, 2]


def test_a_reader_that_does_not_read_makes_the_server_hold_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over a real socket, portions of a stream of 20 MB are held."""
    features, portion = 160, 4
    exchange.write(tmp_path, features)
    monkeypatch.setattr(read, "PORTION", portion)
    known, begun, ended = read._pages, [], threading.Event()

    def counted(*arguments: Any) -> Iterator[Any]:
        for found in known(*arguments):
            begun.append(len(found))
            yield found
        ended.set()

    monkeypatch.setattr(read, "_pages", counted)
    with Service(Settings(home=tmp_path), "127.0.0.1", 0, workers=False) as service, socket.socket() as mine:
        mine.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        mine.connect(("127.0.0.1", int(service.url.rsplit(":", 1)[1])))
        asked = (
            f"GET /v1/dictionaries/{bigbook.NAME}/features HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/x-ndjson\r\nConnection: close\r\n\r\n"
        )
        mine.sendall(asked.encode())
        mine.recv(1, socket.MSG_PEEK)
        assert not ended.wait(2.0), "all was read for a reader that took nothing"
        assert sum(begun) <= features // 2
        received = sum(iter(lambda: len(mine.recv(1 << 20)), 0))
    assert ended.is_set()
    assert (sum(begun), received > 20_000_000) == (features, True)
