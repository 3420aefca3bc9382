"""Paths of a job lead to regular files inside the allowed roots, or nowhere; a refusal tells nothing of what is outside."""

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from api.app import create_app
from api.cli import checks
from api.cli.commands.submit import submit
from api.jobs import admission
from api.jobs.paths import located
from benches.in_process import InProcess
from glossator import ApiError, Client
from interp.config.settings import EXAMPLES, Settings
from interp.corpus.documents import index
from interp.corpus.listing import list_files
from interp.dictionary import formats
from interp.domain.errors import (
    CorpusChangedError,
    CorpusError,
    DictionaryFormatUnknownError,
    FileMissingError,
    GlossatorError,
    InputError,
    NotRegularFileError,
    PathRefusedError,
    ReadingTooLongError,
    SubjectError,
    problem_of,
)
from interp.domain.lifecycle import JobStatus, Queue, Stage
from interp.domain.spec import CorpusSpec, DictionarySpec, JobSpec, SubjectSpec
from interp.planning import preflight
from interp.security import allowed_files
from interp.security.allowed_files import Roots
from interp.store.db.engine import make_engine, snapshot, transaction
from interp.store.db.tables import JobRow
from interp.store.queue import jobs
from interp.subject.location import check_folder, read_config
from interp.subject.text.library import library_bos
from tests import databases
from workers import worker
from workers.runtime import Runtime, TaskResult, Work

