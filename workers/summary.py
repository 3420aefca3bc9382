"""The last task of a job: q values over the whole dictionary, each feature's best explanation, and the job's figures."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

from sqlalchemy.orm import Session

from interp.lifecycle import Stage
from interp.planning import Range
from interp.spec import ScorerSpec
from interp.stats.multiplicity import benjamini_hochberg
from interp.store import dictionaries, evidence, explanations, scores
from interp.store.engine import snapshot
from interp.store.explanations import Family
from interp.store.progress import JobProgress, progress
from interp.store.scores import Figure, Shown
from workers.families import family_of, scorer_digest
from workers.run import Outcome, Work

# q at or below this counts as better than its null.
SIGNIFICANT = 0.05


def summarise(work: Work) -> Outcome:
    """Reads all scores that belong together, and writes what only all of them can say. Its result becomes the job's summary."""
    set_id = str(work.evidence_set)
    with snapshot(work.runtime.engine) as session:
        dictionary = dictionaries.dictionary_of(session, set_id)
        tokens = dictionaries.tokens_of(session, set_id)
        asked = work.spec.feature_ranges() or [(0, dictionary.features)]
        families = [family_of(work.spec, name, set_id, dictionary.id) for name in work.spec.explainers]
        figures = {scorer.name: _figures(session, work, scorer, set_id, dictionary.id) for scorer in work.spec.scorers}
        labels = _labels(session, families, asked)
        states = Counter(evidence.states(session, set_id, dictionary.id, asked).values())
        so_far = progress(session, work.lease.job_id)
    judged = {name: with_q_values(rows) for name, rows in figures.items()}
    best = best_of(next(iter(judged.values()), []), labels, asked)
    changed = {row.id: row.q_value for name, rows in judged.items() for row, was in zip(rows, figures[name], strict=True) if row != was}
    ours = {name: [row for row in rows if _is_within(row.feature, asked)] for name, rows in judged.items()}
    counts = {"asked": so_far.request_counts.total, "explained": len(labels), "failed": so_far.request_counts.failed}
    counts |= {state: states[state] for state in ("active", "rare", "dead")}
    summary = {
        "features": counts,
        "scores": {name: figures_of(rows) for name, rows in ours.items()},
        **speeds(so_far, tokens),
    }

    def write(session: Session) -> dict[str, Any]:
        scores.save_q_values(session, sorted(changed.items()))
        scores.show_best(session, dictionary.id, set_id, best)
        return summary

    return Outcome(write)


def with_q_values(figures: Sequence[Figure]) -> list[Figure]:
    """The figures with Benjamini-Hochberg q values: each family of explanations is one set of tests. Untested ones have None."""
    q_of: dict[int, float | None] = {}
    for family in dict.fromkeys(figure.family for figure in figures):
        members = [figure for figure in figures if figure.family == family]
        q_values = benjamini_hochberg([figure.p_value for figure in members])
        q_of |= {figure.id: None if math.isnan(q) else float(q) for figure, q in zip(members, q_values, strict=True)}
    return [replace(figure, q_value=q_of[figure.id]) for figure in figures]


def best_of(figures: Iterable[Figure], labels: dict[int, tuple[int, str]], asked: Sequence[Range]) -> list[Shown]:
    """What listings show of each feature: the explanation with the highest value, the older one of equals; ascending by feature.

    A feature asked for that has an explanation but no defined score shows it without one.
    """
    shown = {feature: Shown(feature, made, label) for feature, (made, label) in labels.items() if _is_within(feature, asked)}
    values: dict[int, float] = {}
    for figure in sorted(figures, key=lambda figure: figure.explanation_id):
        value = -math.inf if figure.value is None else figure.value
        if figure.feature not in values or value > values[figure.feature]:
            values[figure.feature] = value
            shown[figure.feature] = Shown(figure.feature, figure.explanation_id, figure.label, figure.value, figure.lift, figure.q_value)
    return [shown[feature] for feature in sorted(shown)]


def figures_of(figures: Sequence[Figure]) -> dict[str, Any]:
    """One scorer's figures over a job's features. Medians are over defined values; None where there are none."""
    values = [figure.value for figure in figures if figure.value is not None]
    lifts = [figure.lift for figure in figures if figure.lift is not None]
    tested = [figure.q_value for figure in figures if figure.q_value is not None]
    return {
        "metric": figures[0].metric if figures else None,
        "scored": len(values),
        "undefined": len(figures) - len(values),
        "median": median(values) if values else None,
        "median_lift": median(lifts) if lifts else None,
        "tested": len(tested),
        "better_than_null": sum(q <= SIGNIFICANT for q in tested),
        "significant_at": SIGNIFICANT,
    }


def speeds(so_far: JobProgress, tokens: int) -> dict[str, Any]:
    """Seconds of each stage, and rates: tokens of the corpus per second of collection (None when none was needed), features per second of all."""
    seconds = {str(stage.stage): round(stage.seconds, 3) for stage in so_far.stages if stage.stage != Stage.SUMMARISE}
    wall = [stage.finished_at for stage in so_far.stages if stage.finished_at]
    total = (max(wall) - so_far.started_at).total_seconds() if wall and so_far.started_at else 0.0
    collecting = seconds.get(Stage.COLLECT, 0.0)
    return {
        "tokens": tokens,
        "seconds": seconds,
        "total_seconds": round(total, 3),
        "tokens_per_s": round(tokens / collecting, 1) if collecting else None,
        "features_per_s": round(so_far.request_counts.total / total, 2) if total else None,
    }


def _figures(session: Session, work: Work, scorer: ScorerSpec, set_id: str, dictionary_id: int) -> list[Figure]:
    return scores.figures(session, set_id, dictionary_id, scorer.name, scorer_digest(work.spec, scorer))


def _labels(session: Session, families: Sequence[Family], asked: Sequence[Range]) -> dict[int, tuple[int, str]]:
    """(id, label) of each explained feature: the first explainer's that has one."""
    found: dict[int, tuple[int, str]] = {}
    for family in reversed(families):
        found |= {feature: label for feature, label in explanations.labels(session, family).items() if _is_within(feature, asked)}
    return found


def _is_within(feature: int, ranges: Sequence[Range]) -> bool:
    return any(start <= feature < stop for start, stop in ranges)
