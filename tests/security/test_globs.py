"""Patterns of a job cost time linear in a name's length: none freezes the service."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from interp.domain.spec import CorpusSpec
from interp.security.globs import Globs

PATTERNS = st.lists(st.text("ab/*?.\n", max_size=8), max_size=4)
NAMES = st.text("ab/.\n", max_size=10)


def expression(pattern: str) -> str:
    """What a glob pattern means, as a regular expression (which may take exponential time)."""
    parts = {"**/": r"(?:.*/)?", "**": r".*", "*": r"[^/]*", "?": r"[^/]"}
    return "".join(parts.get(piece, re.escape(piece)) for piece in re.split(r"(\*\*/|\*\*|\*|\?)", pattern) if piece)


@given(patterns=PATTERNS, names=st.lists(NAMES, max_size=5))
def test_a_name_fits_as_the_regular_expression_says(patterns: list[str], names: list[str]) -> None:
    globs = Globs(patterns)
    for name in names:
        assert globs.matches(name) == any(re.fullmatch(expression(pattern), name, re.DOTALL) for pattern in patterns)


@pytest.mark.parametrize("pattern", ["*?" * 12 + "ZZ", "*?" * 127 + "ZZ", "**/" * 85 + "Z", "**/*a" * 51, "*" * 255 + "Z", "?*" * 128])
def test_no_pattern_is_exponential(pattern: str) -> None:
    globs = Globs(f"{pattern}{number}" for number in range(64))
    began = time.process_time()
    for length in range(200, 260):
        globs.matches("a" * length + "/" + "b" * length)
    assert time.process_time() - began < 10


def test_a_name_that_is_no_text_is_matched() -> None:
    assert Globs(["**/*.txt"]).matches("a/\udcff.txt")
    assert Globs(["?.txt"]).matches("\udcff.txt")
    assert not Globs(["a.txt"]).matches("\udcff.txt")


@pytest.mark.parametrize("field", ["include", "exclude"])
def test_patterns_are_few_and_short(field: str) -> None:
    CorpusSpec.model_validate({"path": "x", field: ["*" * 256] * 64})
    with pytest.raises(ValidationError, match="at most 64 items"):
        CorpusSpec.model_validate({"path": "x", field: ["*"] * 65})
    with pytest.raises(ValidationError, match="at most 256 characters"):
        CorpusSpec.model_validate({"path": "x", field: ["*" * 257]})