EXAMPLE = EXAMPLES / "pystdlib"
FIELDS = ("subject.model", "dictionary.source", "corpus.path")
SECRET = "sk-what-nobody-may-read"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The one allowed folder, with a subject, a dictionary and a corpus; beside it lies a secret."""
    folder = tmp_path / "root"
    (folder / "corpus").mkdir(parents=True)
    for number in range(8):
        (folder / "corpus" / f"{number}.txt").write_text(f"text {number}", encoding="utf-8")
    for part in ("subject", "dictionary"):
        (folder / part).mkdir()
        for file in (EXAMPLE / part).iterdir():
            (folder / part / file.name).symlink_to(file)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.txt").write_text(SECRET, encoding="utf-8")
    return folder


def only(folder: Path) -> Roots:
    """A folder as the root, and the examples that its links lead to."""
    return Roots((os.path.realpath(folder), os.path.realpath(EXAMPLES)))


@pytest.fixture
def service(root: Path, tmp_path: Path) -> Settings:
    """A service that may read the root, and has its home in it."""
    found = Settings(home=root / "home", roots=(root, EXAMPLES), database_url=f"sqlite:///{tmp_path / 'jobs.db'}", broker_url="")
    found.home.mkdir()
    (found.home / "own.txt").write_text(SECRET, encoding="utf-8")
    return found


@pytest.fixture
def job(root: Path) -> JobSpec:
    return JobSpec(
        subject=SubjectSpec(model=str(root / "subject"), device="cpu"),
        dictionary=DictionarySpec(source=str(root / "dictionary")),
        corpus=CorpusSpec(path=str(root / "corpus")),
        explainers=("pattern",),
        scorers=("detection",),
    )


def changed(spec: JobSpec, field: str, path: str) -> JobSpec:
    section, name = field.split(".")
    return spec.model_copy(update={section: getattr(spec, section).model_copy(update={name: path})})


def problem(attempt: Callable[[], Any]) -> dict[str, Any]:
    with pytest.raises(GlossatorError) as error:
        attempt()
    return problem_of(error.value)


def test_the_job_itself_is_good(job: JobSpec, service: Settings) -> None:
    assert admission.check(job, service).facts.documents == 8


@pytest.mark.parametrize("path", ["/proc/self", "/proc/self/environ", "/proc/self/fd", "/sys", "/dev", "/dev/zero"])
@pytest.mark.parametrize("field", FIELDS)
def test_the_trees_of_the_system_are_never_read(job: JobSpec, field: str, path: str) -> None:
    for everything in (Roots(("/",)), Roots(("/", "/proc", "/sys", "/dev"))):
        with pytest.raises(PathRefusedError):
            preflight.check(changed(job, field, path), everything)


@pytest.mark.parametrize("field", FIELDS)
def test_an_answer_is_the_same_whether_something_is_there(job: JobSpec, service: Settings, root: Path, tmp_path: Path, field: str) -> None:
    (root / "link").symlink_to(tmp_path / "outside")
    (root / "dangling").symlink_to(tmp_path / "nothing")
    pairs = [
        (tmp_path / "outside", tmp_path / "nothing"),
        (tmp_path / "outside" / "secret.txt", tmp_path / "outside" / "none.txt"),
        (root / ".." / "outside", root / ".." / "nothing"),
        (root / "link", root / "dangling"),
        (root / "link" / "secret.txt", root / "link" / "none.txt"),
        (service.home, service.home / "none"),
        (tmp_path / "outside" / "pipe", tmp_path / "outside" / "no-pipe"),
    ]
    os.mkfifo(tmp_path / "outside" / "pipe")
    for there, gone in pairs:
        answers = [json.dumps(problem(lambda path=path: admission.check(changed(job, field, str(path)), service))) for path in (there, gone)]
        assert answers[0].replace(str(there), "PATH") == answers[1].replace(str(gone), "PATH")
        assert "GLOSSATOR_ROOTS" in answers[0]
        assert '"path-refused"' in answers[0]
        assert SECRET not in answers[0]


@pytest.mark.parametrize("name", ["~root", "~nosuchuser"])
def test_nobody_elses_home_is_looked_up(name: str) -> None:
    assert allowed_files.expand(f"{name}/x") == f"{name}/x"


def test_a_name_of_the_hub_says_nothing_of_the_working_directory(job: JobSpec, tmp_path: Path) -> None:
    for name in ("outside", "no-such-folder"):
        assert located(changed(job, "subject.model", name), tmp_path, only(tmp_path / "root")).subject.model == name


def test_over_rest_the_refusal_names_the_setting_and_no_more(job: JobSpec, service: Settings) -> None:
    databases.upgrade(service.database_url)
    content = changed(job, "corpus.path", "/proc/self").model_dump(mode="json")
    with httpx.Client(transport=InProcess(create_app(service)), base_url="http://test") as http:
        answer = http.post("/v1/jobs", json=content)
    assert answer.status_code == 422
    assert answer.json()["code"] == "path-refused"
    assert "GLOSSATOR_ROOTS" in answer.json()["cure"]


@pytest.mark.parametrize(
    ("field", "place", "code"),
    [
        ("corpus.path", "file:///etc/passwd", "corpus-invalid"),
        ("corpus.path", "http://127.0.0.1/text", "corpus-invalid"),
        ("corpus.path", "s3://bucket/text", "path-refused"),
        ("corpus.path", "hf://datasets/../etc", "corpus-invalid"),
        ("corpus.path", "hf://etc", "corpus-invalid"),
        ("dictionary.source", "s3://bucket/sae", "path-refused"),
        ("dictionary.source", "hf://../../etc", "dictionary-invalid"),
        ("dictionary.source", "hf://org/name@a/b@c", "dictionary-invalid"),
        ("dictionary.source", "wandb://one", "dictionary-invalid"),
        ("dictionary.source", "ftp://host/sae", "dictionary-invalid"),
    ],
)
def test_a_place_that_no_worker_would_read_is_refused_at_submission(job: JobSpec, service: Settings, field: str, place: str, code: str) -> None:
    refused = problem(lambda: admission.accept(changed(job, field, place), service))
    assert (refused["code"], bool(refused["cure"])) == (code, True)


def test_the_command_line_prints_the_cure(job: JobSpec, service: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    databases.upgrade(service.database_url)
    with Client("http://test", InProcess(create_app(service))) as client:
        monkeypatch.setattr("api.cli.connect.server", lambda: client)
        with pytest.raises(ApiError, match=r"Move it under an allowed root, or add its folder to GLOSSATOR_ROOTS"):
            # What exists on this side is sent instead.
            submit(None, job.subject.model, [job.dictionary.source], str(tmp_path / "nothing"))


def test_the_services_own_files_are_left_out_of_a_folder_above(service: Settings, root: Path) -> None:
    corpus = CorpusSpec(path=str(root), include=("**/*.txt",))
    (root / "corpus" / "own.txt").symlink_to(service.home / "own.txt")
    (root / "corpus" / "out.txt").symlink_to(root.parent / "outside" / "secret.txt")
    (root / "corpus" / "gone.txt").symlink_to(root.parent / "outside" / "nothing.txt")
    (root / "corpus" / "same.txt").symlink_to(root / "corpus" / "1.txt")
    with allowed_files.within(Roots.of(service)):
        listing = list_files(corpus)
    assert not [file.name for file in listing.files if "home" in file.name or Path(file.name).name in ("own.txt", "out.txt", "gone.txt")]
    assert listing.left_out == {"link that leads out": 3, "the service's own": 1}
    assert "corpus/same.txt" in [file.name for file in listing.files]


@pytest.mark.parametrize("link", ["file", "folder"])
def test_what_becomes_a_link_is_not_followed(root: Path, tmp_path: Path, link: str) -> None:
    (root / "corpus" / "secret.txt").write_text("harmless", encoding="utf-8")
    with allowed_files.within(only(root)):
        listing = list_files(CorpusSpec(path=str(root / "corpus")))
        place = root / "corpus" / "secret.txt" if link == "file" else root / "corpus"
        place.rename(tmp_path / "before")
        place.symlink_to(tmp_path / "outside" / ("secret.txt" if link == "file" else ""))
        with pytest.raises(CorpusError) as refused:
            index(CorpusSpec(path=str(root / "corpus")), listing)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("swapped", ["file", "folder"])
def test_a_link_that_comes_between_looking_and_opening_is_not_followed(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swapped: str
) -> None:
    path = root / "corpus" / "1.txt"
    resolve = Roots.resolve

    def slow(roots: Roots, given: Any) -> str:
        found = resolve(roots, given)
        place = path if swapped == "file" else path.parent
        place.rename(tmp_path / "before")
        (tmp_path / "outside" / "1.txt").write_text(SECRET, encoding="utf-8")
        place.symlink_to(tmp_path / "outside" / ("1.txt" if swapped == "file" else ""))
        return found

    monkeypatch.setattr(Roots, "resolve", slow)
    with pytest.raises((OSError, NotRegularFileError)):
        only(root).open_file(path)


def read_corpus(work: Work) -> TaskResult:
    """A task that reads what its job names."""
    index(work.spec.corpus)
    raise AssertionError("the corpus was read")


def test_a_worker_holds_what_the_database_says_against_its_own_roots(
    job: JobSpec, service: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    databases.upgrade(service.database_url)
    engine = make_engine(service.database_url)
    checked = admission.check(job, service)
    with transaction(engine) as session:
        stored = jobs.submit(session, checked.spec, checked.facts)
        stored.spec = changed(checked.spec, "corpus.path", str(tmp_path / "outside")).model_dump(mode="json")
        job_id = stored.id
    monkeypatch.setitem(worker.TASKS, Stage.PREPARE, f"{__name__}:{read_corpus.__name__}")
    worker.drain(Runtime.of(service), Queue.GPU)
    with snapshot(engine) as session:
        found = session.scalars(select(JobRow).where(JobRow.id == job_id)).one()
        assert found.status == JobStatus.FAILED
        assert SECRET not in json.dumps(found.error)
        assert (found.error or {})["code"] == "path-refused"
    engine.dispose()


READ = (
    "subject/config.json",
    "subject/tokenizer.json",
    "subject/tokenizer_config.json",
    "subject/generation_config.json",
    "subject/model.safetensors",
    "subject/special_tokens_map.json",
    "dictionary/cfg.json",
    "dictionary/sae_weights.safetensors",
)


@pytest.mark.parametrize("kind", ["pipe", "device", "socket"])
@pytest.mark.parametrize("place", READ)
def test_what_is_no_file_is_neither_waited_for_nor_read(
    job: JobSpec, service: Settings, root: Path, place: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = root / place
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        monkeypatch.chdir(path.parent)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    with pytest.raises((NotRegularFileError, PathRefusedError)):
        admission.check(job, service)


@pytest.mark.parametrize("name", ["x.npy", "x.pt", "x.safetensors", "params.npz", "corpus.jsonl"])
def test_a_single_file_that_is_none(job: JobSpec, service: Settings, root: Path, name: str) -> None:
    os.mkfifo(root / name)
    field = "corpus.path" if name == "corpus.jsonl" else "dictionary.source"
    with pytest.raises((NotRegularFileError, CorpusError)):
        admission.check(changed(job, field, str(root / name)), service)


@pytest.mark.parametrize("place", ["subject/config.json", "subject/tokenizer.json", "dictionary/cfg.json"])
def test_a_config_without_end_is_not_read(job: JobSpec, service: Settings, root: Path, place: str) -> None:
    (root / place).unlink()
    (root / place).touch()
    os.truncate(root / place, 1 << 40)
    with pytest.raises(InputError, match="is larger than"):
        admission.check(job, service)


def test_shards_lie_beside_their_index(job: JobSpec, root: Path) -> None:
    index_file = root / "subject" / "model.safetensors.index.json"
    for shard in ("../../outside/secret.txt", "/etc/passwd", "none.safetensors", 3):
        index_file.write_text(json.dumps({"weight_map": {"x": shard}}), encoding="utf-8")
        with allowed_files.within(only(root)), pytest.raises(SubjectError, match="shards"):
            check_folder(job.subject)
    index_file.write_text(json.dumps({"weight_map": {"x": "model.safetensors"}}), encoding="utf-8")
    (root / "subject" / "adapter_config.json").write_text('{"base_model_name_or_path": "/"}', encoding="utf-8")
    with allowed_files.within(only(root)), pytest.raises(SubjectError, match="adapter"):
        check_folder(job.subject)


def test_a_tokenizer_that_names_other_files_is_not_given_to_the_library(job: JobSpec, root: Path) -> None:
    (root / "subject" / "tokenizer_config.json").unlink()
    (root / "subject" / "tokenizer_config.json").write_text(json.dumps({"tokenizer_file": "/dev/zero"}), encoding="utf-8")
    assert library_bos(job.subject) is None


def test_a_refusal_names_nothing_that_a_folder_or_a_line_holds(root: Path) -> None:
    (root / "home-alike").mkdir()
    (root / "home-alike" / ".bashrc").write_text("", encoding="utf-8")
    with pytest.raises(DictionaryFormatUnknownError) as unknown:
        formats.read(DictionarySpec(source=str(root / "home-alike")))
    assert ".bashrc" not in str(unknown.value)
    (root / "keys.jsonl").write_text('{"private_key": "x", "client_email": "y"}\n', encoding="utf-8")
    with pytest.raises(CorpusError) as fields:
        index(CorpusSpec(path=str(root / "keys.jsonl")))
    assert "private_key" not in str(fields.value)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The Hub's cache with one model, whose file is a link to a blob."""
    model = tmp_path / "cache" / "models--org--tiny"
    for folder in ("snapshots/abc", "refs", "blobs"):
        (model / folder).mkdir(parents=True)
    (model / "blobs" / "1").write_text('{"model_type": "llama"}', encoding="utf-8")
    (model / "snapshots" / "abc" / "config.json").symlink_to(Path("../../blobs/1"))
    (model / "refs" / "main").write_text("abc", encoding="utf-8")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return model


