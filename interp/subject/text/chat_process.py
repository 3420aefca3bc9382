"""Rendering of chat templates in a process with limits on time and memory.

A template is a program of whoever made the model. The sandbox of transformers bounds what it reaches, not how long it runs: loops in loops, or one
power of large numbers, which nothing in the same process can stop.
"""

import atexit
import json
import resource
import select
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from interp.domain.cleaning import one_line
from interp.domain.errors import TokenizerMismatchError
from interp.security.sandbox import python_environment

RENDER_SECONDS, START_SECONDS = 10.0, 120.0
MEMORY_BYTES = 2 << 30
RENDERED = 50_000_000  # characters of a conversation; longer ones are of no model
SHOWN = 300
CHUNK = 1 << 16


class TemplateProcess:
    """The process, started when needed and again after an end; any thread may ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def render(self, template: str, tokens: Mapping[str, str], messages: Sequence[Mapping[str, str]]) -> str:
        """Return the text of messages with `role` and `content`; raises TokenizerMismatchError."""
        request = json.dumps({"chat_template": template, "conversations": [[dict(message) for message in messages]], **tokens}).encode()
        with self._lock:
            process = self._started()
            answer = self._answer(process, request + b"\n", RENDER_SECONDS)
        if answer is None:
            raise TokenizerMismatchError(
                "The subject's chat template cannot render the messages.",
                why=f"It takes more than {RENDER_SECONDS:g} s for a conversation, or {MEMORY_BYTES >> 30} GiB of memory.",
                cure="Use the template of the model's own repository, or give the corpus as text.",
            )
        if "error" in answer:
            raise TokenizerMismatchError(
                "The subject's chat template cannot render the messages.",
                why=one_line(str(answer["error"]), SHOWN),
                cure="Compare roles and their order with the model's card, or give the corpus as text.",
            )
        return str(answer["text"])

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.stop()
            command = [sys.executable, "-P", "-m", "interp.subject.text.chat_process"]
            pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
            self._process = subprocess.Popen(command, env=python_environment(), **pipes)
            if self._answer(self._process, b"", START_SECONDS) is None:
                raise RuntimeError("the process that renders chat templates does not start")
        return self._process

    def _answer(self, process: subprocess.Popen[bytes], request: bytes, seconds: float) -> dict[str, Any] | None:
        """Return the process's next line; end it and return None where none comes in time."""
        assert process.stdin is not None
        assert process.stdout is not None
        until, line = time.monotonic() + seconds, bytearray()
        poll = select.poll()
        poll.register(process.stdout, select.POLLIN)
        try:
            process.stdin.write(request)
            process.stdin.flush()
            while not line.endswith(b"\n"):
                left = until - time.monotonic()
                content = process.stdout.read1(CHUNK) if left > 0 and poll.poll(left * 1000) else b""  # type: ignore[attr-defined]
                if not content:
                    self.stop()
                    return None
                line += content
        except BrokenPipeError:
            self.stop()
            return None
        answer: dict[str, Any] = json.loads(line)
        return answer


_process = TemplateProcess()
atexit.register(_process.stop)
render = _process.render


def main() -> None:
    """Answer each line of the standard input, a request in JSON, by one line."""
    from transformers.utils.chat_template_utils import render_jinja_template

    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    _say({})
    for line in sys.stdin.buffer:
        try:
            rendered: Any = render_jinja_template(**json.loads(line))
            text = str(rendered[0][0])
            _say({"text": text} if len(text) <= RENDERED else {"error": f"It writes {len(text)} characters, more than {RENDERED}."})
        except Exception as error:  # a template raises whatever its author's program raises
            _say({"error": one_line(str(error) or type(error).__name__, SHOWN)})


def _say(answer: Mapping[str, str]) -> None:
    sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
