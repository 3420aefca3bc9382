"""A corpus is hashed once a job, by a worker; submission looks at names and sizes, and reads a bounded share of a large one."""

import dataclasses
import gzip
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest
from sqlalchemy import select

from api.jobs import estimate, estimate_sample
from benches import tiny
from interp.config.settings import Settings
from interp.corpus import documents
from interp.corpus.corpus_files import CorpusFile
from interp.domain.lifecycle import Queue
from interp.domain.spec import CorpusSpec, JobSpec
from interp.planning import preflight
from interp.store.db.engine import snapshot, transaction
from interp.store.db.tables import ChunkRow, JobRow, RunRow
from interp.store.queue import jobs
from tests import databases
from workers.runtime import Runtime
from workers.tasks import prepare
from workers.worker import drain, run_chunk

pytestmark = pytest.mark.timeout(300)


class Reads:
    """What was opened, and how many bytes were read of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened: Counter[str] = Counter()
        self.nbytes = 0
        original = CorpusFile.open

        def opened(file: CorpusFile) -> IO[bytes]:
            self.opened[file.name] += 1
            handle = original(file)
            read = handle.read

            def counted(size: int = -1) -> bytes:
                content = read(size)
                self.nbytes += len(content)
                return content

            handle.read = counted  # type: ignore[method-assign]
            return handle

        monkeypatch.setattr(CorpusFile, "open", opened)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    return Reads(monkeypatch)


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every corpus is a large one."""
    monkeypatch.setattr(preflight, "READ_BYTES", 512)
    monkeypatch.setattr(preflight, "CHECKED_FILES", 8)


@pytest.fixture
def runtime(settings: Settings) -> Runtime:
    return Runtime.of(settings)


