"""The last task of a job: what only the whole dictionary can say of its scores, each feature's best explanation, and the job's figures."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from typing import Any

import numpy as np
from sqlalchemy.orm import Session

from interp.lifecycle import JobStatus, Stage
from interp.planning import Range
from interp.score import registry as scorers
from interp.spec import ScorerSpec
from interp.store import conclusions, jobs, runs, usage
from interp.store.dialect import now
from interp.store.engine import snapshot
from interp.store.explanations import Family
from interp.store.progress import JobProgress, progress
from interp.store.tables import Dictionary
from interp.store.usage import UsageLine
from workers.changes import Best, Changes, best_of, changed, in_order
from workers.columns import Figures, Floats, Integers, gathered, is_within
from workers.families import family_of, scorer_digest
from workers.figures import concluded, figures_of
from workers.run import Outcome, Work

__all__ = ["speeds", "summarise", "usage_of"]


@dataclass(frozen=True, slots=True)
class Judged:
    """What stays of one scorer: its figures over the job's features, what is to be written of its scores, and of the first one what is listed."""

    figures: dict[str, Any]
    changes: Changes
    best: Best | None


def summarise(work: Work) -> Outcome:
    """Reads all scores that belong together, and writes what only all of them can say. Its result becomes the job's summary.

    One scorer after another, as columns of numbers; of each, what is to be written stays. Texts pass through in portions. It is all written at once:
    a worker that dies before leaves the book as it was, and whoever does it again comes to the same.
    """
    run_id, own_url = work.run_id, work.runtime.settings.llm_base_url
    with snapshot(work.runtime.engine) as session:
        dictionary = runs.dictionary_of(session, run_id)
        tokens = runs.tokens_of(session, run_id)
        asked = work.spec.feature_ranges() or [(0, dictionary.features)]
        families = [family_of(work.spec, name, run_id, own_url) for name in work.spec.explainers]
        explained = _explained(session, families, dictionary.features, asked)
        states = conclusions.states(session, run_id, asked)
        so_far, moment = progress(session, work.lease.job_id), now(session)
        spent = usage.of(session, work.lease.job_id)
    judged: dict[str, Judged] = {}
    for name, scorer in named(work.spec.scorers).items():
        work.progress(0)
        judged[name] = _judged(work, scorer, dictionary, asked, None if judged else explained)
    best = next((one.best for one in judged.values()), None) or best_of(gathered((), asked, False), explained)
    counts = {"asked": so_far.request_counts.total, "explained": int(np.count_nonzero(explained)), "failed": so_far.request_counts.failed}
    counts |= {state: states.get(state, 0) for state in ("active", "rare", "dead")}
    summary = {
        "features": counts,
        "scores": {name: one.figures for name, one in judged.items()},
        **({"language_models": usage_of(spent)} if spent else {}),
        **speeds(so_far, tokens, moment),
    }

    def write(session: Session) -> dict[str, Any]:
        conclusions.save_conclusions(session, in_order(one.changes for one in judged.values()))
        conclusions.show_best(session, run_id, best.rows(partial(conclusions.labels, session)))
        return _with_control(session, work.lease.job_id, summary)

    return Outcome(write)


def named(specs: Sequence[ScorerSpec]) -> dict[str, ScorerSpec]:
    """The job's scorers by name; a second one of the same name is told apart by its number."""
    found: dict[str, ScorerSpec] = {}
    for spec in specs:
        earlier = sum(other.name == spec.name for other in found.values())
        found[f"{spec.name}#{earlier + 1}" if earlier else spec.name] = spec
    return found


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


def speeds(so_far: JobProgress, tokens: int, moment: datetime) -> dict[str, Any]:
    """Seconds of each stage, and rates: tokens of the corpus per second of collection (None when none was needed), features per second of all.

    All is from the job's start to this `moment`, the last chunk's beginning: a rest may lie after all other stages, and is taken off.
    """
    seconds = {str(stage.stage): round(stage.seconds, 3) for stage in so_far.stages if stage.stage != Stage.SUMMARISE}
    total = max((moment - so_far.started_at).total_seconds() - so_far.idle_seconds, 0.0) if so_far.started_at else 0.0
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


def _judged(work: Work, scorer: ScorerSpec, dictionary: Dictionary, asked: Sequence[Range], explained: Integers | None) -> Judged:
    """All that is concluded of one scorer. What is listed needs to know which features are `explained`."""
    were, densities = _read(work, scorer, dictionary, asked)
    figures = concluded(were, densities)
    best = None if explained is None else best_of(figures, explained)
    return Judged(figures_of(figures, is_within(figures.features, asked)), changed(were, figures), best)


def _read(work: Work, scorer: ScorerSpec, dictionary: Dictionary, asked: Sequence[Range]) -> tuple[Figures, Floats | None]:
    """One scorer's figures as one moment knows them, and where a language model judges, the firing rate of each feature."""
    digest = scorer_digest(work.spec, scorer, work.runtime.settings.llm_base_url)
    are_pooled = scorers.uses_llm(scorer, work.spec)
    with snapshot(work.runtime.engine) as session:
        rows = conclusions.scores_of(session, work.run_id, scorer.name, digest, are_pooled)
        figures = gathered(rows, asked, are_pooled)
        if not are_pooled:
            return figures, None
        densities = np.zeros(dictionary.features)
        for some in conclusions.densities(session, work.run_id):
            features, rates = zip(*some, strict=True)
            densities[list(features)] = rates
    return figures, densities


def _explained(session: Session, families: Sequence[Family], features: int, asked: Sequence[Range]) -> Integers:
    """int64 [features]: the id of each feature's explanation, the first explainer's that has one; 0 where there is none, or it was not asked for."""
    found = np.zeros(features, dtype=np.int64)
    for family in reversed(families):
        for rows in conclusions.explained(session, family):
            places, ids = zip(*rows, strict=True)
            found[list(places)] = ids
    found[~is_within(np.arange(features, dtype=np.int32), asked)] = 0
    return found
