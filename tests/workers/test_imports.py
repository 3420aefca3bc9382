"""torch and transformer_lens cost seconds and half a gigabyte: only gpu workers load them. scipy's larger packages cost a second each process."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformer_lens", "transformers", "scipy.stats", "scipy.optimize", "scipy.spatial")


@pytest.mark.parametrize(
    "modules",
    ["workers.llm, workers.process, workers.run", "workers.embedded, workers.dispatch, interp.preflight", "api.app"],
    ids=["llm worker", "supervisor", "api"],
)
def test_no_torch(modules: str) -> None:
    code = f"import sys, {modules}; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
