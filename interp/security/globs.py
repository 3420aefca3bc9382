"""Glob patterns, matched in time linear in the name's length.

`**` crosses folders, `*` and `?` do not; other characters match themselves. All patterns together are one nondeterministic automaton whose states are
the bits of an integer (Baeza-Yates and Gonnet 1992). The transitions that occur are cached, so that a character usually costs one look-up. There is
no backtracking: a name costs one step per character with any pattern.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

# Largest number of transitions in a matcher's cache; then it is cleared.
KEPT_STEPS = 4096
_PIECES = re.compile(r"\*\*/|\*\*|\*|\?|[^*?]")
# Adjacent wildcards that equal one; many of them would make long chains of empty steps.
_MERGED = {("*", "*"): "*", ("*", "**"): "**", ("**", "*"): "**", ("**", "**"): "**", ("**", "**/"): "**", ("**/", "**/"): "**/", ("**/", "**"): "**"}


@dataclass(slots=True)
class Globs:
    """Matcher of several glob patterns, of bounded memory and thread-safe; made by `Globs.of`."""

    start: int
    accepting: int
    advance: dict[str, int]
    advance_segment: int
    loop_any: int
    loop_segment: int
    empty_one: int
    empty_two: int
    _steps: dict[tuple[int, str], int] = field(default_factory=dict)

    @classmethod
    def of(cls, patterns: Iterable[str]) -> "Globs":
        """Return the matcher of any of the patterns; without patterns it matches nothing."""
        made = cls(0, 0, {}, 0, 0, 0, 0, 0)
        bit = 1
        for pattern in patterns:
            made.start |= bit
            for piece in pieces(pattern):
                bit = made._add(piece, bit)
            made.accepting |= bit
            bit <<= 1
        made.start = made._closed(made.start)
        return made

    def matches(self, name: str) -> bool:
        """Return whether a pattern matches the whole name."""
        states = self.start
        for character in name:
            known = self._steps.get((states, character))
            states = self._step(states, character) if known is None else known
            if not states:
                return False
        return bool(states & self.accepting)

    def _add(self, piece: str, bit: int) -> int:
        """Add a piece at state `bit`, and return the state where it ends."""
        if piece == "**/":
            # Nothing, or any text that ends in a slash.
            inside, end = bit << 1, bit << 2
            self.empty_one |= bit
            self.empty_two |= bit
            self.loop_any |= inside
            self.advance["/"] = self.advance.get("/", 0) | inside
            return end
        if piece in ("*", "**"):
            self.empty_one |= bit
            self.loop_any |= bit if piece == "**" else 0
            self.loop_segment |= bit if piece == "*" else 0
        elif piece == "?":
            self.advance_segment |= bit
        else:
            self.advance[piece] = self.advance.get(piece, 0) | bit
        return bit << 1

    def _step(self, states: int, character: str) -> int:
        advancing, staying = self.advance.get(character, 0), self.loop_any
        if character != "/":
            advancing, staying = advancing | self.advance_segment, staying | self.loop_segment
        found = self._closed(((states & advancing) << 1) | (states & staying))
        if len(self._steps) >= KEPT_STEPS:
            self._steps.clear()
        self._steps[states, character] = found
        return found

    def _closed(self, states: int) -> int:
        """Return the states and all that empty steps reach from them."""
        while True:
            more = states | ((states & self.empty_one) << 1) | ((states & self.empty_two) << 2)
            if more == states:
                return states
            states = more


def pieces(pattern: str) -> list[str]:
    """Return a pattern's wildcards and characters, with adjacent wildcards merged."""
    found: list[str] = []
    for piece in _PIECES.findall(pattern):
        if found and (found[-1], piece) in _MERGED:
            found[-1] = _MERGED[found[-1], piece]
        else:
            found.append(piece)
    return found
