"""`glossator fake-llm` as a new user types it."""

import signal
import subprocess
import sys

import pytest

from api.demo.fake_llm.endpoint import DEFAULT_MODELS
from tests.fakes.openai_server import body

COMMAND = [sys.executable, "-c", "from api.cli import main; main()", "fake-llm"]


def test_it_prints_what_a_user_needs_and_stops_on_ctrl_c():
    import httpx

    with subprocess.Popen(
        [*COMMAND, "--port", "0", "--judge", "yes", "--key", "k"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        lines = []
        while not lines or "API_KEY" not in lines[-1]:
            lines.append(process.stdout.readline())
            assert lines[-1], process.stderr.read()
        exports = dict(line.strip().removeprefix("export ").split("=", 1) for line in lines if "export" in line)
        assert all(model in "".join(lines) for model in DEFAULT_MODELS)
        url, key = exports["GLOSSATOR_LLM_BASE_URL"], exports["GLOSSATOR_LLM_API_KEY"]
        assert url.startswith("http://127.0.0.1:"), "nobody else's machine can reach it"
        assert httpx.post(url + "/chat/completions", json=body()).status_code == 401
        reply = httpx.post(url + "/chat/completions", json=body(), headers={"authorization": f"Bearer {key}"})
        assert reply.json()["choices"][0]["message"]["content"] == '{"1": "yes", "2": "yes"}'
        process.send_signal(signal.SIGINT)
        _, news = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "calls answered: 1" in news


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--judge", "nobody"], "there is no judge 'nobody'"),
        (["--faults", "2"], "--faults"),
        (["--host", "203.0.113.7", "--port", "1"], "203.0.113.7:1"),
    ],
)
def test_what_cannot_be_had_is_said(arguments, why):
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert why in done.stderr
    assert "Traceback" not in done.stderr
