"""Define the conditions of rules, evaluated per batch of windows and stored as JSON."""

from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from interp.domain.errors import InputError
from interp.explain.pattern.properties import CLASSES, NAMES, TokenProperties
from interp.explain.pattern.token_windows import PLACE_ATTRIBUTES, PLACE_FLAGS, TOKEN_ATTRIBUTES, TokenWindows, attribute_size

Mask = NDArray[np.bool_]

# Values with this share of a set's activation in explain contexts are its main case.
MAIN_SHARE = 0.7


@dataclass(frozen=True, slots=True)
class Literal:
    """A hashable condition, independent of the windows that it is evaluated on."""

    kind: ClassVar[str]

    def holds(self, windows: TokenWindows) -> Mask:
        """Return bool [N, W]."""
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {"kind": self.kind} | {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def text_table(attribute: str, properties: TokenProperties) -> tuple[str, ...] | None:
    """Return the texts of an attribute's codes; None where codes are numbers."""
    return properties.values.get(TOKEN_ATTRIBUTES.get(attribute, attribute))


def _code(attribute: str, value: int | str, properties: TokenProperties) -> int:
    """Return the code of a value in this vocabulary; -1 when absent."""
    if isinstance(value, str):
        return properties.numbers[TOKEN_ATTRIBUTES.get(attribute, attribute)].get(value, -1)
    return value


@dataclass(frozen=True, slots=True)
class OneOf(Literal):
    """An attribute at offset `at` has one of the values.

    `values` are ordered by their weight in the feature. `rare` ones count, too, but are too light to be named. `share` is the share of the activation
    on all of them, in explain contexts, that `values` carry. It changes the sentence, not what holds.
    """

    attribute: str
    at: int
    values: tuple[int | str, ...]
    rare: tuple[int | str, ...] = ()
    share: float = 1.0
    kind: ClassVar[str] = "one_of"

    def holds(self, windows: TokenWindows) -> Mask:
        codes = windows.attribute(self.attribute, self.at)
        size = attribute_size(self.attribute, windows.properties)
        wanted = np.zeros(size + 1, dtype=np.bool_)
        for value in (*self.values, *self.rare):
            code = _code(self.attribute, value, windows.properties)
            if 0 <= code < size:
                wanted[code] = True
        found: Mask = wanted[codes]
        return found

    def to_json(self) -> dict[str, Any]:
        content = {"kind": self.kind, "attribute": self.attribute, "at": self.at, "values": list(self.values)}
        return content | ({"rare": list(self.rare), "share": self.share} if self.rare else {})


@dataclass(frozen=True, slots=True)
class Flag(Literal):
    """A class of the token at `at`, or a place's flag, holds (`negated`: fails)."""

    name: str
    at: int = 0
    negated: bool = False
    kind: ClassVar[str] = "flag"

    def holds(self, windows: TokenWindows) -> Mask:
        flag = windows.flag(self.name, self.at)
        return ~flag if self.negated else flag

    def to_json(self) -> dict[str, Any]:
        content = {"kind": self.kind, "name": self.name, "at": self.at}
        return {**content, "negated": True} if self.negated else content


@dataclass(frozen=True, slots=True)
class Seen(Literal):
    """A word occurs earlier in the `line` or in the `window`."""

    word: str
    scope: str
    kind: ClassVar[str] = "seen"

    def holds(self, windows: TokenWindows) -> Mask:
        code = _code("word", self.word, windows.properties)
        return windows.seen(code, self.scope) if code >= 0 else np.zeros(windows.shape, dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class InRow(Literal):
    """The token's position in the subject's row is from `low` to `high`, inclusive."""

    low: int
    high: int | None
    kind: ClassVar[str] = "in_row"

    def holds(self, windows: TokenWindows) -> Mask:
        return _is_within(windows.row, self.low, self.high)


@dataclass(frozen=True, slots=True)
class Between(Literal):
    """A numeric attribute is from `low` to `high`, inclusive; None: no limit."""

    attribute: str
    low: int
    high: int | None
    kind: ClassVar[str] = "between"

    def holds(self, windows: TokenWindows) -> Mask:
        return _is_within(windows.attribute(self.attribute), self.low, self.high)


def _is_within(codes: NDArray[np.int64], low: int, high: int | None) -> Mask:
    above: Mask = codes >= low
    return above if high is None else above & (codes <= high)


@dataclass(frozen=True, slots=True)
class Contains(Literal):
    """The token's text contains this piece, in any case."""

    piece: str
    kind: ClassVar[str] = "contains"

    def holds(self, windows: TokenWindows) -> Mask:
        present, places = windows.distinct
        lowered = windows.properties.lowered
        found = np.array([self.piece in lowered[token] for token in present.tolist()], dtype=np.bool_)
        return found[places]


FLAG_NAMES = frozenset({*CLASSES, *PLACE_FLAGS})
ATTRIBUTE_NAMES = frozenset({"token", *NAMES, *PLACE_ATTRIBUTES})
KINDS: dict[str, type[Literal]] = {kind.kind: kind for kind in (OneOf, Flag, Seen, InRow, Between, Contains)}


def literal_from_json(content: dict[str, Any]) -> Literal:
    """Return a literal from JSON. Raises InputError on invalid content."""
    try:
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in content.items() if name != "kind"}
        literal = KINDS[content["kind"]](**values)
        known = ATTRIBUTE_NAMES if isinstance(literal, OneOf | Between) else FLAG_NAMES if isinstance(literal, Flag) else None
        if known is not None and (content.get("attribute") or content.get("name")) not in known:
            raise KeyError(content)
    except (KeyError, TypeError) as error:
        raise InputError("A rule holds a condition that cannot be read.", why=repr(content)[:200]) from error
    return literal
