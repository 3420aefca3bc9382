"""Hold all scores of one scorer over a dictionary as columns of numbers, some 80 bytes per score."""

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from interp.analysis.control_summary import Controls
from interp.planning.plan import Range

Floats = NDArray[np.float64]
Integers = NDArray[np.integer]
Mask = NDArray[np.bool_]
Name = TypeVar("Name")

# Half-width of a 95% interval in standard errors.
NORMAL = 1.96
# How a p value was made: by rank among a feature's own nulls, from the nulls of all features, by randomisation over documents.
P_METHODS = (None, "rank", "pooled", "paired")
RANK, POOLED, PAIRED = 1, 2, 3


class ScoreFamily(NamedTuple):
    """Explanations of one explainer with the same settings."""

    explainer: str
    settings_digest: str


class NumberedNames(Generic[Name]):
    """Numbers values of which there are few different ones, in the order in which they come."""

    def __init__(self, *first: Name) -> None:
        self._numbers = {name: number for number, name in enumerate(first)}

    def numbers(self, values: Iterable[Name]) -> list[int]:
        known = self._numbers
        return [known.setdefault(value, len(known)) for value in values]

    def all(self) -> tuple[Name, ...]:
        return tuple(self._numbers)


@dataclass(frozen=True, slots=True)
class Nulls:
    """Figures of the nulls of the scores that have too few of them for a p value of their own.

    few      bool [N]   whether a score is one of these
    lengths  int32 [N]  how many figures it has, undefined ones too; 0 where not few
    values   float64    all figures, score by score; NaN where undefined
    """

    few: Mask
    lengths: Integers
    values: Floats

    def matrix(self, chosen: Mask) -> Floats:
        """Return the figures of the F chosen scores, float64 [F, R], R the most that one of them has; NaN beyond a score's own."""
        lengths = self.lengths[chosen]
        values = self.values if chosen.all() else self.values[np.repeat(chosen, self.lengths)]
        most = int(lengths.max(initial=0))
        if (lengths == most).all():
            return values.reshape(len(lengths), most)
        found = np.full((len(lengths), most), np.nan)
        found[np.arange(most) < lengths[:, None]] = values
        return found


@dataclass(frozen=True, slots=True)
class ScoreTable:
    """N scores of one scorer, ascending by feature, of one feature by explanation. NaN is None.

    ids, explanations  int64 [N]
    features           int32 [N]
    values, lifts, p_values, q_values, shrunken_values, paired  float64 [N], as in the database or adjusted; `paired` are p values, too
    errors             float64 [N]  standard errors, from the intervals' widths
    p_methods          int32 [N]  places in `P_METHODS`
    families, metrics, reasons      int32 [N]  places in `all_families`, `all_metrics`, `all_reasons` (of nulls; the first is None)
    nulls              what p values are pooled from
    controls           of the features that the job asked for
    """

    ids: Integers
    features: Integers
    explanations: Integers
    families: Integers
    metrics: Integers
    reasons: Integers
    values: Floats
    lifts: Floats
    p_values: Floats
    q_values: Floats
    shrunken_values: Floats
    paired: Floats
    errors: Floats
    p_methods: Integers
    all_families: tuple[ScoreFamily, ...]
    all_metrics: tuple[str, ...]
    all_reasons: tuple[str | None, ...]
    nulls: Nulls
    controls: Controls

    def __len__(self) -> int:
        return len(self.ids)


# Type codes of `array` for each column: arrays grow in place, where a list of portions would need twice the memory when it is joined.
TYPES = {"ids": "q", "features": "i", "explanations": "q", "families": "i", "metrics": "i", "reasons": "i", "p_methods": "i"}
TYPES |= dict.fromkeys(("values", "lifts", "p_values", "q_values", "shrunken_values", "paired", "errors"), "d")


def table_of(portions: Iterable[Sequence[Sequence[Any]]], asked: Sequence[Range]) -> ScoreTable:
    """Return the rows of `interp.store.results.dictionary_scores.scores_of` as columns; `asked` are the features of the job."""
    builder = TableBuilder(asked)
    for rows in portions:
        builder.add(rows)
    return builder.table()


class TableBuilder:
    """Builds a table from portions of rows."""

    def __init__(self, asked: Sequence[Range]) -> None:
        self._asked = asked
        self._columns = {name: array(code) for name, code in TYPES.items()}
        self._families, self._metrics, self._reasons = NumberedNames[ScoreFamily](), NumberedNames[str](), NumberedNames[str | None](None)
        self._few, self._lengths, self._nulls = array("b"), array("i"), array("d")
        self._controls = Controls()

    def add(self, rows: Sequence[Sequence[Any]]) -> None:
        """Add the rows of a portion, at least one."""
        ids, features, explanations, explainers, digests, metrics, *figures, lows, highs, methods, reasons, nulls, controls = zip(*rows, strict=True)
        columns = self._columns
        columns["ids"].extend(ids)
        columns["features"].extend(features)
        columns["explanations"].extend(explanations)
        columns["families"].extend(self._families.numbers(map(ScoreFamily, explainers, digests)))
        columns["metrics"].extend(self._metrics.numbers(metrics))
        columns["reasons"].extend(self._reasons.numbers(reasons))
        columns["p_methods"].extend(map(P_METHODS.index, methods))
        for name, values in zip(("values", "lifts", "p_values", "q_values", "shrunken_values", "paired"), figures, strict=True):
            columns[name].frombytes(_floats(values).tobytes())
        columns["errors"].frombytes(((_floats(highs) - _floats(lows)) / (2 * NORMAL)).tobytes())
        self._add_nulls(nulls, methods)
        for feature, some, is_asked in zip(features, controls, is_within(np.array(features), self._asked).tolist(), strict=True):
            if is_asked and some:
                self._controls.add(feature, some)

    def table(self) -> ScoreTable:
        """Return all that was added; nothing can be added after that."""
        columns = {name: _array(column) for name, column in self._columns.items()}
        nulls = Nulls(_array(self._few).astype(np.bool_), _array(self._lengths), _array(self._nulls))
        return ScoreTable(
            **columns,
            all_families=self._families.all(),
            all_metrics=self._metrics.all(),
            all_reasons=self._reasons.all(),
            nulls=nulls,
            controls=self._controls,
        )

    def _add_nulls(self, nulls: Iterable[Sequence[float | None] | None], methods: Iterable[str | None]) -> None:
        for values, method in zip(nulls, methods, strict=True):
            few = method != P_METHODS[RANK]
            kept = (values or ()) if few else ()
            self._few.append(few)
            self._lengths.append(len(kept))
            self._nulls.extend(np.nan if value is None else value for value in kept)


def is_within(features: Integers, ranges: Sequence[Range]) -> Mask:
    """Return whether each feature lies in one of the ascending, disjoint ranges, bool [N]."""
    starts, stops = np.array([start for start, _ in ranges], dtype=np.int64), np.array([0, *(stop for _, stop in ranges)], dtype=np.int64)
    found: Mask = features < stops[np.searchsorted(starts, features, side="right")]
    return found


def _floats(values: Sequence[float | None]) -> Floats:
    return np.array(values, dtype=np.float64)


def _array(column: "array[Any]") -> NDArray[Any]:
    return np.frombuffer(column, dtype=column.typecode) if column else np.empty(0, dtype=column.typecode)
