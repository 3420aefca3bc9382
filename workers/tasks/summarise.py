"""Run the summary task: adjust scores, choose best explanations, sum up the job."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from typing import Any

import numpy as np

from interp.analysis import stored_league
from interp.analysis.random_control import ByFeature, by_feature_of, paired_difference
from interp.analysis.score_table import Mask, is_within, table_of
from interp.analysis.significance import adjusted, summary_of
from interp.analysis.updates import Changes, candidates, changed, in_order
from interp.domain.explanation import ExplanationFamily
from interp.domain.lifecycle import JobStatus, Stage
from interp.domain.spec import ScorerSpec
from interp.planning.plan import Range
from interp.planning.preflight import wanted_ranges
from interp.planning.settings_digest import PlannedScorer, family_of, planned_scorer
from interp.score.best import BestSoFar, Candidates, scored, unscored
from interp.score.best import best as best_of
from interp.store.db.dialect import now
from interp.store.db.engine import Session, snapshot
from interp.store.llm import call_stats
from interp.store.llm.call_stats import UsageLine
from interp.store.queue import chunks, jobs
from interp.store.queue.progress import JobProgress, progress
from interp.store.results import dictionary_scores, runs
from workers.label_vectors import embed_texts
from workers.runtime import TaskResult, Work

__all__ = ["speeds", "summarise", "usage_of"]

# Stages without which a job completes, by the name under which the summary says so.
CAN_BE_WITHOUT = {"without_map": Stage.MAP, "without_health": Stage.HEALTH}


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One dictionary's figures before they are written.

    `seen` counts the run's summaries before; `by_feature` are each scorer's values.
    """

    seen: int
    changes: Sequence[Changes]
    best: Candidates
    figures: dict[str, Any]
    by_feature: Mapping[str, ByFeature]


def summarise(work: Work) -> TaskResult:
    """Read all scores of the run, and return statistics of all as job summary.

    One scorer after another is read, as columns of numbers; of each, only what is to be written stays. Texts are read in portions. All is written at
    once: a worker that dies before leaves everything as it was, and a retry gives the same. Where another job of the run wrote its summary meanwhile,
    all is read again: the last job has seen everything.
    """
    of_runs = [work.of(place) for place in range(len(work.job.each))]
    with snapshot(work.runtime.engine) as session:
        so_far, moment = progress(session, work.lease.job_id), now(session)
        spent = call_stats.usage(session, work.lease.job_id)
        failed = {name: chunks.errors(session, work.lease.job_id, stage) for name, stage in CAN_BE_WITHOUT.items()}
        tokens, names = runs.size_of(session, work.runs[0])[1], runs.of_ids(session, work.runs)
    made = [_made(one) for one in of_runs]
    for one in made:
        _embed_labels(work, one.best)

    def write(session: Session) -> dict[str, Any]:
        figures: dict[int, dict[str, Any]] = {}
        by_feature = {}
        # In the order of the runs' numbers: jobs with the same runs must not wait for each other.
        for one, first in sorted(zip(of_runs, made, strict=True), key=lambda pair: pair[0].run_id):
            last = first if dictionary_scores.begin_summary(session, one.run_id) == first.seen else _made(one)
            dictionary_scores.save_adjusted(session, in_order(last.changes))
            dictionary_scores.show_best(session, one.run_id, dictionary_scores.shown(last.best, partial(dictionary_scores.labels, session)))
            figures[one.place], by_feature[one.place] = last.figures, last.by_feature
        each = [{"dictionary": names[one.run_id][1].name} | figures[one.place] for one in of_runs]
        counts = {"asked": so_far.request_counts.total} | _sums([one["features"] for one in each]) | {"failed": so_far.request_counts.failed}
        summary = {
            "features": counts,
            "scores": each[0]["scores"] if len(each) == 1 else {},
            **({"dictionaries": each} if len(each) > 1 else {}),
            **_beside_random(work, each, by_feature),
            **{name: _without(each, errors) for name, errors in failed.items() if errors},
            **({"language_models": usage_of(spent)} if spent else {}),
            **speeds(so_far, tokens, moment),
        }
        return _with_control(session, work.lease.job_id, summary)

    def store_leagues() -> None:
        # After the commit: it reads the figures that were written, and nobody waits for it.
        for run_id in sorted(one.run_id for one in of_runs):
            stored_league.store(work.runtime.engine, run_id)

    return TaskResult(write, store_leagues)


