"""The README's command for each kind of dictionary, as printed, on files that the libraries wrote: submitted, collected, explained, scored, read."""

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from api.app import create_app
from api.cli import app, connect
from benches import tiny
from benches.in_process import InProcess
from glossator import Client
from interp.config.settings import Settings
from interp.domain.lifecycle import Queue
from interp.store import migrate
from tests.dictionary.files import randn, written
from tests.dictionary.generate_golden import GOLDEN, WIDTH
from workers.runtime import Runtime
from workers.worker import drain

README = Path(__file__).parents[2] / "README.md"
LAYERS = 4
# Few features, and rows of the tiny model's length.
SMALL = ["--features", "0-3", "--scorer", "detection", "--set", "collection.row_tokens=64", "--set", "collection.window=16", "--device", "cpu"]


def printed() -> list[list[str]]:
    """The arguments of the README's commands, in order."""
    section = README.read_text(encoding="utf-8").partition("## Your own model\n")[2].partition("\n## ")[0]
    block = next(block for block in re.findall(r"(?ms)^```\n(.*?)^```$", section) if block.startswith("glossator submit"))
    return [shlex.split(line, comments=True)[1:] for line in block.splitlines()]


def write_files(folder: Path) -> None:
    """Write what the commands name, into their working directory."""
    texts = tiny.some_texts()[:60]
    (folder / "texts").mkdir()
    for number, text in enumerate(texts):
        (folder / "texts" / f"{number:02}.txt").write_text(text, encoding="utf-8")
    tiny.write_subject(folder / "model", texts, width=WIDTH, layers=LAYERS)
    for name, golden in {"saelens": "saelens-jumprelu", "sparsify": "sparsify-topk", "trainer_0": "dictionary_learning-BatchTopKSAE"}.items():
        shutil.copytree(GOLDEN / golden, folder / name, ignore=shutil.ignore_patterns("expected.npz"))
    np.save(folder / "directions.npy", np.random.default_rng(2).standard_normal((5, WIDTH)).astype(np.float32))
    tensors = {
        "encoder.weight": randn(2, WIDTH, 6),
        "encoder.bias": randn(6),
        "decoder.weight": randn(2, 6, WIDTH),
        "decoder.bias": randn(2, WIDTH),
    }
    written(folder / "crosscoder", "config.json", {"activation_dim": WIDTH, "dict_size": 6, "num_layers": 2}, "ae.pt", tensors)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    """A service in this process, whose commands run in the folder of the files."""
    folder = tmp_path_factory.mktemp("formats")
    write_files(folder)
    settings = Settings(home=tmp_path_factory.mktemp("home"))
    migrate.upgrade(settings.database_url)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(connect, "server", lambda: Client("http://test", InProcess(create_app(settings))))
        yield Runtime.of(settings)


@pytest.mark.parametrize(
    ("number", "hook_point", "architecture"),
    [
        (0, "blocks.1.hook_resid_post", "jumprelu"),
        (1, "blocks.3.hook_resid_post", "topk"),
        (2, "blocks.1.hook_resid_post", "BatchTopKSAE"),
        (3, "blocks.2.mlp.hook_post", "neurons"),
        (4, "blocks.1.hook_resid_post", "directions"),
        (5, "blocks.0.hook_resid_post+blocks.1.hook_resid_post", "crosscoder"),
    ],
)
def test_a_dictionary_of_each_kind_from_the_command_to_its_features(service: Runtime, number: int, hook_point: str, architecture: str) -> None:
    ran = CliRunner().invoke(app, [*printed()[number], *SMALL, "--detach"], catch_exceptions=False)
    assert ran.exit_code == 0, ran.stderr
    drain(service, Queue.GPU, Queue.LLM)
    with connect.server() as client:
        job: dict[str, Any] = client.get_job(ran.stdout.strip())
        assert job["status"] == "completed", job["error"]
        dictionary = client.get_dictionary(job["dictionary"])
        listed = list(client.list_features(job["dictionary"]))
    assert (dictionary["hook_point"], dictionary["architecture"]) == (hook_point, architecture)
    assert len(listed) == (8 if architecture == "neurons" else 4), "both signs of each neuron"
    assert any(item["score"] is not None for item in listed), "a feature is explained and scored"


def test_each_command_is_tried() -> None:
    assert len(printed()) == 6
