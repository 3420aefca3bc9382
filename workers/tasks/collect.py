"""Run the tasks of a gpu worker: prepare, collect, combine, merge."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from interp.collect import partial_file
from interp.collect import run as collection
from interp.collect.finish import finish
from interp.collect.memory import collection_bytes, features_at_once
from interp.collect.partial import merge as merge_partials
from interp.corpus.corpus_files import CorpusListing
from interp.corpus.documents import CorpusIndex, index
from interp.corpus.listing import list_files
from interp.corpus.local_copies import clear_old_copies, local_copies
from interp.corpus.tokenized import TokenizedCorpus, open_corpus, tokenize_corpus
from interp.domain.errors import WorkerTooSmallError, printable
from interp.domain.evidence import Split
from interp.domain.job_warnings import JobWarning, Largest, of_backend, of_corpus
from interp.domain.lifecycle import Queue, Stage
from interp.files.artifact_store import Store
from interp.files.evidence_codec import encode_evidence
from interp.planning.fetching import fetch
from interp.planning.fingerprint import evidence_id
from interp.planning.plan import Range, Shard, Sizes, count, plan, ranges_of, subtract
from interp.planning.preflight import wanted_ranges
from interp.planning.settings_digest import goes_in_batches
from interp.store.db.engine import Session, snapshot
from interp.store.queue import chunks, jobs, retention, workers
from interp.store.results import dictionaries, evidence, runs
from interp.store.results.evidence import Gathered
from interp.subject.text.chat import open_chat
from workers import artifact_paths
from workers.runtime import TaskResult, Work
from workers.tasks import firing_levels
from workers.tasks.model_cache import Models, models_of, usable, worker_memory

# Progress of prepare when the texts are known, the models open and the corpus tokenised; the rest is calibration.
KNOWN, OPEN, TOKENISED = 0.1, 0.2, 0.4
# Share of the first part that goes into local copies of files elsewhere.
COPIED = 0.8
# Most passes of the corpus through the subject: one per group of features.
MOST_GROUPS = 64


def prepare(work: Work) -> TaskResult:
    """Find missing evidence and plan the job; open models and tokenise only where needed.

    The corpus is read once to hash its texts, and once more to tokenise them.
    """
    # At once, unless another machine fetched it for the check.
    fetch(work.spec, lambda share: _report(work, KNOWN * share))
    listing = list_files(work.spec.corpus)
    found = index(work.spec.corpus, _copied(work, listing), lambda share: _report(work, KNOWN * (COPIED + (1 - COPIED) * share)))
    digest, identity = evidence_id(work.spec, found, library=True)
    with snapshot(work.runtime.engine) as session:
        known = runs.find(session, digest)
        measured = ranges_of(evidence.features_with(session, known[0].id)) if known else []
    changed = _changed(work, listing)
    if known is not None:
        run, row = known
        asked = wanted_ranges(work.spec, row.n_features)
        if not subtract(asked, measured):
            return TaskResult(lambda session: _plan(session, work, row.id, run.id, asked, [*changed, *warnings_of(run.corpus)]))
    _report(work, KNOWN)
    models = models_of(work.runtime, work.spec)
    subject, dictionary = models.subject, models.dictionary
    _report(work, OPEN)
    asked = wanted_ranges(work.spec, dictionary.n_features)
    missing = subtract(asked, measured)
    chat = open_chat(work.spec.subject) if work.spec.corpus.chat else None
    corpus = tokenize_corpus(work.spec.corpus, subject, _store(work), lambda _tokens: _report(work, OPEN), found, chat)
    _report(work, TOKENISED)
    features = np.concatenate([np.arange(*span, dtype=np.int64) for span in missing])
    threshold = firing_levels.find_threshold(work, models, corpus, lambda _share: _report(work, TOKENISED))
    models = firing_levels.with_threshold(models, threshold)
    levels = firing_levels.find(work, models, corpus, features, lambda share: _report(work, TOKENISED + (1 - TOKENISED) * share))
    at_once = _at_once(work, models, count(missing), levels is not None)
    if levels is not None:
        firing_levels.save(work, levels)
    facts = facts_of(found, corpus, listing) | {firing_levels.FACT: "zero" if levels is None else "quantile"} | threshold

    def write(session: Session) -> dict[str, Any]:
        dictionaries.save_subject(session, subject.digest, subject.name, subject.config, subject.vocabulary)
        dictionary_id = dictionaries.save_dictionary(
            session,
            subject.digest,
            name=dictionary.name,
            digest=dictionary.digest,
            hook_point=subject.hook_point,
            architecture=dictionary.architecture,
            d_in=dictionary.d_in,
            n_features=dictionary.n_features,
            config=dictionary.config,
            polarity=dictionary.polarity,
        )
        run_id = runs.save(session, digest, dictionary_id, identity, facts, len(corpus.tokens))
        warnings = [*changed, *warnings_of(facts), *of_backend(subject.config)]
        return _plan(session, work, dictionary_id, run_id, asked, warnings, missing, corpus, at_once)

    return TaskResult(write)


def _report(work: Work, share: float) -> None:
    work.progress(int(share * work.lease.units))


def collect(work: Work) -> TaskResult:
    """Run a corpus shard through the models, and write partial evidence of some features."""
    spec, corpus = work.spec, _corpus(work)
    start, stop = work.lease.payload["documents"]
    features = np.concatenate([np.arange(*span, dtype=np.int64) for span in work.lease.payload["features"]])
    models = models_of(work.runtime, spec, lambda models: collection_bytes(len(features), models.extent, spec.collection))
    facts = firing_levels.facts_of(work)
    models = firing_levels.with_threshold(models, facts)
    levels = firing_levels.load(work, models, corpus, features, facts)
    part = collection.collect(models.subject, models.dictionary, corpus, (start, stop), spec.collection, spec.seed, features, work.progress, levels)
    partial_file.save(_store(work), _partial(work, Stage.COLLECT, work.lease.number), part)
    return TaskResult(lambda _session: {"tokens": work.lease.units})


def combine(work: Work) -> TaskResult:
    """Merge some partial evidence files into one, without a model, in bounded memory."""
    store, inputs = _store(work), _inputs(work)
    partial_file.combine(store, inputs, _partial(work, Stage.COMBINE, work.lease.number), work.progress)

    def delete_inputs() -> None:
        for name in inputs:
            store.delete(name)

    return TaskResult(lambda _session: {"parts": len(inputs)}, afterwards=delete_inputs)


def merge(work: Work) -> TaskResult:
    """Merge the partial evidence of a range of features, and write the evidence."""
    models, corpus = models_of(work.runtime, work.spec), _corpus(work)
    first, run_id = work.lease.payload["first"], work.run_id
    store, rows = _store(work), (first, first + work.lease.units)
    whole = merge_partials(partial_file.load(store, name, rows) for name in _inputs(work))
    gathered: list[Gathered] = []
    for item in finish(whole, models.subject, models.dictionary, corpus, work.spec.collection):
        gathered.append(Gathered(item.feature, item.statistics, encode_evidence(item)))
        work.progress(len(gathered))

    def write(session: Session) -> dict[str, Any]:
        evidence.save(session, run_id, gathered)
        return {"bytes": sum(len(item.blob) for item in gathered)}

    return TaskResult(write, afterwards=lambda: _delete_partials(work))


def _copied(work: Work, listing: CorpusListing) -> CorpusListing:
    """Return the files with local copies of those that need one."""
    if not any(file.needs_copy for file in listing.files):
        return listing
    cache = _store(work).cache
    clear_old_copies(cache)
    return local_copies(listing, work.spec.corpus, cache, lambda share: _report(work, KNOWN * COPIED * share))


def facts_of(found: CorpusIndex, corpus: TokenizedCorpus, listing: CorpusListing) -> dict[str, Any]:
    """Return the run's corpus facts: the files that were read, and their yield."""
    names = {entry.id: entry.place.name for entry in found.entries}
    largest = {split.name.lower(): {"name": printable(names[document]), "share": share} for split, (document, share) in corpus.largest().items()}
    return {
        "path": found.spec.path,
        "tokens_digest": corpus.digest,
        "documents": {split.name.lower(): int((corpus.splits == split).sum()) for split in Split},
        "largest": largest,
        "duplicates": corpus.duplicates,
        "skipped": corpus.skipped,
        "broken": found.broken,
        "files": listing.summary(),
        "fingerprint": listing.fingerprint,
    }


