"""Run collect, combine and merge chunks: evidence from a corpus."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from interp.collect import partial_file
from interp.collect.finish import finish
from interp.collect.memory import collection_bytes, forward_bytes
from interp.collect.partial import merge as merge_partials
from interp.collect.run import SharedPass, Wanted, collect_all
from interp.corpus.tokenized import TokenizedCorpus, open_corpus
from interp.domain.lifecycle import Stage
from interp.files.artifact_store import Store
from interp.files.evidence_codec import encode_evidence
from interp.health.observing import Observed, observe, observed_bytes, save_counts
from interp.store.db.engine import Session, snapshot
from interp.store.queue import retention
from interp.store.results import evidence
from interp.store.results.evidence import Gathered
from workers import artifact_paths
from workers.runtime import TaskResult, Work
from workers.tasks import firing_levels, random_dictionary
from workers.tasks.model_cache import Models, all_models_of, models_of, union


def collect(work: Work) -> TaskResult:
    """Run a corpus shard through the models, and write partial evidence of some features."""
    payload, corpus = work.lease.payload, _corpus(work)
    start, stop = payload["documents"]
    # Chunks that an earlier version planned have the features of one dictionary, and no number of tokens.
    parts = payload.get("parts") or [(0, payload["features"])]
    tokens = payload.get("batch_tokens") or work.job.collection.tokens_at_once
    spec = work.job.collection.in_batches_of(tokens)
    features = [np.concatenate([np.arange(*span, dtype=np.int64) for span in spans]) for _, spans in parts]
    places = [place for place, _ in parts]

    def needed(models: Sequence[Models]) -> int:
        held = sum(collection_bytes(len(own), one.extent, spec) for own, one in zip(features, models, strict=True))
        counted = sum(observed_bytes(len(own), spec) for own in features) if payload.get("counts_firing") else 0
        return held + counted + max(forward_bytes(one.extent, tokens) for one in models)

    wanted = []
    for place, models, own in zip(places, every := all_models_of(work.runtime, work.job, places, needed), features, strict=True):
        facts = firing_levels.facts_of(work.of(place))
        models = random_dictionary.load(work.of(place), firing_levels.with_threshold(models, facts), corpus, own)
        wanted.append(Wanted(models.dictionary, own, firing_levels.load(work.of(place), models, corpus, own, facts)))
    subject = every[0].subject if len(every) == 1 else every[0].subject.at(union(models.subject.hook_point for models in every))
    observed: list[Observed] = []

    def begin(collecting: SharedPass) -> None:
        if work.job.health is not None and payload.get("counts_firing"):
            for number, one in enumerate(wanted):
                observed.append(observe(collecting, number, subject, one.dictionary, corpus, one.levels, work.job.health.token_class, work.job.seed))

    partials = collect_all(subject, wanted, corpus, (start, stop), spec, work.job.seed, work.progress, begin)
    for place, made in zip(places, partials, strict=True):
        partial_file.save(_store(work), _partial(work, Stage.COLLECT, work.lease.number, place), made)
    for place, counted in zip(places, observed, strict=False):
        save_counts(_store(work), artifact_paths.firing_counts(work.lease.job_id, work.lease.number, place), counted)
    return TaskResult(lambda _session: {"tokens": work.lease.units})


def combine(work: Work) -> TaskResult:
    """Merge some partial evidence files into one, without a model, in bounded memory."""
    store, places, done = _store(work), work.lease.payload.get("dictionaries", [0]), 0
    for place in places:
        output = _partial(work, Stage.COMBINE, work.lease.number, place)
        done += partial_file.combine(store, _inputs(work, place), output, partial(_after, work, done))

    def delete_inputs() -> None:
        for place in places:
            for name in _inputs(work, place):
                store.delete(name)

    return TaskResult(lambda _session: {"parts": len(_inputs(work, 0))}, afterwards=delete_inputs)


def _after(work: Work, done: int, features: int) -> None:
    work.progress(done + features)


def merge(work: Work) -> TaskResult:
    """Merge the partial evidence of a range of features, and write the evidence."""
    models, corpus = models_of(work), _corpus(work)
    first, run_id = work.lease.payload["first"], work.run_id
    store, rows = _store(work), (first, first + work.lease.units)
    whole = merge_partials(partial_file.load(store, name, rows) for name in _inputs(work, work.place))
    gathered: list[Gathered] = []
    for item in finish(whole, models.subject, models.dictionary, corpus, work.spec.collection):
        gathered.append(Gathered(item.feature, item.statistics, encode_evidence(item)))
        work.progress(len(gathered))

    def write(session: Session) -> dict[str, Any]:
        evidence.save(session, run_id, gathered)
        return {"bytes": sum(len(item.blob) for item in gathered)}

    return TaskResult(write, afterwards=lambda: delete_partials(work))


def _corpus(work: Work) -> TokenizedCorpus:
    store, digest = _store(work), work.lease.payload["corpus"]
    corpus = open_corpus(store, digest)
    store.touch(artifact_paths.used(digest))
    return corpus


def _inputs(work: Work, place: int) -> list[str]:
    """Return the names of a dictionary's partial evidence that a chunk reads."""
    return [_partial(work, Stage(stage), number, place) for stage, number in work.lease.payload["inputs"]]


def delete_partials(work: Work) -> None:
    """Delete the job's partial evidence once no chunk reads it, before maintenance does."""
    with snapshot(work.runtime.engine) as session:
        needed = retention.needs_partials(session, work.lease.job_id)
    if not needed:
        _store(work).delete(artifact_paths.partials(work.lease.job_id))


def _store(work: Work) -> Store:
    return artifact_paths.store_of(work.runtime.settings)


def _partial(work: Work, stage: Stage, number: int, place: int) -> str:
    return artifact_paths.partial(work.lease.job_id, stage, number, place)
