"""Spans of processes of their own: what they say, what they keep to themselves, and that they hold nothing up."""

import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.telemetry.collector import collecting

BEGIN = """
import sys
from pathlib import Path
from interp.observability import logs, traces
from interp.config.settings import Settings
settings = Settings(home=Path(sys.argv[1]), otel_endpoint=sys.argv[2])
logs.configure(settings, "api")
"""


def run(code: str, home: Path, endpoint: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", BEGIN + code, str(home), endpoint]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_an_error_is_named_by_its_type_and_not_by_what_it_quotes(tmp_path: Path) -> None:
    code = """
assert traces.configure(settings, "llm", "llm-0")
try:
    with traces.span("outer", {"glossator.job": "j"}):
        with traces.question("chat", "gpt", "https://e"):
            raise ValueError("the text of a prompt")
except ValueError:
    pass
"""
    with collecting() as collector:
        _, err = run(code, tmp_path, collector.url).communicate(timeout=60)
    inner, outer = sorted(collector.spans, key=lambda span: span.parent == "")
    assert (inner.name, inner.parent, inner.service) == ("chat gpt", outer.id, "glossator-llm"), err
    assert inner.attributes["error.type"] == outer.attributes["error.type"] == "ValueError"
    assert b"the text of a prompt" not in collector.body


def test_spans_of_another_process_belong_to_the_trace_that_it_is_told(tmp_path: Path) -> None:
    first = 'traces.configure(settings, "api", "api")\nwith traces.span("request", {}):\n    print(traces.traceparent())'
    second = 'traces.configure(settings, "gpu", "gpu-0")\nwith traces.within({parent!r}), traces.span("chunk", {{}}):\n    pass'
    with collecting() as collector:
        parent = run(first, tmp_path, collector.url).communicate(timeout=60)[0].strip()
        run(second.format(parent=parent), tmp_path, collector.url).communicate(timeout=60)
    chunk, request = sorted(collector.spans, key=lambda span: span.name)
    assert (chunk.trace, chunk.parent) == (request.trace, request.id)


def test_without_the_extra_there_is_a_word_and_no_harm(tmp_path: Path) -> None:
    code = """
sys.modules["opentelemetry.sdk"] = None
assert not traces.configure(settings, "api", "api")
with traces.span("nothing", {}):
    assert traces.traceparent() is None
"""
    process = run(code, tmp_path, "http://127.0.0.1:1")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "glossator[otel]" in err


def test_a_collector_that_never_answers_holds_up_no_end(tmp_path: Path) -> None:
    code = """
traces.configure(settings, "api", "api")
for _ in range(3000):
    with traces.span("many", {}):
        pass
print("done", flush=True)
"""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        process = run(code, tmp_path, f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert process.stdout
        assert process.stdout.readline() == "done\n"
        began = time.monotonic()
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert time.monotonic() - began < 10, "unbounded, it takes five seconds for each of several batches"