def _embed_labels(work: Work, best: Candidates) -> None:
    """Write the vectors of the labels that will be listed."""
    for start in range(0, len(best), dictionary_scores.PORTION):
        work.progress(0)
        with snapshot(work.runtime.engine) as session:
            texts = dictionary_scores.labels(session, best.explanations[start : start + dictionary_scores.PORTION].tolist())
        embed_texts(work.runtime.engine, [text for text in texts.values() if text is not None])


def _beside_random(work: Work, each: Sequence[Mapping[str, Any]], by_feature: Mapping[int, Mapping[str, ByFeature]]) -> dict[str, Any]:
    """Return the comparison of each dictionary with that of random directions, where there is one."""
    found = [
        {
            "dictionary": each[place]["dictionary"],
            "control": each[control]["dictionary"],
            "scores": {
                name: _over(each[place]["scores"], each[control]["scores"])[name]
                | {"median_lift": each[control]["scores"][name]["median_lift"]}
                | asdict(paired_difference(values, by_feature[control][name]))
                for name, values in by_feature[place].items()
            },
        }
        for place, control in work.job.random_pairs()
    ]
    return {"random_dictionary": {"dictionaries": found}} if found else {}


def _without(each: Sequence[Mapping[str, Any]], errors: Mapping[int, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the dictionaries of failed chunks, with the reason of each."""
    return [
        {"dictionary": each[place]["dictionary"]} | {name: error.get(name) for name in ("detail", "why", "cure")} for place, error in errors.items()
    ]


def _sums(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    return {name: sum(one[name] for one in counts) for name in counts[0]}


def _made(work: Work) -> RunSummary:
    run_id, own_url = work.run_id, work.runtime.settings.llm_base_url
    with snapshot(work.runtime.engine) as session:
        seen = dictionary_scores.summaries(session, run_id)
        n_features, _ = runs.size_of(session, run_id)
        asked = wanted_ranges(work.spec, n_features)
        families = {family_of(work.spec, name, run_id, own_url) for name in work.spec.explainers}
        best = BestSoFar()
        explained = _explained(session, families, run_id, n_features, best)
        states = dictionary_scores.states(session, run_id, asked)
    planned = {name: planned_scorer(work.spec, scorer, own_url) for name, scorer in named(work.spec.scorers).items()}
    figures: dict[str, Any] = {}
    by_feature: dict[str, ByFeature] = {}
    changes = []
    for name, scorer in planned.items():
        work.progress(0)
        figures[name], by_feature[name], changed, candidates = _one_scorer(work, scorer, n_features, asked)
        changes.append(changed)
        best.add(candidates)
    _add_others(work, planned.values(), best)
    is_asked = is_within(np.arange(n_features, dtype=np.int32), asked)
    counts = {"explained": int(np.count_nonzero(explained & is_asked))} | {state: states.get(state, 0) for state in ("active", "rare", "dead")}
    return RunSummary(seen, changes, best.best(), {"features": counts, "scores": figures}, by_feature)


def named(specs: Sequence[ScorerSpec]) -> dict[str, ScorerSpec]:
    """Return the job's scorers by name, with numbers added to repeated names."""
    found: dict[str, ScorerSpec] = {}
    for spec in specs:
        earlier = sum(other.name == spec.name for other in found.values())
        found[f"{spec.name}#{earlier + 1}" if earlier else spec.name] = spec
    return found


def usage_of(lines: Sequence[UsageLine]) -> dict[str, Any]:
    """Return calls, tokens and cost (None if unknown), in all and per stage, purpose, model."""
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
    """Return seconds per stage, corpus tokens and features per second, up to `moment`.

    `moment` is the beginning of the last chunk, and the job's pauses do not count. The tokens' rate is None when no collection was needed.
    """
    seconds = {str(stage.stage): round(stage.seconds, 3) for stage in so_far.stages if stage.stage != Stage.SUMMARISE}
    total = max((moment - so_far.started_at).total_seconds() - so_far.inactive_seconds, 0.0) if so_far.started_at else 0.0
    collecting = seconds.get(Stage.COLLECT, 0.0)
    return {
        "tokens": tokens,
        "seconds": seconds,
        "total_seconds": round(total, 3),
        "tokens_per_s": round(tokens / collecting, 1) if collecting else None,
        "features_per_s": round(so_far.request_counts.total / total, 2) if total else None,
    }


def over_random(own: Mapping[str, Any], control: Mapping[str, Any], job_id: str) -> dict[str, Any]:
    """Compare a job's medians with those of its random-weights control, by dictionary if several."""
    pairs = zip(own.get("dictionaries", ()), control.get("dictionaries", ()), strict=False)
    several = [{"dictionary": one["dictionary"], "scores": _over(one["scores"], other["scores"])} for one, other in pairs]
    return {"job": job_id, "scores": _over(own["scores"], control["scores"])} | ({"dictionaries": several} if several else {})


def _over(own: Mapping[str, Any], control: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, figures in own.items():
        theirs = control.get(name, {}).get("median")
        lift = None if theirs is None or figures["median"] is None else figures["median"] - theirs
        found[name] = {"median": theirs, "lift": lift}
    return found


def _with_control(session: Session, job_id: str, summary: dict[str, Any]) -> dict[str, Any]:
    """Add the comparison with the control to the summary, once both jobs ended."""
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


def _one_scorer(work: Work, planned: PlannedScorer, features: int, asked: Sequence[Range]) -> tuple[dict[str, Any], ByFeature, Changes, Candidates]:
    """Return one scorer's figures, values by feature, changes to its scores, and best candidates."""
    name = planned.scorer.name
    with snapshot(work.runtime.engine) as session:
        before = table_of(dictionary_scores.scores_of(session, work.run_id, name, planned.digest), asked)
        densities = np.zeros(features)
        for some in dictionary_scores.densities(session, work.run_id):
            numbers, rates = zip(*some, strict=True)
            densities[list(numbers)] = rates
    after = adjusted(before, densities)
    # Only a scorer's best per feature can be the best among all.
    chosen = is_within(after.features, asked)
    return summary_of(after, chosen), by_feature_of(after, chosen), changed(before, after), best_of(candidates(name, after))


def _add_others(work: Work, planned: Iterable[PlannedScorer], best: BestSoFar) -> None:
    """Add the scores that other jobs of the run made with other settings."""
    known = {(one.scorer.name, one.digest) for one in planned}
    with snapshot(work.runtime.engine) as session:
        for rows in dictionary_scores.other_scores(session, work.run_id, known):
            best.add(scored(*zip(*rows, strict=True)))


def _explained(session: Session, families: Collection[ExplanationFamily], run_id: int, features: int, best: BestSoFar) -> Mask:
    """Return whether a family explains each feature, bool [features]; fill `best` with all explanations."""
    found = np.zeros(features, dtype=np.bool_)
    of = {(family.explainer, family.settings_digest) for family in families}
    for rows in dictionary_scores.explained(session, run_id):
        places, ids, explainers, digests = zip(*rows, strict=True)
        best.add(unscored(places, ids))
        found[[place for place, name, digest in zip(places, explainers, digests, strict=True) if (name, digest) in of]] = True
    return found
