"""Define rules: unions of clauses, each a conjunction that predicts an activation."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from interp.domain.errors import InputError
from interp.domain.vocabulary import Vocabulary
from interp.explain.pattern.literals import Literal, literal_from_json
from interp.explain.pattern.outline import Outline
from interp.explain.pattern.properties import properties_of
from interp.explain.pattern.token_windows import TokenWindows

VERSION = 3
# Rules of version 1 have no rare values, rules of versions 1 and 2 no tails of characters and no word classes.
READABLE = (1, 2, VERSION)
EXPLAINER = "pattern"


@dataclass(frozen=True, slots=True)
class Clause:
    """A conjunction of `literals` that predicts `value`, or `by_token` for its token.

    `share` is the share of the activation in explain contexts that this clause adds to those before it: only the sentence depends on it.
    """

    literals: tuple[Literal, ...]
    value: float
    by_token: tuple[tuple[int, float], ...] = ()
    share: float | None = None

    def predict(self, windows: TokenWindows) -> NDArray[np.float32]:
        """Return activations float32 [N, W], 0 where the clause does not hold."""
        fires = windows.usable
        for literal in self.literals:
            fires = fires & literal.holds(windows)
        if not self.by_token:
            return np.where(fires, np.float32(self.value), np.float32(0))
        table = np.full(windows.properties.size + 1, self.value, dtype=np.float32)
        tokens = [token for token, _ in self.by_token if token < windows.properties.size]
        table[tokens] = [value for token, value in self.by_token if token < windows.properties.size]
        return np.where(fires, table[windows.ids], np.float32(0))

    def to_json(self) -> dict[str, Any]:
        return {
            "all": [literal.to_json() for literal in self.literals],
            "value": self.value,
            "by_token": [[token, value] for token, value in self.by_token],
            **({} if self.share is None else {"share": self.share}),
        }


@dataclass(frozen=True, slots=True)
class Rule:
    """A union of clauses; where several hold, the largest prediction counts.

    `outline` describes the places of a rule on strings of characters: only the sentence depends on it.
    """

    clauses: tuple[Clause, ...]
    outline: Outline | None = None

    def predict(
        self, tokens: NDArray[np.uint32], lengths: NDArray[np.uint16], positions: NDArray[np.uint16], vocabulary: Vocabulary
    ) -> NDArray[np.float32]:
        """Return activations float32 [N, W], 0 at special tokens and beyond `lengths`."""
        return self.predict_windows(TokenWindows(tokens, lengths, positions, properties_of(vocabulary)))

    def predict_windows(self, windows: TokenWindows) -> NDArray[np.float32]:
        """Return the prediction on windows whose attributes many rules share."""
        predicted = np.zeros(windows.shape, dtype=np.float32)
        for clause in self.clauses:
            np.maximum(predicted, clause.predict(windows), out=predicted)
        return predicted

    def to_json(self) -> dict[str, Any]:
        content = {"version": VERSION, "any": [clause.to_json() for clause in self.clauses]}
        return content if self.outline is None else content | {"outline": self.outline.to_json()}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Rule":
        """Return a rule from JSON. Raises InputError on invalid content or unknown versions."""
        if content.get("version") not in READABLE:
            raise InputError("The rule cannot be read.", why=f"Its version is {content.get('version')!r}, known are {READABLE}.")
        try:
            clauses = tuple(
                Clause(
                    tuple(literal_from_json(literal) for literal in clause["all"]),
                    float(clause["value"]),
                    tuple((int(token), float(value)) for token, value in clause["by_token"]),
                    float(clause["share"]) if "share" in clause else None,
                )
                for clause in content["any"]
            )
            outline = Outline.from_json(content["outline"]) if "outline" in content else None
        except (KeyError, TypeError, ValueError) as error:
            raise InputError("The rule cannot be read.", why=repr(error)) from error
        return cls(clauses, outline)
