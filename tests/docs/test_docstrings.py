"""Docstrings are short, and name errors that exist."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from interp.domain import errors

ROOT = Path(__file__).parents[2]
PACKAGES = ("api", "glossator", "interp", "workers")
MAX_WORDS = 15
DEFINITIONS = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
# Errors as they were named without their suffix.
BARE = {name.removesuffix("Error") for name in vars(errors) if re.fullmatch(r"(?:[A-Z][a-z]+){2,}Error", name)}


def docstrings(package: str) -> Iterator[tuple[str, str]]:
    """Yield every docstring with its place."""
    for path in sorted((ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, DEFINITIONS) and (text := ast.get_docstring(node)):
                yield f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}", text


@pytest.mark.parametrize("package", PACKAGES)
def test_the_first_line_has_at_most_15_words(package: str) -> None:
    long = [place for place, text in docstrings(package) if len(text.splitlines()[0].split()) > MAX_WORDS]
    assert long == []


@pytest.mark.parametrize("package", PACKAGES)
def test_errors_are_named_in_full(package: str) -> None:
    assert "FileMissing" in BARE
    named = [(place, name) for place, text in docstrings(package) for name in re.findall(r"\b(?:[A-Z][a-z]+){2,}\b", text) if name in BARE]
    assert named == []