def warnings_of(facts: dict[str, Any]) -> list[JobWarning]:
    largest = {Split[name.upper()]: Largest(**document) for name, document in facts.get("largest", {}).items()}
    return of_corpus(facts.get("files", {}).get("left_out", {}), facts.get("skipped", 0), facts.get("broken", 0), largest)


def _changed(work: Work, listing: CorpusListing) -> list[JobWarning]:
    """Return a warning for a corpus that changed since submission."""
    seen = work.lease.payload.get("corpus")
    if seen is None or seen == listing.fingerprint:
        return []
    return [
        JobWarning("corpus-changed", "The corpus' files changed between the submission of the job and its start; they were read as they are since.")
    ]


def _plan(
    session: Session,
    work: Work,
    dictionary_id: int,
    run_id: int,
    asked: Sequence[Range],
    warnings: Sequence[JobWarning],
    missing: Sequence[Range] = (),
    corpus: TokenizedCorpus | None = None,
    at_once: int | None = None,
) -> dict[str, Any]:
    """Write the job's chunks (`at_once` features are collected together) and warnings; return prepare's result."""
    settings, job_id = work.runtime.settings, work.lease.job_id
    explain, score = (settings.batch_chunk_features if batched else settings.explain_chunk_features for batched in goes_in_batches(work.spec))
    spans = [] if corpus is None else corpus.shards(work.spec.collection.shard_tokens)
    shards = [] if corpus is None else [Shard(start, stop, int(corpus.offsets[stop] - corpus.offsets[start])) for start, stop in spans]
    sizes = Sizes(settings.merge_chunk_features, explain, score, at_once, settings.merge_fan_in)
    plans = plan(asked, missing, shards, None if corpus is None else corpus.digest, bool(work.spec.scorers), sizes)
    jobs.warn(session, job_id, warnings)
    jobs.attach(session, job_id, dictionary_id, run_id, count(asked))
    chunks.add(session, job_id, work.spec.priority, plans)
    return {"chunks": len(plans), "features_to_collect": count(missing)}


