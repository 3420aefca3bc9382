"""Parts of uploads, joined, with a folder and with a bucket."""

import hashlib
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.server import Service
from glossator import Client
from interp.config.settings import Settings
from tests.artifacts.uploading import objects, send, tar


def joined(http: httpx.Client, parts: Sequence[str], content: bytes, name: str = "whole.jsonl", **more: Any) -> httpx.Response:
    return http.post("/v1/files/joined", json={"name": name, "parts": list(parts), "digest": hashlib.sha256(content).hexdigest()} | more)


def parts_of(http: httpx.Client, content: bytes, nbytes: int = 40_000) -> list[str]:
    cut = [content[start : start + nbytes] for start in range(0, len(content), nbytes)]
    return [send(http, part, f"part-{number}").json()["id"] for number, part in enumerate(cut)]


def test_parts_become_the_file_and_are_gone(http: httpx.Client, upload_settings: Settings) -> None:
    content = bytes(range(256)) * 1000
    ids = parts_of(http, content)
    answer = joined(http, ids, content)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert (made["name"], made["bytes"], made["digest"]) == ("whole.jsonl", len(content), hashlib.sha256(content).hexdigest())
    assert answer.headers["location"] == f"/v1/files/{made['id']}"
    assert [row["id"] for row in http.get("/v1/files").json()["items"]] == [made["id"]]
    assert len(objects(upload_settings)) == 1, "parts count for no quota any more"
    assert joined(http, ids, content).json()["id"] == made["id"], "the answer of the first one may have been lost"


def test_parts_become_a_folder(http: httpx.Client, upload_settings: Settings) -> None:
    archive = tar(("a.txt", b"a" * 90_000), ("b/c.txt", b"c"))
    made = joined(http, parts_of(http, archive), archive, "folder", unpack=True).json()
    assert (made["kind"], made["files"]) == ("folder", 2)
    assert len(objects(upload_settings)) == 2


def test_joins_that_do_not_fit_are_refused_and_the_parts_stay(http: httpx.Client, upload_settings: Settings) -> None:
    content = bytes(range(256)) * 1000
    ids = parts_of(http, content, 130_000)
    folder = send(http, tar(("a", b"x")), "folder", unpack=True).json()["id"]
    refused = {
        "another order": joined(http, ids[::-1], content),
        "a part short": joined(http, ids[:1], content),
        "more than announced": joined(http, [*ids, send(http, b"more", "more").json()["id"]], content),
        "a folder": joined(http, [folder], content),
        "no archive": joined(http, ids, content, unpack=True),
        "a path": joined(http, ids, content, "../whole"),
        "none": joined(http, [], content),
    }
    assert {kind: answer.status_code for kind, answer in refused.items()} == dict.fromkeys(refused, 422)
    assert joined(http, ["0" * 32], content).status_code == 404
    large = joined(http, ids * 2, content * 2)
    assert (large.status_code, large.json()["code"]) == (413, "upload-too-large")
    assert {row["id"] for row in http.get("/v1/files").json()["items"]} >= set(ids)
    assert len(objects(upload_settings)) == 4
    assert joined(http, ids, content).status_code == 201


def test_two_joins_at_once_make_one_upload(http: httpx.Client, upload_settings: Settings) -> None:
    content = bytes(range(256)) * 1000
    ids, answers = parts_of(http, content), []
    threads = [threading.Thread(target=lambda: answers.append(joined(http, ids, content))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in answers} == {201}, [answer.text for answer in answers]
    assert len({answer.json()["id"] for answer in answers}) == len(objects(upload_settings)) == 1


class Cutting:
    """A proxy that cuts connections once so many bytes have gone to the server, for each of `after`."""

    def __init__(self, port: int, *after: int) -> None:
        self.sent, self._port, self._after = 0, port, list(after)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            mine, _ = self._listening.accept()
            other = socket.create_connection(("127.0.0.1", self._port))
            threading.Thread(target=self._pass, args=(other, mine, False), daemon=True).start()
            threading.Thread(target=self._pass, args=(mine, other, True), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, to_server: bool) -> None:
        with suppress(OSError):
            while block := source.recv(4096):
                target.sendall(block)
                self.sent += len(block) * to_server
                if self._after and self.sent >= self._after[0]:
                    self._after.pop(0)
                    break
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def test_a_large_file_goes_on_where_its_connection_broke(upload_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glossator.operations.PART_BYTES", 50_000)
    (tmp_path / "large.bin").write_bytes(content := bytes(range(251)) * 900)
    with Service(upload_settings, "127.0.0.1", 0, workers=False) as service:
        proxy = Cutting(int(service.url.rsplit(":", 1)[1]), 130_000, 215_000)
        with Client(proxy.url) as client:
            made = client.upload_file(tmp_path / "large.bin")
            assert (made["name"], made["digest"]) == ("large.bin", hashlib.sha256(content).hexdigest())
            # Each break costs a part at most, and each part some hundred bytes of headers.
            assert proxy.sent < len(content) + 2 * 50_000 + 20_000
            client.delete_file(made["id"])

            def stopped(sent: int) -> None:
                if sent >= len(content):
                    raise KeyboardInterrupt

            # A process that ends before the last part: the next one sends that alone.
            monkeypatch.setattr("glossator.archive.BLOCK_BYTES", 50_000)
            with pytest.raises(KeyboardInterrupt):
                client.upload_file(tmp_path / "large.bin", progress=stopped)
            assert len(client.list_files().to_list()) == 4
            before = proxy.sent
            made = client.upload_file(tmp_path / "large.bin")
            assert proxy.sent - before < 50_000
            assert [row["id"] for row in client.list_files()] == [made["id"]]
            client.delete_file(made["id"])
    assert objects(upload_settings) == []


def test_parts_expire_sooner_unless_they_are_uploads_of_their_own(http: httpx.Client, upload_settings: Settings) -> None:
    def days(made: httpx.Response) -> int:
        row = made.json()
        return (datetime.fromisoformat(row["expires_at"]) - datetime.fromisoformat(row["created_at"])).days

    assert days(send(http, b"a part", "x.part-0", part=True)) == upload_settings.retain_parts_days
    assert days(send(http, b"a file", "x")) == upload_settings.retain_uploads_days
    assert days(send(http, b"a file", "x", part=True)) == upload_settings.retain_uploads_days, "it was sent as a file before"
    whole = joined(http, [send(http, b"a part", "x.part-0", part=True).json()["id"]], b"a part")
    assert days(whole) == upload_settings.retain_uploads_days