def test_the_hubs_cache_is_read_by_names_of_the_hub_alone(cache: Path, tmp_path: Path) -> None:
    with allowed_files.within(Roots(())):
        assert read_config(SubjectSpec(model="org/tiny")) == {"model_type": "llama"}
        with pytest.raises(PathRefusedError):
            read_config(SubjectSpec(model=str(cache / "snapshots" / "abc")))
        (cache / "snapshots" / "abc" / "config.json").unlink()
        (tmp_path / "config.json").write_text("{}", encoding="utf-8")
        (cache / "snapshots" / "abc" / "config.json").symlink_to(tmp_path / "config.json")
        with pytest.raises(PathRefusedError):
            read_config(SubjectSpec(model="org/tiny"))


def test_a_folder_of_the_working_directory_is_not_taken_for_a_name_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "org" / "tiny").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with allowed_files.within(Roots(())), pytest.raises(PathRefusedError):
        check_folder(SubjectSpec(model="org/tiny"))


def test_the_default_roots_are_those_of_a_machine_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GLOSSATOR_ROOTS")
    monkeypatch.chdir(tmp_path)
    assert tmp_path in Settings().allowed_roots
    assert EXAMPLES in Settings().allowed_roots
    assert Settings(host="0.0.0.0").allowed_roots == ()
    assert Settings(broker_url="redis://127.0.0.1/0").allowed_roots == ()
    assert Settings(host="::1").allowed_roots == Settings(host="localhost").allowed_roots == Settings().allowed_roots
    monkeypatch.chdir("/")
    assert Path("/") not in Settings().allowed_roots