def _at_once(work: Work, models: Models, features: int, is_dense: bool) -> int:
    """Return how many features each gpu worker can collect together, or raise WorkerTooSmallError."""
    settings = work.runtime.settings
    with snapshot(work.runtime.engine) as session:
        least = workers.memory_of(session, Queue.GPU, settings.lease_seconds)
    # The least of all live gpu workers, including this one: any of them may take any chunk.
    memory = min(worker_memory(settings), least or worker_memory(settings))
    at_once = features_at_once(usable(memory) - models.nbytes, replace(models.extent, dense=is_dense), work.spec.collection)
    if at_once * MOST_GROUPS < features:
        raise WorkerTooSmallError(
            f"{features} features of {models.dictionary.name} cannot be collected with {memory / 1e9:.1f} GB of memory.",
            why=f"The models take {models.nbytes / 1e9:.1f} GB of it, and {at_once} features fit beside them: too few for {MOST_GROUPS} groups.",
            cure="Use larger gpu workers (GLOSSATOR_GPU_WORKER_MEMORY_BYTES), or ask for fewer features, contexts or batch_tokens.",
            features=features,
            memory_bytes=memory,
        )
    return at_once


def _corpus(work: Work) -> TokenizedCorpus:
    store, digest = _store(work), work.lease.payload["corpus"]
    corpus = open_corpus(store, digest)
    store.touch(artifact_paths.used(digest))
    return corpus


def _inputs(work: Work) -> list[str]:
    """Return the names of the partial evidence that a chunk reads."""
    return [_partial(work, Stage(stage), number) for stage, number in work.lease.payload["inputs"]]


def _delete_partials(work: Work) -> None:
    """Delete the job's partial evidence once no merge chunk needs it, before maintenance does."""
    with snapshot(work.runtime.engine) as session:
        needed = retention.needs_partials(session, work.lease.job_id)
    if not needed:
        _store(work).delete(artifact_paths.partials(work.lease.job_id))


def _store(work: Work) -> Store:
    return artifact_paths.store_of(work.runtime.settings)


def _partial(work: Work, stage: Stage, number: int) -> str:
    return artifact_paths.partial(work.lease.job_id, stage, number)
