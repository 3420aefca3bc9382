"""The last task of a job: what only the whole dictionary can say of its scores, each feature's best explanation, and the job's figures."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy.orm import Session

from interp.lifecycle import JobStatus, Stage
from interp.planning import Range
from interp.score import registry as scorers
from interp.spec import ScorerSpec
from interp.store import dictionaries, evidence, explanations, jobs, scores, usage
from interp.store.engine import snapshot
from interp.store.explanations import Family
from interp.store.progress import JobProgress, progress
from interp.store.scores import Figure, Shown
from interp.store.usage import UsageLine
from workers.families import family_of, scorer_digest
from workers.figures import concluded, figures_of
from workers.run import Outcome, Work

__all__ = ["best_of", "concluded", "figures_of", "speeds", "summarise", "usage_of"]


def summarise(work: Work) -> Outcome:
    """Reads all scores that belong together, and writes what only all of them can say. Its result becomes the job's summary."""
    set_id, own_url = str(work.evidence_set), work.runtime.settings.llm_base_url
    with snapshot(work.runtime.engine) as session:
        dictionary = dictionaries.dictionary_of(session, set_id)
        tokens = dictionaries.tokens_of(session, set_id)
        asked = work.spec.feature_ranges() or [(0, dictionary.features)]
        families = [family_of(work.spec, name, set_id, dictionary.id, own_url) for name in work.spec.explainers]
        figures = {name: _figures(session, work, scorer, set_id, dictionary.id) for name, scorer in named(work.spec.scorers).items()}
        densities = evidence.densities(session, set_id) if any(scorers.uses_llm(scorer, work.spec) for scorer in work.spec.scorers) else {}
        labels = _labels(session, families, asked)
        states = Counter(evidence.states(session, set_id, dictionary.id, asked).values())
        so_far = progress(session, work.lease.job_id)
        spent = usage.of(session, work.lease.job_id)
    judged = {
        name: concluded(figures[name], densities if scorers.uses_llm(scorer, work.spec) else None)
        for name, scorer in named(work.spec.scorers).items()
    }
    best = best_of(next(iter(judged.values()), []), labels, asked)
    changed = {row.id: row for name, rows in judged.items() for row, was in zip(rows, figures[name], strict=True) if row != was}
    ours = {name: [row for row in rows if _is_within(row.feature, asked)] for name, rows in judged.items()}
    counts = {"asked": so_far.request_counts.total, "explained": len(labels), "failed": so_far.request_counts.failed}
    counts |= {state: states[state] for state in ("active", "rare", "dead")}
    summary = {
        "features": counts,
        "scores": {name: figures_of(rows) for name, rows in ours.items()},
        **({"language_models": usage_of(spent)} if spent else {}),
        **speeds(so_far, tokens),
    }

    def write(session: Session) -> dict[str, Any]:
        scores.save_conclusions(session, [changed[row] for row in sorted(changed)])
        scores.show_best(session, dictionary.id, set_id, best)
        return _with_control(session, work.lease.job_id, summary)

    return Outcome(write)


def named(specs: Sequence[ScorerSpec]) -> dict[str, ScorerSpec]:
    """The job's scorers by name; a second one of the same name is told apart by its number."""
    found: dict[str, ScorerSpec] = {}
    for spec in specs:
        earlier = sum(other.name == spec.name for other in found.values())
        found[f"{spec.name}#{earlier + 1}" if earlier else spec.name] = spec
    return found


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
            shown[figure.feature] = Shown(
                figure.feature, figure.explanation_id, figure.label, figure.value, figure.lift, figure.q_value, figure.shrunken
            )
    return [shown[feature] for feature in sorted(shown)]


def usage_of(lines: Sequence[UsageLine]) -> dict[str, Any]:
    """What the job's language models were asked, took and cost, in all and by stage, purpose and model. An unknown price is None, never 0."""
    costs = [line.cost_usd for line in lines]
    return {
        "questions": sum(line.questions for line in lines),
        "answered": sum(line.answered for line in lines),
        "attempts": sum(line.attempts for line in lines),
        "prompt_tokens": sum(line.prompt_tokens for line in lines),
        "completion_tokens": sum(line.completion_tokens for line in lines),
        "tokens_known": all(line.tokens_known for line in lines),
        "cost_usd": None if None in costs else sum(cost for cost in costs if cost is not None),
        "lines": [asdict(line) for line in lines],
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


def over_random(own: Mapping[str, Any], control: Mapping[str, Any], job_id: str) -> dict[str, Any]:
    """A job's medians beside those of its control, the same dictionary on a subject that has learned nothing."""
    found: dict[str, Any] = {}
    for name, figures in own["scores"].items():
        theirs = control["scores"].get(name, {}).get("median")
        lift = None if theirs is None or figures["median"] is None else figures["median"] - theirs
        found[name] = {"median": theirs, "lift": lift}
    return {"job": job_id, "scores": found}


def _with_control(session: Session, job_id: str, summary: dict[str, Any]) -> dict[str, Any]:
    """Job and control end in any order: whoever comes second puts both beside one another, in the job's summary."""
    own = jobs.get(session, job_id)
    if own.control_of is not None:
        parent = jobs.hold(session, own.control_of)
        if parent.summary is not None:
            jobs.amend(session, parent.id, parent.summary | {"random_weights": over_random(parent.summary, summary, job_id)})
        return summary
    control = jobs.control_of(session, jobs.hold(session, job_id).id)
    if control is not None and control.status == JobStatus.COMPLETED and control.summary is not None:
        return summary | {"random_weights": over_random(summary, control.summary, control.id)}
    return summary


def _figures(session: Session, work: Work, scorer: ScorerSpec, set_id: str, dictionary_id: int) -> list[Figure]:
    digest = scorer_digest(work.spec, scorer, work.runtime.settings.llm_base_url)
    return scores.figures(session, set_id, dictionary_id, scorer.name, digest)


def _labels(session: Session, families: Sequence[Family], asked: Sequence[Range]) -> dict[int, tuple[int, str]]:
    """(id, label) of each explained feature: the first explainer's that has one."""
    found: dict[int, tuple[int, str]] = {}
    for family in reversed(families):
        found |= {feature: label for feature, label in explanations.labels(session, family).items() if _is_within(feature, asked)}
    return found


def _is_within(feature: int, ranges: Sequence[Range]) -> bool:
    return any(start <= feature < stop for start, stop in ranges)