@pytest.mark.parametrize(("text", "found"), [("/a:/b", ["/a", "/b"]), ('["/a", "/b:c"]', ["/a", "/b:c"]), ("[]", [])])
def test_roots_are_named_as_a_list(text: str, found: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOSSATOR_ROOTS", text)
    assert Settings().allowed_roots == tuple(map(Path, found))
    monkeypatch.setenv("GLOSSATOR_ROOTS", Settings().environment()["GLOSSATOR_ROOTS"])
    assert Settings().allowed_roots == tuple(map(Path, found))


def test_a_root_that_is_a_file(root: Path) -> None:
    only = Roots((os.path.realpath(root / "corpus" / "1.txt"),))
    with only.open_file(root / "corpus" / "1.txt") as handle:
        assert handle.read() == b"text 1"
    with pytest.raises(PathRefusedError):
        only.open_file(root / "corpus" / "2.txt")


def test_a_missing_file_inside_says_so(job: JobSpec, service: Settings, root: Path) -> None:
    with pytest.raises(FileMissingError):
        admission.check(changed(job, "corpus.path", str(root / "none")), service)
    with pytest.raises(InputError, match="is no folder"):
        admission.check(changed(job, "subject.model", str(root / "none")), service)


def test_what_a_submission_reads_is_bounded_in_bytes_and_time(job: JobSpec, service: Settings) -> None:
    for change, says in (({"preflight_max_bytes": 200_000}, "reads 200000 bytes at most"), ({"preflight_timeout_seconds": 1e-6}, "within 1e-06 s")):
        with pytest.raises(ReadingTooLongError, match=says) as refused:
            admission.check(job, service.model_copy(update=change))
        assert "GLOSSATOR_PREFLIGHT_MAX_BYTES" in refused.value.cure
    assert admission.check(job, service.model_copy(update={"preflight_max_bytes": 64 << 20})).facts.documents == 8


def test_numbers_that_are_too_many_are_left_to_the_worker(job: JobSpec, service: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "FINITE_BYTES", 1)
    assert admission.check(job, service).facts.documents == 8


def test_a_corpus_that_grows_while_it_is_read_is_read_as_it_was_seen(root: Path) -> None:
    for name in ("grows.txt", "grows.jsonl"):
        (root / name).write_text('{"text": "seen"}\n', encoding="utf-8")
        spec = CorpusSpec(path=str(root / name))
        listing = list_files(spec)
        os.truncate(root / name, 1 << 40)
        found = index(spec, listing)
        assert [entry.place.stop for entry in found.entries] == [len('{"text": "seen"}\n')]
        with pytest.raises(CorpusChangedError):
            list(found.documents())


def test_a_folder_of_too_many_files_is_no_model(job: JobSpec, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allowed_files, "MOST_NAMES", 3)
    with pytest.raises(InputError, match="more than 3 files"):
        check_folder(job.subject)


def test_the_doctor_says_what_jobs_may_read(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for roots, well, says in (
        ((), True, "no files"),
        ((tmp_path / "data",), True, str(tmp_path / "data")),
        ((tmp_path / "gone",), False, "does not exist"),
        ((tmp_path / "home" / "x",), False, "the service's own"),
        ((Path("/proc"),), False, "the system's"),
    ):
        [finding] = checks.roots(Settings(home=tmp_path / "home", roots=roots))
        assert (finding.well, says in finding.detail) == (well, True), finding


@pytest.mark.parametrize("text", ["", " ", os.pathsep])
def test_an_empty_text_leaves_the_default_roots(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOSSATOR_ROOTS", text)
    assert Settings().roots is None
