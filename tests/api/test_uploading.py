"""Jobs on the client's own files, and a server that cannot see them."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from api.app import create_app
from api.cli import uploading
from api.cli.commands.submit import read_spec
from api.server import Service
from benches.in_process import InProcess
from glossator import Client
from interp.config.settings import Settings
from interp.domain.errors import InputError
from interp.domain.spec import JobSpec
from tests import databases

GLOSSATOR = [sys.executable, "-c", "from api.cli import main; main()"]


@pytest.fixture(scope="module")
def without_roots(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings of a server that may read no file of the client."""
    settings = Settings(home=tmp_path_factory.mktemp("elsewhere"), roots=())
    databases.upgrade(settings.database_url)
    return settings


@pytest.fixture
def client(without_roots: Settings) -> Iterator[Client]:
    """A client of that server, by a name that is another machine's."""
    with Client("http://elsewhere.example.org", InProcess(create_app(without_roots.model_copy(update={"allowed_hosts": ("*",)})))) as found:
        yield found
        for row in list(found.list_files()):
            for job in found.list_jobs():
                if job["status"] not in ("cancelled", "failed"):
                    found.cancel_job(job["id"])
            found.delete_file(row["id"])


def content_of(client: Client) -> dict[str, set[str]]:
    return {row["name"]: {one["path"] for one in client.get_file(row["id"])["content"]} for row in client.list_files()}


@pytest.fixture
def spec(tiny_job: JobSpec, tmp_path: Path) -> JobSpec:
    """The tiny job, on a corpus' folder with files that it does not name."""
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "corpus.jsonl").write_bytes(Path(tiny_job.corpus.path).read_bytes())
    (tmp_path / "texts" / "secret.txt").write_text("not named by the job")
    (tmp_path / "texts" / "link.jsonl").symlink_to(Path(tiny_job.corpus.path))
    corpus = tiny_job.corpus.model_copy(update={"path": str(tmp_path / "texts"), "include": ("*.jsonl",)})
    return tiny_job.model_copy(update={"corpus": corpus})


def test_what_a_job_names_is_sent_once_and_nothing_else(client: Client, spec: JobSpec, capsys: pytest.CaptureFixture[str]) -> None:
    beside = Path(spec.dictionary.source) / "notes.md"
    beside.write_text("not of the dictionary")
    job = uploading.submit(client, spec, "first", yes=False)
    said = capsys.readouterr().err
    assert job["status"] == "queued"
    sent = content_of(client)
    assert sent["texts"] == {"corpus.jsonl"}
    assert sent["dictionary"] == {"cfg.json", "sae_weights.safetensors"}
    assert {"config.json", "tokenizer.json"} < sent["subject"]
    assert all(job["spec"][section][field].startswith("upload://") for section, field in (("corpus", "path"), ("dictionary", "source")))
    assert "Sending" in said and "corpus.jsonl" in said and "KiB" in said
    again = uploading.submit(client, spec.model_copy(update={"seed": 8}), "second", yes=False)
    assert "Sending" not in capsys.readouterr().err, "the server has all of it"
    assert again["spec"]["corpus"] == job["spec"]["corpus"]
    beside.unlink()


def test_a_file_of_weights_goes_with_its_config_alone(tmp_path: Path, spec: JobSpec) -> None:
    for name in ("ae.pt", "config.json", "other.json", "other.pt"):
        (tmp_path / name).write_text("{}")
    named = spec.model_copy(update={"dictionary": spec.dictionary.model_copy(update={"source": str(tmp_path / "ae.pt")})})
    assert uploading.parcels(named)[str(tmp_path / "ae.pt")] == uploading.Parcel(tmp_path, ("ae.pt", "config.json"), "ae.pt")


def test_much_is_not_sent_without_a_yes(client: Client, spec: JobSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploading, "ASKED_ABOVE_BYTES", 1000)
    with pytest.raises(InputError) as asked:
        uploading.submit(client, spec, "third", yes=False)
    assert "--yes" in asked.value.cure
    assert content_of(client) == {}
    assert uploading.submit(client, spec, "third", yes=True)["status"] == "queued"


def test_a_server_on_this_machine_reads_files_itself_or_is_sent_them(without_roots: Settings, spec: JobSpec, tmp_path: Path) -> None:
    """By the command, on a socket: the server refuses the path, and gets the files."""
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump(spec.model_dump(mode="json")))
    assert read_spec(file, {}) == spec
    with Service(without_roots, "127.0.0.1", 0, workers=False) as service:
        environment = os.environ | {"GLOSSATOR_API_URL": service.url}
        done = subprocess.run(
            [*GLOSSATOR, "submit", str(file), "--detach", "--json"], env=environment, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["spec"]["subject"]["model"].startswith("upload://")
        assert "The server cannot read the job's files" in done.stderr
        with Client(service.url) as client:
            client.cancel_job(json.loads(done.stdout)["id"])
