"""Submitting and following from the command line, against a real server without workers."""

import json
import os
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import Engine

from api.cli.commands.submit import read_spec
from api.server import Service
from benches import tiny
from glossator import Client
from interp.config.settings import Settings
from interp.domain.errors import FileMissingError, InputError
from interp.domain.spec import JobSpec

NOBODY = "1"
GLOSSATOR = [sys.executable, "-c", "from api.cli import main; main()"]


@pytest.fixture(scope="module")
def service(service_settings: Settings, store: Engine) -> Iterator[Service]:
    with Service(service_settings, "127.0.0.1", 0, workers=False) as found:
        yield found


@pytest.fixture
def job_file(tiny_job: JobSpec, tmp_path: Path) -> Path:
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump(tiny_job.model_dump(mode="json")))
    return file


def run(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*GLOSSATOR, *arguments], env=os.environ | {"GLOSSATOR_API_URL": url}, capture_output=True, text=True, check=False, timeout=60
    )


def test_a_detached_job_can_be_listed_shown_and_cancelled(service: Service, job_file: Path) -> None:
    submitted = run(service.url, "submit", str(job_file), "--detach", "--seed", "41")
    assert submitted.returncode == 0, submitted.stderr
    job_id = submitted.stdout.strip()
    assert f"glossator job show {job_id} --follow" in submitted.stderr
    assert job_id in run(service.url, "job", "list").stdout
    shown = json.loads(run(service.url, "job", "show", job_id, "--json").stdout)
    assert (shown["status"], shown["spec"]["seed"]) == ("queued", 41)
    assert run(service.url, "job", "cancel", job_id).returncode == 0
    followed = run(service.url, "job", "show", job_id, "--follow")
    assert followed.returncode == 1, "a job that did not complete is a failure"
    assert "cancelled" in followed.stderr


def test_ctrl_c_detaches_and_the_job_goes_on(service: Service, job_file: Path) -> None:
    process = subprocess.Popen(
        [*GLOSSATOR, "submit", str(job_file), "--seed", "42"],
        env=os.environ | {"GLOSSATOR_API_URL": service.url},
        stderr=subprocess.PIPE,
        text=True,
        # Tests that run in the background are born deaf to SIGINT, and so would be their children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr
    job_id = process.stderr.readline().removeprefix("job ").strip()
    assert process.stderr.readline().strip(), "nothing was shown of a waiting job"
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=30)[1]
    assert process.returncode == 130
    assert f"glossator job show {job_id} --follow" in said
    with Client(service.url) as client:
        assert client.get_job(job_id)["status"] == "queued"


def test_submitting_without_a_server_names_the_cure(job_file: Path, tmp_path: Path) -> None:
    environment = os.environ | {"GLOSSATOR_HOME": str(tmp_path / "home"), "GLOSSATOR_PORT": NOBODY}
    ran = subprocess.run([*GLOSSATOR, "submit", str(job_file)], env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert "glossator serve" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_refused_job_prints_what_why_and_cure(service: Service, job_file: Path) -> None:
    ran = run(service.url, "submit", str(job_file), "--features", "0-9999")
    assert ran.returncode == 1
    assert ran.stderr.startswith("error: ")
    assert str(tiny.FEATURES) in ran.stderr, "the dictionary's size is said"
    assert "Traceback" not in ran.stderr


def write(folder: Path, content: dict[str, Any]) -> Path:
    file = folder / "job.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


def test_paths_of_a_file_start_at_its_folder_and_those_of_flags_at_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("jobs/subject", "jobs/texts", "here/dictionary"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    file = write(tmp_path / "jobs", {"subject": {"model": "subject"}, "dictionary": {"source": "other"}, "corpus": {"path": "texts"}})
    spec = read_spec(file, {"dictionary.source": "dictionary"})
    assert spec.subject.model == str(tmp_path / "jobs" / "subject")
    assert spec.corpus.path == str(tmp_path / "jobs" / "texts")
    assert spec.dictionary.source == str(tmp_path / "here" / "dictionary")


def test_a_model_of_the_hub_is_no_path(tmp_path: Path) -> None:
    file = write(tmp_path, {"subject": {"model": "openai-community/gpt2"}, "dictionary": {"source": "d"}, "corpus": {"path": "c"}})
    assert read_spec(file, {}).subject.model == "openai-community/gpt2"


def test_flags_win_over_the_file_and_leave_the_rest_of_it(tmp_path: Path) -> None:
    content = {"subject": {"model": "m", "dtype": "bfloat16"}, "dictionary": {"source": "d"}, "corpus": {"path": "c"}, "seed": 1, "features": "0-9"}
    spec = read_spec(write(tmp_path, content), {"seed": 2, "subject.device": "cpu", "collection.window": 64, "scorers": ["detection"]})
    assert (spec.seed, spec.features, spec.collection.window) == (2, "0-9", 64)
    assert (spec.subject.dtype, spec.subject.device) == ("bfloat16", "cpu")
    assert [scorer.name for scorer in spec.scorers] == ["detection"]


def test_stdlib_stands_for_the_standard_library(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("subject: {model: m}\ndictionary: {source: d}\ncorpus: {path: '${stdlib}'}\n")
    assert read_spec(file, {}).corpus.path == str(Path(sysconfig.get_paths()["stdlib"]).resolve())


def test_the_job_of_the_example_can_be_read() -> None:
    spec = read_spec(Path(__file__).parents[2] / "examples" / "pystdlib" / "job.yaml", {})
    assert spec.features == "all"
    assert Path(spec.subject.model).is_absolute()


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("subject: [", InputError, "is not YAML"),
        ("- a\n- b\n", InputError, "holds no job"),
        ("subject: {model: m}\n", InputError, "dictionary: Field required"),
        (None, FileMissingError, "cannot be read"),
    ],
)
def test_a_file_that_is_no_job_says_so(tmp_path: Path, text: str | None, error: type[Exception], says: str) -> None:
    file = tmp_path / "job.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(error, match=says):
        read_spec(file, {})
