"""Uploads and jobs on them, with a folder and with a bucket."""

import hashlib
import json
import socket
import tarfile
import threading
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import delete, update

from api.app import create_app
from api.server import Service
from benches.in_process import InProcess
from glossator import ApiError, Client
from interp.config.settings import Settings
from interp.domain.access import Scope
from interp.domain.lifecycle import Queue
from interp.domain.spec import JobSpec
from interp.files import artifact_store
from interp.store.access import keys
from interp.store.db.engine import make_engine, snapshot, transaction
from interp.store.db.tables import UploadRow
from interp.store.queue import jobs
from interp.store.results import runs
from tests import databases
from tests.artifacts.bucket import Bucket
from tests.artifacts.uploading import objects, packed_zip, send, tar
from tests.faults.results import results
from workers import uploads as local_uploads
from workers.maintenance import cleanup
from workers.runtime import Runtime
from workers.worker import drain


def special(name: str, kind: bytes, target: str = "") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


def test_an_upload_is_listed_with_its_digest_and_deleted(http: httpx.Client, upload_settings: Settings) -> None:
    content = b'{"text": "one"}\n' * 1000
    answer = send(http, content)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    digest = hashlib.sha256(content).hexdigest()
    assert (made["digest"], made["bytes"], made["kind"], made["uri"]) == (digest, len(content), "file", f"upload://{made['id']}")
    assert made["expires_at"] > made["created_at"]
    assert http.get("/v1/files", params={"digest": digest}).json()["items"] == [made]
    assert http.get("/v1/files", params={"digest": "0" * 64}).json()["items"] == []
    detail = http.get(f"/v1/files/{made['id']}").json()
    assert detail["content"] == [{"path": "corpus.jsonl", "bytes": len(content), "digest": digest}]
    assert http.delete(f"/v1/files/{made['id']}").json() == made
    assert (http.get(f"/v1/files/{made['id']}").status_code, http.delete(f"/v1/files/{made['id']}").status_code) == (404, 404)
    assert objects(upload_settings) == []


def test_the_same_bytes_twice_are_stored_once(http: httpx.Client, upload_settings: Settings) -> None:
    content = b"the same bytes " * 900
    one, other = send(http, content, "one.txt").json(), send(http, content, "other.txt").json()
    folder = send(http, tar(("a/one.txt", content), ("b.txt", content)), "folder", unpack=True).json()
    assert len({one["id"], other["id"], folder["id"]}) == 3
    assert len(objects(upload_settings)) == 1
    assert send(http, content, "one.txt").json()["id"] == one["id"], "the same name and content again is the same upload"
    http.delete(f"/v1/files/{one['id']}")
    assert len(objects(upload_settings)) == 1, "others have it"
    assert [row["path"] for row in http.get(f"/v1/files/{folder['id']}").json()["content"]] == ["a/one.txt", "b.txt"]


@pytest.mark.parametrize(
    "pack",
    [
        lambda *entries: tar(*entries),
        lambda *entries: tar(*entries, mode="w:gz"),
        lambda *entries: tar(*entries, mode="w:xz"),
        lambda *entries: packed_zip(*entries),
    ],
    ids=["tar", "tar.gz", "tar.xz", "zip"],
)
def test_an_archive_becomes_a_folder_of_one_digest_however_it_is_packed(http: httpx.Client, pack: Callable[..., bytes]) -> None:
    # torch's files are zips: a tar that ends with one is none.
    files = {"cfg.json": b"{}", "inner/weights.safetensors": b"\x00" * 5000, "z.pt": packed_zip(("data.pkl", b"x"))}
    made = send(http, pack(*files.items()), "sae", unpack=True).json()
    lines = sorted(f"{name}\0{len(content)}\0{hashlib.sha256(content).hexdigest()}\n".encode() for name, content in files.items())
    assert (made["kind"], made["files"], made["bytes"], made["name"]) == ("folder", 3, sum(map(len, files.values())), "sae")
    assert made["digest"] == hashlib.sha256(b"".join(lines)).hexdigest()


