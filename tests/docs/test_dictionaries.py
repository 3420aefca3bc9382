"""The table of docs/dictionaries.md has a row for every family, in the order of detection, with tests that are there."""

import re
from pathlib import Path

from interp.dictionary.formats import FORMATS

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "dictionaries.md").read_text(encoding="utf-8")


def test_every_family_has_its_row() -> None:
    rows = re.findall(r"^\| `(\w+)` \|.*\| (0|arithmetic|\d\.\de-\d) \|$", DOCUMENT, re.MULTILINE)
    assert [name for name, _ in rows] == list(FORMATS)
    assert all(float(error) < 1e-5 for _, error in rows if error != "arithmetic")


def test_every_test_that_is_named_is_there() -> None:
    named = set(re.findall(r"`(tests/[\w/.]+)`", DOCUMENT))
    assert len(named) > 5
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []
