"""Hold all scores of one scorer as columns, some 80 bytes per score."""

from array import array
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from interp.analysis.control_summary import Controls
from interp.planning.plan import Range

Floats = NDArray[np.float64]
Integers = NDArray[np.integer]
Mask = NDArray[np.bool_]

# Half-width of a 95% interval in standard errors.
NORMAL = 1.96
# Sources of p values: rank among a feature's own nulls, nulls of all features, randomisation over documents.
P_METHODS = (None, "rank", "pooled", "paired")
RANK, POOLED, PAIRED = 1, 2, 3


@dataclass(frozen=True, slots=True)
class Nulls:
    """Null figures of the scores with too few for an own p value.

    few      bool [N]   whether a score is one of these
    lengths  int32 [N]  number of its figures, undefined ones too; 0 where not few
    values   float64    all figures, score by score; NaN where undefined
    """

    few: Mask
    lengths: Integers
    values: Floats

    def matrix(self, chosen: Mask) -> Floats:
        """Return the figures of the F chosen scores, float64 [F, R], padded with NaN."""
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
    """N scores of one scorer, by ascending feature, then explanation; NaN is None.

    ids, explanations  int64 [N]
    features           int32 [N]
    values, lifts, p_values, q_values, shrunken_values, paired  float64 [N], as in the database or adjusted; `paired` are p values, too
    errors             float64 [N]  standard errors, from the intervals' widths
    p_methods          int32 [N]  places in `P_METHODS`
    families           int32 [N]  explanations of one explainer with the same settings are a family, by number from 0 to `family_count` - 1
    metrics, reasons   int32 [N]  places in `all_metrics`, `all_reasons` (of nulls; the first is None)
    nulls              the figures from which p values are pooled
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
    family_count: int
    all_metrics: tuple[str, ...]
    all_reasons: tuple[str | None, ...]
    nulls: Nulls
    controls: Controls

    def __len__(self) -> int:
        return len(self.ids)


# Type codes of `array` per column. Arrays grow in place; joining a list of portions would need twice the memory.
TYPES = {"ids": "q", "features": "i", "explanations": "q", "families": "i", "metrics": "i", "reasons": "i", "p_methods": "i"}
FIGURES = ("values", "lifts", "p_values", "q_values", "shrunken_values", "paired")
TYPES |= dict.fromkeys((*FIGURES, "errors"), "d")


def table_of(portions: Iterable[Sequence[Sequence[Any]]], asked: Sequence[Range]) -> ScoreTable:
    """Return rows of `interp.store.results.dictionary_scores.scores_of` as columns; `asked` are the job's features."""
    columns = {name: array(code) for name, code in TYPES.items()}
    # Few distinct values each, numbered in order of appearance.
    families, metrics, reasons = (defaultdict[Any, int](count().__next__) for _ in range(3))
    reasons[None]
    few, lengths, null_values = array("b"), array("i"), array("d")
    all_controls = Controls()
    for rows in portions:
        ids, features, explained, explainers, digests, names, *figures, lows, highs, methods, causes, nulls, controls = zip(*rows, strict=True)
        columns["ids"].extend(ids)
        columns["features"].extend(features)
        columns["explanations"].extend(explained)
        columns["families"].extend(families[family] for family in zip(explainers, digests, strict=True))
        columns["metrics"].extend(metrics[name] for name in names)
        columns["reasons"].extend(reasons[reason] for reason in causes)
        columns["p_methods"].extend(map(P_METHODS.index, methods))
        for name, values in zip(FIGURES, figures, strict=True):
            columns[name].frombytes(_floats(values).tobytes())
        columns["errors"].frombytes(((_floats(highs) - _floats(lows)) / (2 * NORMAL)).tobytes())
        for values, method in zip(nulls, methods, strict=True):
            is_few = method != P_METHODS[RANK]
            kept = (values or ()) if is_few else ()
            few.append(is_few)
            lengths.append(len(kept))
            null_values.extend(np.nan if value is None else value for value in kept)
        for feature, some, is_asked in zip(features, controls, is_within(np.array(features), asked).tolist(), strict=True):
            if is_asked and some:
                all_controls.add(feature, some)
    return ScoreTable(
        **{name: _array(column) for name, column in columns.items()},
        family_count=len(families),
        all_metrics=tuple(metrics),
        all_reasons=tuple(reasons),
        nulls=Nulls(_array(few).astype(np.bool_), _array(lengths), _array(null_values)),
        controls=all_controls,
    )


def is_within(features: Integers, ranges: Sequence[Range]) -> Mask:
    """Return whether each feature is in an ascending, disjoint range, bool [N]."""
    starts, stops = np.array([start for start, _ in ranges], dtype=np.int64), np.array([0, *(stop for _, stop in ranges)], dtype=np.int64)
    found: Mask = features < stops[np.searchsorted(starts, features, side="right")]
    return found


def _floats(values: Sequence[float | None]) -> Floats:
    return np.array(values, dtype=np.float64)


def _array(column: "array[Any]") -> NDArray[Any]:
    return np.frombuffer(column, dtype=column.typecode) if column else np.empty(0, dtype=column.typecode)