HOSTILE = {
    "a path out": tar(("../out", b"x")),
    "an absolute path": tar(("/etc/passwd", b"x")),
    "a path out of a zip": packed_zip(("inner/../../out", b"x")),
    "a link": tar(special("link", tarfile.SYMTYPE, "/etc/passwd")),
    "a link in a zip": packed_zip((_link := zipfile.ZipInfo("link"), b"/etc/passwd")),
    "a hard link": tar(("file", b"x"), special("link", tarfile.LNKTYPE, "file")),
    "a device": tar(special("null", tarfile.CHRTYPE)),
    "a pipe": tar(special("pipe", tarfile.FIFOTYPE)),
    "a name with an escape": tar(("a\x1b[2Jb", b"x")),
    "a name twice": tar(("file", b"x"), ("FILE", b"y")),
    "a file as a folder": tar(("file", b"x"), ("file/inner", b"y")),
    "a long name": tar(("x" * 300, b"y")),
    "a deep path": tar(("a/" * 20 + "b", b"y")),
    "too many files": tar(*((str(number), b"x") for number in range(21))),
    "half an archive": tar(("file", b"x" * 5000))[:3000],
    "no archive": b"not at all",
    "nothing": b"",
    "an empty archive": tar(),
}
_link.external_attr = 0o120777 << 16
HOSTILE["a link in a zip"] = packed_zip((_link, b"/etc/passwd"))


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_archives_are_refused_and_leave_nothing(http: httpx.Client, upload_settings: Settings, kind: str) -> None:
    answer = send(http, HOSTILE[kind], "archive", unpack=True)
    assert (answer.status_code, answer.json()["code"]) == (422, "upload-invalid"), answer.text
    assert answer.json()["cure"]
    assert objects(upload_settings) == []


@pytest.mark.parametrize("content", [tar(("a", b"\0" * 400_000), mode="w:gz"), packed_zip(("a", b"\0" * 400_000)), tar(("a", b"1" * 310_000))])
def test_an_archive_of_more_than_is_taken_is_refused(http: httpx.Client, upload_settings: Settings, content: bytes) -> None:
    answer = send(http, content, "bomb", unpack=True)
    assert (answer.status_code, answer.json()["code"]) == (413, "upload-too-large"), answer.text
    assert objects(upload_settings) == []


@pytest.mark.parametrize("name", ["..", "a/b", "a\\b", "\x1b[2J", " \x7f", "x" * 256, "\u202ebad"])
def test_hostile_names_are_refused(http: httpx.Client, name: str) -> None:
    assert send(http, b"x", name).status_code == 422


def test_limits_name_their_setting(http: httpx.Client, upload_settings: Settings) -> None:
    large = send(http, b"x" * 300_001)
    assert (large.status_code, "GLOSSATOR_UPLOAD_MAX_BYTES" in large.json()["cure"]) == (413, True)
    # Nothing says how long this one is.
    unannounced = send(http, b"x" * 300_001, "a", unpack=True)
    assert unannounced.status_code == 413
    assert send(http, b"a" * 200_000, "a").status_code == 201
    assert send(http, b"a" * 200_000, "b").status_code == 201, "stored once, counted for its owner twice"
    quota = send(http, b"b" * 150_000, "c")
    assert (quota.status_code, "GLOSSATOR_UPLOADS_OWNER_MAX_BYTES" in quota.json()["cure"]) == (429, True)
    assert len(objects(upload_settings)) == 1


def test_all_uploads_together_have_a_limit(http: httpx.Client, upload_settings: Settings) -> None:
    assert send(http, b"a" * 240_000, "a").status_code == 201
    full = send(http, b"b" * 240_000, "b")
    assert (full.status_code, "GLOSSATOR_UPLOADS_TOTAL_MAX_BYTES" in full.json()["cure"]) == (507, True)
    assert len(objects(upload_settings)) == 1


def test_uploads_at_the_same_time_pass_no_quota(http: httpx.Client, upload_settings: Settings) -> None:
    """Each alone fits: the first look at the quota lets all of them in."""
    answers: list[httpx.Response] = []

    def one(number: int) -> None:
        answers.append(send(http, tar(("file", bytes([number]) * 200_000)), f"folder-{number}", unpack=True))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.status_code for answer in answers) == [201, 201, 429, 429], [answer.text for answer in answers]
    assert len(objects(upload_settings)) == 2


def test_an_upload_that_breaks_off_leaves_nothing(upload_settings: Settings) -> None:
    """On a real socket, for a body that is announced and one that is not."""
    with Service(upload_settings, "127.0.0.1", 0, workers=False) as service, Client(service.url) as client:
        port = int(service.url.rsplit(":", 1)[1])
        for head, part in (("Content-Length: 200000", b"x" * 100_000), ("Transfer-Encoding: chunked", b"186a0\r\n" + b"x" * 100_000 + b"\r\n")):
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.sendall(f"POST /v1/files?name=a HTTP/1.1\r\nHost: 127.0.0.1\r\n{head}\r\n\r\n".encode() + part)
        # Four may be received at once: with places left over, all of these would be refused.
        sent = [client.upload_file(file)["name"] for file in (Path(__file__), Path(databases.__file__))]
        assert sent == ["test_uploads.py", "databases.py"]
        for row in list(client.list_files()):
            client.delete_file(row["id"])
    assert objects(upload_settings) == []
    assert not [path for path in (upload_settings.home / "cache").rglob("*") if path.is_file()]


