"""The README's commands as printed: what a newcomer pastes works, with nothing set."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.test_service import DEADLINE, GLOSSATOR, START, STOP

pytestmark = pytest.mark.timeout(800)
ROOT = Path(__file__).parents[2]
ADDRESS = "http://127.0.0.1:8420"
# Few of the hundred, the one that the README asks for later among them, on fewer files of the folder.
CUTS = (('"features":   "0-99"', '"features":   "40-43"'), ('["**/*.py"]', '["**/s*.py", "**/e*.py"]'))
EXPLAINED, SHOWN = {40, 41, 42, 43}, 42


def bare_environment() -> dict[str, str]:
    """This process's variables without one that a setting could come from."""
    return {name: value for name, value in os.environ.items() if not re.match(r"(?i)glossator_|openai_", name)}


def blocks() -> list[str]:
    """The two blocks of the section: the call, and what is asked of the job."""
    section = (ROOT / "README.md").read_text().partition("## The first call\n")[2].partition("\n## ")[0]
    return re.findall(r"(?ms)^```\n(.*?)^```$", section)[:2]


def body() -> dict[str, Any]:
    """The job as printed, but for its size."""
    printed = re.search(r"-d '(\{.*?\})'", cut(blocks()[0]), re.DOTALL)
    assert printed
    found: dict[str, Any] = json.loads(printed[1])
    return found


def cut(block: str) -> str:
    for printed, small in CUTS:
        assert printed in block
        block = block.replace(printed, small)
    return block


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`glossator serve` as started in the checkout. Only where its files go is set: the checkout's own home is left alone."""
    home = tmp_path_factory.mktemp("home")
    environment = bare_environment() | {"GLOSSATOR_HOME": str(home)}
    with (home / "log").open("wb") as log:
        command = [*GLOSSATOR, "serve", "--port", "0"]
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True)
        assert process.stdout
        found = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
        assert found, (home / "log").read_text()
        yield found[0]
        process.terminate()
        process.communicate(timeout=STOP)
    assert process.returncode == 0, (home / "log").read_text()


def test_the_first_call_works_as_printed(server: str) -> None:
    """Both blocks in one shell, as pasted; by HTTP alone where there is no curl."""
    first, second = (block.replace(ADDRESS, server) for block in blocks())
    if shutil.which("curl") is None:
        answer = httpx.post(f"{server}/v1/jobs", json=body(), headers={"idempotency-key": "first"}, timeout=START)
        job_id = answer.headers["location"].rpartition("/")[2]
        assert answer.status_code == 202, answer.text
        httpx.get(f"{server}/v1/jobs/{job_id}/events", timeout=DEADLINE)
    else:
        script = f"set -euo pipefail\n{cut(first)}\n{second}\necho\necho job=$JOB\n"
        ran = subprocess.run(["bash", "-c", script], cwd=ROOT, env=bare_environment(), capture_output=True, text=True, timeout=DEADLINE, check=False)
        assert ran.returncode == 0, ran.stderr
        assert "202 Accepted" in ran.stderr, ran.stderr
        job_id = ran.stdout.rpartition("job=")[2].strip()
        assert "event: end" in ran.stdout
        assert f'"index":{SHOWN},' in ran.stdout.replace(" ", "")
    job = httpx.get(f"{server}/v1/jobs/{job_id}").json()
    assert job["status"] == "completed", job["error"]
    listed = httpx.get(f"{server}/v1/dictionaries/pystdlib@1-res/features", params={"sort": "index", "limit": 20}).json()
    assert {feature["index"] for feature in listed["items"]} == EXPLAINED


def test_the_two_commands_need_nothing_set() -> None:
    """No variable of the Makefile is left for whoever types them: each has a value there, or is asked for with `$(if`."""
    printed = (ROOT / "README.md").read_text().partition("## Two commands\n")[2].partition("```\n")[2].partition("```")[0]
    assert re.findall(r"(?m)^make (\S+)", printed) == ["demo", "test"]
    makefile = (ROOT / "Makefile").read_text()
    given = set(re.findall(r"(?m)^([A-Z]+) *(?:\?=|:=)", makefile)) | {"MAKE"}
    assert {"demo", "test"} <= set(re.findall(r"(?m)^([a-z-]+):", makefile))
    asked = {name for line in makefile.splitlines() for name in re.findall(r"\$\(([A-Z]+)\)", line) if f"$(if $({name})" not in line}
    assert asked <= given | {"MAKEFILE_LIST"}
    assert "GLOSSATOR_" not in makefile
