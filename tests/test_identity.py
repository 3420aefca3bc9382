"""Two jobs share evidence when, and only when, everything that decides it is the same."""

from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest

from interp.corpus.documents import index
from interp.dictionary.formats import dictionary_digest
from interp.domain.spec import TEST_COUNTS, CollectionSpec, JobSpec, ScorerSpec, SplitCounts
from interp.planning.fingerprint import evidence_id
from interp.security.allowed_files import file_digest
from interp.subject.location import subject_digest
from tests.test_preflight import changed, job, write_dictionary

__all__ = ["job"]


@pytest.mark.parametrize(
    ("part", "settings"),
    [
        ("subject", {"dtype": "bfloat16"}),
        ("subject", {"backend": "bridge"}),
        ("subject", {"load_in": "8bit"}),
        ("dictionary", {"hook_point": "blocks.0.hook_resid_post"}),
        ("corpus", {"max_tokens": 1000}),
        ("corpus", {"test_share": 0.3}),
        ("collection", {"window": 32}),
        ("collection", {"test": SplitCounts(top=11)}),
        ("collection", {"encode_dtype": "bfloat16"}),
        ("collection", {"packing": True}),
    ],
)
def test_what_decides_evidence(job: JobSpec, part: str, settings: dict[str, Any]) -> None:
    assert evidence_id(changed(job, part, **settings))[0] != evidence_id(job)[0]


def test_the_default_backend_joins_evidence_of_the_one_that_it_takes(job: JobSpec) -> None:
    assert job.subject.backend == "auto"
    assert evidence_id(changed(job, "subject", backend="huggingface"))[0] == evidence_id(job)[0]


def test_the_seed_decides_too(job: JobSpec) -> None:
    assert evidence_id(job.model_copy(update={"seed": 1}))[0] != evidence_id(job)[0]


@pytest.mark.parametrize(
    "settings",
    [
        {"features": "0-3"},
        {"explainers": ("other",)},
        {"scorers": (ScorerSpec(name="detection", nulls=3),)},
        {"controls": ()},
        {"priority": 5},
    ],
)
def test_what_does_not(job: JobSpec, settings: dict[str, Any]) -> None:
    assert evidence_id(job.model_copy(update=settings)) == evidence_id(job)


def test_nor_do_sizes_of_work_names_and_places(job: JobSpec, tmp_path: Path) -> None:
    same = changed(job, "collection", batch_tokens=64, shard_tokens=2048)
    same = changed(same, "dictionary", name="mine@first", hook_point="blocks.1.hook_out", source=str(copytree(job.dictionary.source, tmp_path / "d")))
    same = changed(same, "subject", device="auto", model=str(copytree(job.subject.model, tmp_path / "s")))
    same = changed(same, "corpus", path=str(copytree(job.corpus.path, tmp_path / "t")))
    assert evidence_id(same) == evidence_id(job)


def test_a_setting_that_came_later_leaves_the_identity_of_jobs_without_it(job: JobSpec) -> None:
    assert "packing" not in evidence_id(job)[1]["collection"]
    assert evidence_id(changed(job, "collection", packing=False)) == evidence_id(job)


def test_contents_decide(job: JobSpec) -> None:
    before = subject_digest(job.subject), dictionary_digest(job.dictionary), index(job.corpus).digest
    write_dictionary(Path(job.dictionary.source), b_dec=np.zeros(16, dtype=np.float32))
    tokenizer = Path(job.subject.model) / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text() + " ", encoding="utf-8")
    (Path(job.corpus.path) / "0.txt").write_text("changed", encoding="utf-8")
    after = subject_digest(job.subject), dictionary_digest(job.dictionary), index(job.corpus).digest
    assert all(old != new for old, new in zip(before, after, strict=True))
    (Path(job.subject.model) / "README.md").write_text("a card", encoding="utf-8")
    assert subject_digest(job.subject) == after[0]


def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one")
    first = file_digest(path)
    assert file_digest(path) == first
    path.write_bytes(b"other")
    assert file_digest(path) != first


def test_counts_of_the_test_split_that_a_job_does_not_name_stay_its_own():
    """`near_miss` alone set the others to the defaults of the explain split."""
    asked = CollectionSpec.model_validate({"test": {"near_miss": 20}})
    assert asked.test == TEST_COUNTS.model_copy(update={"near_miss": 20})
    assert CollectionSpec.model_validate({"explain": {"near_miss": 20}}).explain == SplitCounts(near_miss=20)
    assert CollectionSpec.model_validate(asked.model_dump()) == asked
