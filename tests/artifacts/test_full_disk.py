"""A full disk is told as one, whatever the library that met it says; and all files are written through the one function that knows."""

import ast
import io
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import zstandard

from interp.corpus.tokenized import TokenizedCorpus
from interp.domain.errors import DiskFullError, InputError
from interp.files.atomic import disk_full, has_room, is_full, writing

ROOT = Path(__file__).parents[2]
FULL = Path("/dev/full")
ARRAY = np.arange(100_000)
pytestmark = pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")


def _np_save(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, ARRAY)


def _np_savez(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, array=ARRAY)


def _zstd(path: Path) -> None:
    with path.open("wb") as file:
        zstandard.ZstdCompressor().copy_stream(io.BytesIO(os.urandom(1 << 20)), file)


def _json(path: Path) -> None:
    with path.open("w") as file:
        json.dump(list(range(100_000)), file)


def _ours(path: Path) -> None:
    with writing(path) as file:
        file.write(ARRAY.data)


WRITERS: tuple[Callable[[Path], Any], ...] = (ARRAY.tofile, _np_save, _np_savez, _zstd, _json, _ours)


@pytest.mark.parametrize("write", WRITERS, ids=["tofile", "np.save", "np.savez", "zstd", "json", "writing"])
def test_every_library_tells_a_full_disk(write: Callable[[Path], Any]) -> None:
    with pytest.raises(DiskFullError, match="disk is full") as told, disk_full(FULL):
        write(FULL)
    assert told.value.cure


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 kB. Only root may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "glossator-small", str(folder)], capture_output=True).returncode:
        pytest.skip("nobody but root may mount a disk")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _corpus(path: Path) -> None:
    tokens = np.zeros(100_000, dtype=np.uint32)
    columns = (np.array([0, 100_000]), np.zeros(1, dtype=np.uint64), np.zeros(1, dtype=np.uint8))
    path.mkdir()
    TokenizedCorpus("digest", path, tokens, *columns, duplicates=0, skipped=0).save(path)


def _without_a_word(path: Path) -> None:
    with pytest.raises(OSError), path.open("wb") as file:
        for _ in range(100):
            file.write(b"0" * 4096)
            file.flush()
    raise RuntimeError("unexpected pos 576 vs 534")  # all that torch's zip writer says


@pytest.mark.parametrize(
    "write",
    [lambda path: safetensors.numpy.save_file({"array": ARRAY}, path), lambda path: ARRAY.tofile(path), _corpus, _without_a_word],
    ids=["safetensors", "tofile", "corpus", "without a word"],
)
def test_a_small_disk_is_full(small_disk: Path, write: Callable[[Path], Any]) -> None:
    assert has_room(small_disk)
    with pytest.raises(DiskFullError), disk_full(small_disk / "file"):
        write(small_disk / "file")


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    for error in (OSError("short read"), PermissionError(13, "Permission denied"), RuntimeError("a defect"), InputError("Wrong.")):
        with pytest.raises(type(error)) as told, disk_full(tmp_path):
            raise error
        assert told.value is error
    assert not is_full(None)


# Programs that are started log to files of their own; private servers get their settings.
OTHERS = {"api/demo/cluster.py", "api/demo/local_servers.py", "api/cli/connect.py", "api/cli/commands/run.py", "interp/files/atomic.py"}
# These write to descriptors of no disk: a pipe, and a file in memory.
OTHERS |= {"interp/config/secrets.py", "interp/security/sandbox.py", "interp/security/sandbox_server.py"}
# These write to a bucket, and to an archive whose file `writing` opened.
OTHERS |= {"interp/files/artifact_store.py", "interp/exchange/sinks.py"}
METHODS = {"tofile", "write_text", "write_bytes", "save_file", "open_memmap", "savetxt"}
LIBRARIES = {"np", "torch", "json", "pickle"}
TO_A_FILE = {"save", "savez", "savez_compressed", "dump"}  # of the libraries above: to a file that `writing` opened


def writes(tree: ast.AST) -> Iterator[str]:
    """The calls of a module that write a file by themselves."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        words = [part.value for part in (*node.args, *(keyword.value for keyword in node.keywords)) if isinstance(part, ast.Constant)]
        modes = [word for word in words if isinstance(word, str) and set(word) <= set("rwaxbt+") and set(word) & set("wax+")]
        is_open = name in ("open", "fdopen", "memmap", "NamedTemporaryFile") and modes
        is_module = (
            isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name) and node.func.value.id in ("np", "torch", "json", "pickle")
        )
        is_saved = name in TO_A_FILE and is_module and not (node.args and isinstance(node.args[0], ast.Name) and node.args[0].id == "file")
        if name in METHODS or is_open or is_saved:
            yield f"line {node.lineno}: {name}"


def test_all_files_are_written_through_one_function() -> None:
    found = {}
    for path in sorted(path for folder in ("api", "interp", "workers") for path in (ROOT / folder).rglob("*.py")):
        name = str(path.relative_to(ROOT))
        if name not in OTHERS and (calls := list(writes(ast.parse(path.read_text(encoding="utf-8"))))):
            found[name] = calls
    assert found == {}


def test_the_rule_sees_what_it_forbids() -> None:
    forbidden = (
        "a.tofile(p)",
        "np.save(p, a)",
        "torch.save(a, p)",
        "p.open('wb')",
        "open(p, mode='a')",
        "np.memmap(p, mode='w+')",
        "p.write_text('')",
    )
    assert all(list(writes(ast.parse(line))) for line in forbidden)
    assert not any(list(writes(ast.parse(line))) for line in ("np.savez(file, a=a)", "p.open('rb')", "open(p)", "np.memmap(p, mode='r')"))