def test_an_upload_that_says_that_it_is_too_large_is_not_read(upload_settings: Settings, tmp_path: Path) -> None:
    """The server refuses it before it has come."""
    with (
        Service(upload_settings, "127.0.0.1", 0, workers=False) as service,
        socket.create_connection(("127.0.0.1", int(service.url.rsplit(":", 1)[1]))) as mine,
    ):
        mine.sendall(b"POST /v1/files?name=a HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99999999999999\r\nExpect: 100-continue\r\n\r\n")
        answer = mine.recv(65536)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"connection: close" in answer.lower()


def uploaded(client: Client, spec: JobSpec) -> dict[str, Any]:
    """The job on uploads of its files."""
    body = spec.model_dump(mode="json")
    corpus, dictionary, subject = (client.upload_file(path)["uri"] for path in (spec.corpus.path, spec.dictionary.source, spec.subject.model))
    return body | {
        "corpus": body["corpus"] | {"path": corpus},
        "dictionary": body["dictionary"] | {"source": dictionary},
        "subject": body["subject"] | {"model": subject},
    }


@pytest.fixture(scope="module")
def spec(tiny_job: JobSpec) -> JobSpec:
    return tiny_job.model_copy(update={"features": "0-7", "corpus": tiny_job.corpus.model_copy(update={"max_tokens": 4000}), "scorers": ()})