@pytest.fixture
def spec(tiny_job: JobSpec, tmp_path: Path) -> JobSpec:
    """The tiny job on a corpus of its own, a document a file."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    for number, text in enumerate(tiny.some_texts()):
        (folder / f"{number:03}.txt").write_text(text, encoding="utf-8")
    return tiny_job.model_copy(update={"corpus": CorpusSpec(path=str(folder))})


def submitted(runtime: Runtime, spec: JobSpec) -> str:
    facts = preflight.check(spec)
    with transaction(runtime.engine) as session:
        return jobs.submit(session, spec, facts).id


def test_fetching_copying_and_reading_are_one_progress(tiny_job: JobSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "texts").mkdir()
    for number, text in enumerate(tiny.some_texts()):
        (tmp_path / "texts" / f"{number:03}.txt.gz").write_bytes(gzip.compress(text.encode()))
    settings = Settings(home=tmp_path / "home")
    databases.upgrade(settings.database_url)
    runtime, spec = Runtime.of(settings), tiny_job.model_copy(update={"corpus": CorpusSpec(path=str(tmp_path / "texts"))})
    submitted(runtime, spec)
    shares: list[float] = []

    def report(_work: object, share: float) -> None:
        shares.append(share)

    def fetch(asked: JobSpec, progress: Callable[[float], None]) -> JobSpec:
        for share in (0.0, 0.5, 1.0):
            progress(share)
        return asked

    monkeypatch.setattr(documents, "PROGRESS_EVERY", 16)
    monkeypatch.setattr(prepare, "_report", report)
    monkeypatch.setattr(prepare, "fetch", fetch)
    assert run_chunk(runtime, Queue.GPU)
    assert shares == sorted(shares)
    copied = [share for share in shares if prepare.FETCHED < share <= prepare.COPIED]
    read = [share for share in shares if prepare.COPIED < share <= prepare.KNOWN]
    assert shares[:3] == [0.0, prepare.FETCHED / 2, prepare.FETCHED]
    assert min(len(copied), len(read)) > 1


def job_of(runtime: Runtime, job_id: str) -> JobRow:
    with snapshot(runtime.engine) as session:
        return jobs.get(session, job_id)


def digest_of_run(runtime: Runtime, job_id: str) -> str:
    with snapshot(runtime.engine) as session:
        return session.scalars(select(RunRow.digest).join(JobRow, JobRow.run_id == RunRow.id).where(JobRow.id == job_id)).one()


@pytest.mark.usefixtures("large")
def test_submission_reads_a_bounded_share_and_workers_hash_once(runtime: Runtime, spec: JobSpec, reads: Reads) -> None:
    files = {path.name for path in Path(spec.corpus.path).iterdir()}
    job_id = submitted(runtime, spec)
    assert len(reads.opened) <= 8 < len(files)
    assert reads.nbytes <= 512
    assert preflight.check(spec).dictionaries[0].evidence_id is None
    reads.opened.clear()
    assert run_chunk(runtime, Queue.GPU)
    assert set(reads.opened) == files
    assert set(reads.opened.values()) == {2}, "once to hash, once to tokenise"
    drain(runtime, Queue.GPU, Queue.LLM)
    assert set(reads.opened.values()) == {2}
    assert job_of(runtime, job_id).status == "completed"
    reads.opened.clear()
    submitted(runtime, spec)
    reads.opened.clear()
    drain(runtime, Queue.GPU, Queue.LLM)
    assert set(reads.opened) == files
    assert set(reads.opened.values()) == {1}, "evidence is there: hashed, and read no more"


def test_large_and_small_give_the_same_evidence(runtime: Runtime, spec: JobSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    small = preflight.check(spec)
    monkeypatch.setattr(preflight, "READ_BYTES", 512)
    job_id = submitted(runtime, spec)
    drain(runtime, Queue.GPU, Queue.LLM)
    assert small.dictionaries[0].evidence_id == digest_of_run(runtime, job_id)
    # An estimate knows the evidence of a large corpus by the files' names, sizes and times.
    facts = preflight.check(spec)
    assert facts.dictionaries[0].evidence_id is None
    assert estimate_sample.draw(spec, facts, runtime.engine)[0].basis == "evidence"
    os.utime(Path(spec.corpus.path) / "000.txt", ns=(1, 1))
    assert estimate_sample.draw(spec, preflight.check(spec), runtime.engine)[0].basis == "settings"


def test_a_corpus_that_changes_before_the_job_starts(runtime: Runtime, spec: JobSpec) -> None:
    job_id = submitted(runtime, spec)
    assert job_of(runtime, job_id).warnings == []
    (Path(spec.corpus.path) / "new.txt").write_text("one more document", encoding="utf-8")
    drain(runtime, Queue.GPU, Queue.LLM)
    job = job_of(runtime, job_id)
    assert job.status == "completed"
    assert [warning["code"] for warning in job.warnings or []] == ["corpus-changed"]
    assert digest_of_run(runtime, job_id) == preflight.check(spec).dictionaries[0].evidence_id


def test_one_document_that_is_most_of_a_split_is_warned_of(runtime: Runtime, spec: JobSpec) -> None:
    (Path(spec.corpus.path) / "LICENSE").write_text("You may copy this. " * 5000, encoding="utf-8")
    facts = preflight.check(spec)
    split = next(warning for warning in facts.warnings if warning.code.startswith("corpus-one-document-"))
    assert split.detail.startswith("LICENSE holds")
    assert facts.corpus["by_suffix"]["none"]["files"] == 1
    job_id = submitted(runtime, spec)
    drain(runtime, Queue.GPU, Queue.LLM)
    found = job_of(runtime, job_id).warnings or []
    assert [warning["code"] for warning in found] == [split.code]
    assert "LICENSE" in found[0]["detail"]
    # The same of evidence that is there already.
    again = submitted(runtime, spec)
    drain(runtime, Queue.GPU, Queue.LLM)
    assert job_of(runtime, again).warnings == found


def test_an_estimate_says_what_would_be_read(runtime: Runtime, spec: JobSpec) -> None:
    os.mkfifo(Path(spec.corpus.path) / "pipe")
    facts = preflight.check(spec)
    drawn = estimate_sample.draw(spec, facts, runtime.engine)
    answer = estimate.answer(spec, drawn, [estimate.count(spec, one.sample(spec)) for one in drawn], facts)
    assert answer.corpus is not None
    assert answer.corpus.by_suffix[".txt"].files == answer.corpus.files
    assert answer.corpus.left_out == {"named pipe": 1}
    assert [warning.code for warning in answer.warnings] == ["corpus-entries-left-out"]


def test_what_a_large_corpus_hides_fails_the_job_with_the_same_words(runtime: Runtime, spec: JobSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "READ_BYTES", 64)
    monkeypatch.setattr(preflight, "CHECKED_FILES", 1)
    last = sorted(Path(spec.corpus.path).iterdir())[-1]
    last.write_bytes(b"caf\xe9")
    job_id = submitted(runtime, spec)
    drain(runtime, Queue.GPU, Queue.LLM)
    job = job_of(runtime, job_id)
    assert job.status == "failed"
    assert (job.error or {})["code"] == "text-undecodable"
    with snapshot(runtime.engine) as session:
        assert session.scalars(select(ChunkRow.attempts).where(ChunkRow.job_id == job_id)).all() == [1]


def test_the_warnings_are_told_once_a_code() -> None:
    from interp.domain.job_warnings import JobWarning, merged

    first = merged((), [JobWarning("a", "one"), JobWarning("b", "two \udce9")])
    assert merged(first, [JobWarning("a", "three")]) == [{"code": "a", "detail": "three"}, {"code": "b", "detail": "two \\udce9"}]
    assert dataclasses.asdict(JobWarning("a", "one")) == first[0]
