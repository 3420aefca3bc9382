"""Benchmarks run without the tests."""

import ast
from pathlib import Path

BENCHES = Path(__file__).parents[2] / "benches"


def test_no_benchmark_imports_a_test() -> None:
    imported = {
        module.partition(".")[0]
        for path in BENCHES.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for module in (
            [node.module or ""] if isinstance(node, ast.ImportFrom) else [name.name for name in node.names] if isinstance(node, ast.Import) else []
        )
    }
    assert "interp" in imported and "tests" not in imported