@pytest.fixture(scope="module")
def expected(spec: JobSpec, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The rows of the job on local paths."""
    settings = Settings(home=tmp_path_factory.mktemp("local"), roots=(Path(spec.corpus.path).parent,))
    databases.upgrade(settings.database_url)
    with Client("http://test", InProcess(create_app(settings))) as client:
        job = client.submit_job(spec.model_dump(mode="json"))
    runtime = Runtime.of(settings)
    drain(runtime, Queue.GPU, Queue.LLM)
    with snapshot(runtime.engine) as session:
        assert jobs.get(session, job["id"]).status == "completed"
    return results(runtime.engine)


@pytest.mark.parametrize("shared", [False, True], ids=["one machine", "a bucket between"])
def test_a_job_on_uploads_equals_the_job_on_local_files(
    spec: JobSpec, expected: Any, shared: bool, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """No root and no disk in common: workers have the uploads, and nothing else."""
    api = Settings(home=tmp_path / "api", roots=())
    worker = api
    if shared:
        bucket: Bucket = request.getfixturevalue("bucket")
        url = str(request.getfixturevalue("postgres_url"))
        api = Settings(
            home=tmp_path / "api",
            roots=(),
            database_url=url,
            artifacts_url=bucket.url,
            artifact_options=bucket.options,
            broker_url="redis://127.0.0.1:1/0",
        )
        worker = api.model_copy(update={"home": tmp_path / "worker"})
    databases.upgrade_and_empty(api.database_url)
    runtime = Runtime.of(worker)
    with Client("http://test", InProcess(create_app(api))) as client:
        body = uploaded(client, spec)
        job = client.submit_job(body)
        assert job["status"] == ("checking" if shared else "queued")
        upload = body["corpus"]["path"].removeprefix("upload://")
        with pytest.raises(ApiError) as needed:
            client.delete_file(upload)
        assert needed.value.status == 409
        drain(runtime, Queue.GPU, Queue.LLM)
        done = client.get_job(job["id"])
        assert done["status"] == "completed", done["error"]
        assert done["spec"]["corpus"]["path"] == body["corpus"]["path"]
        assert results(runtime.engine) == expected
        with snapshot(runtime.engine) as session:
            (run,) = runs.page(session, None, 0, 2)
        assert run[0].corpus["path"] == body["corpus"]["path"], "an answer names no folder of the server"
        client.delete_file(upload)
        local_uploads.clear_unused(runtime.engine, worker)
        assert not (worker.uploads_folder / upload).exists()
        with pytest.raises(ApiError) as gone:
            client.submit_job(body)
        assert gone.value.status == 422
        for row in list(client.list_files()):
            client.delete_file(row["id"])


def test_jobs_name_no_uploads_of_others_and_no_files_beside_them(http: httpx.Client, spec: JobSpec) -> None:
    made = send(http, b"text", "corpus.txt").json()
    body = spec.model_dump(mode="json")
    for path in (f"upload://{'0' * 32}", "upload://../../etc", f"{made['uri']}/../x", f"{made['uri']}/..", "upload://", f"{made['uri']}//x"):
        answer = http.post("/v1/jobs", json=body | {"corpus": {"path": path}})
        assert answer.status_code == 422, path


def test_an_upload_expires_unless_a_job_needs_it(upload_settings: Settings, http: httpx.Client, spec: JobSpec) -> None:
    kept, old = send(http, b"needed", "kept.txt").json(), send(http, b"old", "old.txt").json()
    engine = make_engine(upload_settings.database_url)
    named = spec.model_copy(update={"corpus": spec.corpus.model_copy(update={"path": kept["uri"]})})
    with transaction(engine) as session:
        job_id = jobs.submit(session, named).id
        session.execute(update(UploadRow).values(expires_at=datetime(2020, 1, 1, tzinfo=UTC)))
    assert cleanup.prune(engine, upload_settings, dry_run=True)["uploads"] == 2
    assert cleanup.prune(engine, upload_settings)["uploads"] == 1
    assert [row["id"] for row in http.get("/v1/files").json()["items"]] == [kept["id"]]
    assert http.get(f"/v1/files/{old['id']}").status_code == 404
    with transaction(engine) as session:
        jobs.cancel(session, job_id)
    assert cleanup.prune(engine, upload_settings)["uploads"] == 1
    assert objects(upload_settings) == []
    local_uploads.clear_unused(engine, upload_settings)
    engine.dispose()


def test_content_without_an_upload_is_cleared_away_once_it_is_old(
    upload_settings: Settings, http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a server leaves it that was killed between the store and the database."""
    send(http, b"content")
    engine = make_engine(upload_settings.database_url)
    with transaction(engine) as session:
        session.execute(delete(UploadRow))
        session.connection().exec_driver_sql("DELETE FROM upload_blobs")
    cleanup.prune(engine, upload_settings)
    assert len(objects(upload_settings)) == 1, "it may be of an upload that is not over"
    monkeypatch.setattr(local_uploads, "ORPHAN_AGE", timedelta(seconds=-60))
    cleanup.prune(engine, upload_settings)
    assert objects(upload_settings) == []
    local_uploads.clear_unused(engine, upload_settings)
    engine.dispose()
    assert json.loads(http.get("/v1/files").text)["items"] == []


def test_owners_see_their_own_uploads_alone(tmp_path: Path, spec: JobSpec) -> None:
    """By keys of two owners and an admin's."""
    settings = Settings(home=tmp_path, roots=(Path(spec.subject.model).parent,))
    databases.upgrade(settings.database_url)
    engine = make_engine(settings.database_url)
    with transaction(engine) as session:
        made = {
            name: keys.create(session, name, [scope], "test").text
            for name, scope in (("ann", Scope.SUBMIT), ("bob", Scope.SUBMIT), ("root", Scope.ADMIN))
        }
    engine.dispose()
    with httpx.Client(transport=InProcess(create_app(settings)), base_url="http://test") as http:
        as_ann, as_bob, as_root = ({"Authorization": f"Bearer {made[name]}"} for name in ("ann", "bob", "root"))
        mine = http.post("/v1/files", params={"name": "a"}, content=b"ann's", headers=as_ann).json()
        theirs = http.post("/v1/files", params={"name": "a"}, content=b"ann's", headers=as_bob).json()
        assert mine["id"] != theirs["id"], "equal content is stored once, and owned by each"
        assert [row["id"] for row in http.get("/v1/files", headers=as_ann).json()["items"]] == [mine["id"]]
        assert len(http.get("/v1/files", headers=as_root).json()["items"]) == 2
        for method in (http.get, http.delete):
            assert method(f"/v1/files/{mine['id']}", headers=as_bob).status_code == 404
        body = spec.model_dump(mode="json") | {"corpus": {"path": mine["uri"]}}
        refused = http.post("/v1/jobs", json=body, headers=as_bob)
        assert (refused.status_code, refused.json()["code"]) == (422, "file-missing")
        assert http.delete(f"/v1/files/{mine['id']}", headers=as_root).status_code == 200


def test_a_store_that_does_not_answer_is_told_as_such(tmp_path: Path) -> None:
    """For a file that goes at its end, and one that goes in parts."""
    closed = {"endpoint_url": "http://127.0.0.1:1", "key": "k", "secret": "s", "config_kwargs": {"retries": {"max_attempts": 0}}}
    settings = Settings(home=tmp_path, artifacts_url="s3://gone/folder", artifact_options=closed)
    databases.upgrade(settings.database_url)
    with httpx.Client(transport=InProcess(create_app(settings)), base_url="http://test", timeout=60) as http:
        for content in (b"small", b"x" * (artifact_store.PART_BYTES + 1)):
            answer = send(http, content)
            assert (answer.status_code, answer.json()["code"]) == (503, "artifacts-unreachable"), answer.text
        assert http.get("/v1/files").json()["items"] == []
