"""Start a real inference server with a small model, for tests of the client.

Tests that do are run with `GLOSSATOR_TEST_LARGE=1` alone.
"""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from api.demo.local_servers import free_port
from examples.smollm2 import prepare

MODEL = "smollm2"
WINDOW = 4096  # tokens of prompt and reply
SLOTS = 4
START_SECONDS = 300.0


@dataclass(frozen=True)
class Kind:
    """A server: its program, its model, how it starts, and how it counts.

    `named` are the environment variables of program and model. `counters` are the names of its metrics whose sums are the tokens of prompts and of
    replies, and the requests at work.
    """

    name: str
    named: tuple[str, str]
    program: str
    model: Callable[[], Path | None]
    arguments: Callable[[Path, int], list[str]]
    counters: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]
    environment: Mapping[str, str] = field(default_factory=dict)
    reads_prompts: bool = False
    answers_to_any_name: bool = False

    def found(self) -> tuple[str, Path] | None:
        """Return the program and the model, None where either is missing."""
        program = os.environ.get(self.named[0]) or shutil.which(self.program)
        model = Path(os.environ[self.named[1]]) if os.environ.get(self.named[1]) else self.model()
        return (program, model) if program is not None and model is not None else None


def _folder() -> Path | None:
    return prepare.FOLDER if (prepare.FOLDER / "config.json").exists() else None


def _llama(model: Path, port: int) -> list[str]:
    window = str(WINDOW * SLOTS)
    return ["-m", str(model), "--host", "127.0.0.1", "--port", str(port), "-c", window, "-np", str(SLOTS), "--metrics"]


def _vllm(model: Path, port: int) -> list[str]:
    served = ["serve", str(model), "--host", "127.0.0.1", "--port", str(port), "--served-model-name", MODEL]
    return [*served, "--max-model-len", str(WINDOW), "--max-num-seqs", str(SLOTS), "--enforce-eager", "--enable-prompt-tokens-details"]


LLAMA = Kind(
    "llama.cpp",
    ("GLOSSATOR_TEST_LLAMA_SERVER", "GLOSSATOR_TEST_GGUF"),
    "llama-server",
    prepare.packaged,
    _llama,
    (
        ("llamacpp:prompt_tokens_total", "llamacpp:prompt_tokens_cached_total"),
        ("llamacpp:tokens_predicted_total",),
        ("llamacpp:requests_processing", "llamacpp:requests_deferred"),
    ),
    answers_to_any_name=True,
)
VLLM = Kind(
    "vLLM",
    ("GLOSSATOR_TEST_VLLM", "GLOSSATOR_TEST_HF_MODEL"),
    "vllm",
    _folder,
    _vllm,
    (("vllm:prompt_tokens_total",), ("vllm:generation_tokens_total",), ("vllm:num_requests_running", "vllm:num_requests_waiting")),
    {"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"},
    reads_prompts=True,
)


@dataclass(frozen=True)
class RealServer:
    """A server that runs; `base_url` is that of its API."""

    kind: Kind
    port: int

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def counts(self) -> tuple[int, int, int]:
        """Return tokens of prompts and of replies since its start, and requests at work."""
        with urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=60) as answer:
            text = answer.read().decode()
        prompt, reply, at_work = (int(sum(_values(text, names))) for names in self.kind.counters)
        return prompt, reply, at_work


def _values(text: str, names: tuple[str, ...]) -> Iterator[float]:
    for name in names:
        yield from (float(found[1]) for found in re.finditer(rf"^{re.escape(name)}(?:\{{[^}}]*\}})? (\S+)$", text, re.MULTILINE))


@contextmanager
def running(kind: Kind, program: str, model: Path, log: Path) -> Iterator[RealServer]:
    """Yield the started server; raises RuntimeError with its last words where it does not start."""
    server = RealServer(kind, free_port())
    with log.open("wb") as words:
        process = subprocess.Popen(
            [program, *kind.arguments(model, server.port)],
            stdout=words,
            stderr=subprocess.STDOUT,
            env={**os.environ, **kind.environment},
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(server):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{kind.name} did not start: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.2)
        yield server
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _answers(server: RealServer) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{server.port}/health", timeout=5) as answer:
            return int(answer.status) == 200
    except (URLError, OSError):
        return False
