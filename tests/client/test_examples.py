"""The example notebook runs from the first cell to the last, on the synthetic book."""

import ast
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from api.server import Service
from tests.api.synthetic import NAME

NOTEBOOK = Path(__file__).parents[2] / "examples" / "client" / "features.ipynb"


def shown(source: str, names: dict[str, Any]) -> Any:
    """The value that a notebook shows of a cell: that of its last expression."""
    parsed = ast.parse(source)
    last = parsed.body.pop() if isinstance(parsed.body[-1], ast.Expr) else None
    exec(compile(parsed, str(NOTEBOOK), "exec"), names)
    return None if last is None else eval(compile(ast.Expression(last.value), str(NOTEBOOK), "eval"), names)  # type: ignore[attr-defined]


def test_every_cell_of_the_notebook_runs(book_server: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOSSATOR_API_URL", book_server.url)
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert not any(cell.get("outputs") for cell in cells), "the notebook is kept without its outputs"
    sources = ["".join(cell["source"]).replace("pystdlib@1-res", NAME) for cell in cells if cell["cell_type"] == "code"]
    names: dict[str, Any] = {}
    values = [shown(source, names) for source in sources]
    assert len(values[1]) == 10
    assert sum("<svg" in value._repr_html_() for value in values if hasattr(value, "_repr_html_") and not hasattr(value, "columns")) == 3
    assert values[5], "the items of a score"
    assert values[6], "labels of the word"


def test_the_notebook_runs_in_a_kernel(book_server: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As a reader runs it: a process of its own, and the outputs that a browser gets."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("GLOSSATOR_API_URL", book_server.url)
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    # The kernel of this interpreter, not one that the machine has by this name.
    kernel = {"argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"], "display_name": "tests", "language": "python"}
    (tmp_path / "kernels" / "tests").mkdir(parents=True)
    (tmp_path / "kernels" / "tests" / "kernel.json").write_text(json.dumps(kernel))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    notebook = nbformat.reads(NOTEBOOK.read_text(encoding="utf-8").replace("pystdlib@1-res", NAME), as_version=4)
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="tests", resources={"metadata": {"path": str(NOTEBOOK.parents[2])}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    assert sum("<svg" in output.get("data", {}).get("text/html", "") for output in outputs) >= 3
