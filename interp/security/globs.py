"""Glob patterns, matched in time linear in the name's length.

`**` crosses folders, `*` and `?` do not; other characters match themselves. Each pattern becomes a regular expression of pydantic's engine (Rust's
`regex`), which builds automata of bounded memory and never backtracks.
"""

import re
from collections.abc import Iterable
from typing import Annotated

from pydantic import StringConstraints, TypeAdapter

_PIECES = re.compile(r"\*\*/|\*\*|\*|\?|[^*?]")
_WILDCARDS = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
# Of names that are no UTF-8; the engine reads text alone.
_SURROGATES = re.compile("[\ud800-\udfff]")


class Globs:
    """Matcher of any of several glob patterns, thread-safe; without patterns it matches nothing."""

    def __init__(self, patterns: Iterable[str]) -> None:
        expressions = [StringConstraints(strict=True, pattern=_expression(pattern)) for pattern in dict.fromkeys(patterns)]
        self._matchers = [TypeAdapter(Annotated[str, expression]).validator for expression in expressions]

    def matches(self, name: str) -> bool:
        """Return whether a pattern matches the whole name."""
        text = _SURROGATES.sub("\N{REPLACEMENT CHARACTER}", name)
        return any(matcher.isinstance_python(text) for matcher in self._matchers)


def _expression(pattern: str) -> str:
    return rf"(?s)\A{''.join(_WILDCARDS.get(piece) or _literal(piece) for piece in _PIECES.findall(pattern))}\z"


def _literal(character: str) -> str:
    return rf"\x{{{ord(_SURROGATES.sub(chr(0xFFFD), character)):x}}}"
