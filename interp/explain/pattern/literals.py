"""The conditions that rules are made of. Each answers for every token of a scene at once, and writes itself as JSON."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from interp.domain.errors import InputError
from interp.explain.pattern.properties import CLASSES, NAMES, TokenProperties
from interp.explain.pattern.token_windows import TAILS, TokenWindows, attribute_size

Mask = NDArray[np.bool_]

# Values that carry this share of a set in explain contexts are its main case.
MAIN_SHARE = 0.7
# Attributes whose values are texts of a table of `TokenProperties`; the others' values are numbers (token ids, columns, places).
TEXT_TABLES = {"line_first": "word", "line_before": "suffix1"}


class Literal(Protocol):
    """One condition. Frozen, hashable, independent of the windows it is asked of."""

    kind: ClassVar[str]

    def holds(self, scene: TokenWindows) -> Mask:
        """bool [N, W]."""
        ...

    def to_json(self) -> dict[str, Any]: ...


def text_table(attribute: str, properties: TokenProperties) -> tuple[str, ...] | None:
    """The texts that stand for the codes of an attribute; None where codes are numbers."""
    return properties.values.get(TEXT_TABLES.get(attribute, attribute))


def _code(attribute: str, value: int | str, properties: TokenProperties) -> int:
    """The code of a value in this vocabulary; -1 when it does not occur."""
    if isinstance(value, str):
        return properties.numbers[TEXT_TABLES.get(attribute, attribute)].get(value, -1)
    return value


@dataclass(frozen=True, slots=True)
class OneOf:
    """An attribute, at `at` tokens from here, has one of the values (`negated`: it is known, and has none of them).

    `values` come in the order of their weight in the feature; `rare` ones count too, but carry too little to be named one by one. `share` is how
    much of the activation on all of them, in explain contexts, `values` carry: it changes what is said, not what holds.
    """

    attribute: str
    at: int
    values: tuple[int | str, ...]
    negated: bool = False
    rare: tuple[int | str, ...] = ()
    share: float = 1.0
    kind: ClassVar[str] = "one_of"

    def holds(self, scene: TokenWindows) -> Mask:
        codes = scene.attribute(self.attribute, self.at)
        size = attribute_size(self.attribute, scene.properties)
        wanted = np.zeros(size + 1, dtype=np.bool_)
        for value in (*self.values, *self.rare):
            code = _code(self.attribute, value, scene.properties)
            if 0 <= code < size:
                wanted[code] = True
        found: Mask = wanted[codes]
        return ~found & (codes >= 0) if self.negated else found

    def to_json(self) -> dict[str, Any]:
        content = {"kind": self.kind, "attribute": self.attribute, "at": self.at, "values": list(self.values)}
        content |= {"negated": True} if self.negated else {}
        return content | ({"rare": list(self.rare), "share": self.share} if self.rare else {})


@dataclass(frozen=True, slots=True)
class Flag:
    """A class of the token at `at`, or a fact of the place, holds (`negated`: does not)."""

    name: str
    at: int = 0
    negated: bool = False
    kind: ClassVar[str] = "flag"

    def holds(self, scene: TokenWindows) -> Mask:
        flag = scene.flag(self.name, self.at)
        return ~flag if self.negated else flag

    def to_json(self) -> dict[str, Any]:
        content = {"kind": self.kind, "name": self.name, "at": self.at}
        return {**content, "negated": True} if self.negated else content


@dataclass(frozen=True, slots=True)
class Seen:
    """A word stands earlier in the `line` or in the `window`."""

    word: str
    scope: str
    kind: ClassVar[str] = "seen"

    def holds(self, scene: TokenWindows) -> Mask:
        code = _code("word", self.word, scene.properties)
        return scene.seen(code, self.scope) if code >= 0 else np.zeros(scene.shape, dtype=np.bool_)

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "word": self.word, "scope": self.scope}


@dataclass(frozen=True, slots=True)
class InRow:
    """The token stands at places `low` to `high` (both included; None: to the end) of the row that the subject read."""

    low: int
    high: int | None
    kind: ClassVar[str] = "in_row"

    def holds(self, scene: TokenWindows) -> Mask:
        held: Mask = scene.row >= self.low
        return held if self.high is None else held & (scene.row <= self.high)

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "low": self.low, "high": self.high}


@dataclass(frozen=True, slots=True)
class Between:
    """An attribute that is a number lies in `low` to `high` (both included; None: no end)."""

    attribute: str
    low: int
    high: int | None
    kind: ClassVar[str] = "between"

    def holds(self, scene: TokenWindows) -> Mask:
        codes = scene.attribute(self.attribute, 0)
        held: Mask = codes >= self.low
        return held if self.high is None else held & (codes <= self.high)

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "attribute": self.attribute, "low": self.low, "high": self.high}


@dataclass(frozen=True, slots=True)
class Contains:
    """The token's text holds this piece, in any case."""

    piece: str
    kind: ClassVar[str] = "contains"

    def holds(self, scene: TokenWindows) -> Mask:
        present, places = scene.distinct
        lowered = scene.properties.lowered
        found = np.array([self.piece in lowered[token] for token in present.tolist()], dtype=np.bool_)
        return found[places]

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "piece": self.piece}


PLACE_FLAGS = (
    "line_start",
    "deeper",
    "shallower",
    "in_string",
    "in_triple",
    "in_comment",
    "in_round",
    "in_square",
    "in_curly",
    "repeated",
    "continued",
)
FLAG_NAMES = frozenset({*CLASSES, *PLACE_FLAGS})
ATTRIBUTE_NAMES = frozenset({"token", *NAMES, "line_first", "line_before", "indent", "break_indent", "place", "row", *TAILS})

READERS: dict[str, Callable[[dict[str, Any]], Literal]] = {
    OneOf.kind: lambda c: OneOf(c["attribute"], c["at"], tuple(c["values"]), c.get("negated", False), tuple(c.get("rare", ())), c.get("share", 1.0)),
    Flag.kind: lambda c: Flag(c["name"], c["at"], c.get("negated", False)),
    Seen.kind: lambda c: Seen(c["word"], c["scope"]),
    InRow.kind: lambda c: InRow(c["low"], c["high"]),
    Between.kind: lambda c: Between(c["attribute"], c["low"], c["high"]),
    Contains.kind: lambda c: Contains(c["piece"]),
}


def literal_from_json(content: dict[str, Any]) -> Literal:
    """Raises InputError when the content is no literal."""
    try:
        literal = READERS[content["kind"]](content)
        known = ATTRIBUTE_NAMES if isinstance(literal, OneOf | Between) else FLAG_NAMES if isinstance(literal, Flag) else None
        if known is not None and (content.get("attribute") or content.get("name")) not in known:
            raise KeyError(content)
    except (KeyError, TypeError) as error:
        raise InputError("A rule holds a condition that cannot be read.", why=repr(content)[:200]) from error
    return literal
