"""Run prepare chunks: find missing evidence, and plan the job."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from interp.collect.memory import MOST_GROUPS, fewest_groups, gpu_batch_tokens
from interp.corpus.corpus_files import CorpusListing
from interp.corpus.documents import CorpusIndex, index
from interp.corpus.listing import list_files
from interp.corpus.local_copies import clear_old_copies, local_copies
from interp.corpus.tokenized import TokenizedCorpus, tokenize_corpus
from interp.dictionary.formats import header_of
from interp.domain.errors import WorkerTooSmallError, printable
from interp.domain.evidence import Split
from interp.domain.job_warnings import JobWarning, Largest, of_backend, of_corpus
from interp.domain.lifecycle import Queue
from interp.domain.spec import CollectionSpec
from interp.health.observing import observed_bytes
from interp.health.token_classes import token_classes
from interp.planning.fetching import fetch
from interp.planning.fingerprint import evidence_id
from interp.planning.plan import AskedFeatures, Range, Shard, Sizes, count, plan, ranges_of, subtract
from interp.planning.preflight import wanted_ranges
from interp.planning.settings_digest import goes_in_batches, stages_of, trials_of
from interp.store.db.engine import Session, snapshot
from interp.store.queue import chunks, jobs, workers
from interp.store.results import dictionaries, evidence, feature_maps, runs
from interp.subject.text.chat import open_chat
from workers import artifact_paths
from workers.runtime import TaskResult, Work
from workers.tasks import firing_levels, random_dictionary
from workers.tasks.model_cache import Models, all_models_of, usable, worker_memory

# Progress of prepare when the dictionaries are fetched, files elsewhere are copied, the texts known, the models open and the corpus tokenised; the
# rest is calibration.
FETCHED, COPIED, KNOWN, OPEN, TOKENISED = 0.04, 0.08, 0.1, 0.2, 0.4


def prepare(work: Work) -> TaskResult:
    """Find missing evidence and plan the job; open models and tokenise only where needed.

    The corpus is read once to hash its texts, and once more to tokenise them.
    """
    # At once, unless another machine fetched it for the check.
    fetch(work.job, _reporting(work, 0, FETCHED))
    listing = list_files(work.spec.corpus)
    found = index(work.spec.corpus, _copied(work, listing), _reporting(work, COPIED, KNOWN))
    stored = _stored(work, found)
    changed = _changed(work, listing)
    complete = [(one.run, one.features) for one in stored if one.run is not None and not one.features.missing]
    if work.job.health is None and len(complete) == len(stored):
        warnings = [warning for one in stored for warning in one.warnings]
        return TaskResult(lambda session: _plan(session, work, complete, [*changed, *warnings]))
    _report(work, KNOWN)
    return _prepared(work, stored, found, listing, changed)


@dataclass(frozen=True, slots=True)
class StoredRun:
    """What the database has of one of the job's dictionaries.

    `run` is the id of its dictionary and its own, None for a new one; then all `features` are missing.
    """

    digest: str
    identity: dict[str, Any]
    run: tuple[int, int] | None
    features: AskedFeatures
    warnings: tuple[JobWarning, ...] = ()


def _stored(work: Work, found: CorpusIndex) -> list[StoredRun]:
    """Return the stored run of each dictionary, with the features that lack evidence."""
    each = []
    for spec in work.job.each:
        digest, identity = evidence_id(spec, found, library=True)
        with snapshot(work.runtime.engine) as session:
            known = runs.find(session, digest)
            measured = ranges_of(evidence.features_with(session, known[0].id)) if known else []
        n_features = header_of(spec.dictionary).n_features
        asked = wanted_ranges(spec, n_features)
        ids, warnings = ((known[1].id, known[0].id), warnings_of(known[0].corpus)) if known else (None, [])
        each.append(StoredRun(digest, identity, ids, AskedFeatures(asked, subtract(asked, measured), spec.maps(n_features)), tuple(warnings)))
    return each


def _prepared(work: Work, stored: Sequence[StoredRun], found: CorpusIndex, listing: CorpusListing, changed: Sequence[JobWarning]) -> TaskResult:
    """Open the models, tokenise the corpus, and find levels; the result writes runs and plan."""
    places = [place for place, one in enumerate(stored) if one.run is None or one.features.missing]
    # A health report reads the corpus even where all evidence is there.
    every = all_models_of(work.runtime, work.job, places or [0])
    subject = every[0].subject
    if work.job.health is not None:
        # What is wrong with the user's list is told before anything is collected or paid for.
        token_classes(subject.vocabulary, work.job.health.token_class)
    _report(work, OPEN)
    chat = open_chat(work.spec.subject) if work.spec.corpus.chat else None
    corpus = tokenize_corpus(
        work.spec.corpus, subject, artifact_paths.store_of(work.runtime.settings), lambda _tokens: _report(work, OPEN), found, chat
    )
    _report(work, TOKENISED)
    calibrated = {
        place: _calibrated(work.of(place), models, corpus, stored[place].features.missing, _part(work, number, len(places)))
        for number, (place, models) in enumerate(zip(places, every, strict=False))
    }
    groups = _groups(work, list(calibrated.values())) if calibrated else (1, None, False)
    facts = facts_of(found, corpus, listing)

    def write(session: Session) -> dict[str, Any]:
        dictionaries.save_subject(session, subject.digest, subject.name, subject.config, subject.vocabulary)
        ids = {place: one.run for place, one in enumerate(stored) if one.run is not None}
        # In one order: jobs that write the same dictionaries must not wait for each other.
        for place, new in sorted(calibrated.items(), key=lambda pair: (pair[1].models.dictionary.digest, pair[1].models.subject.hook_point)):
            ids[place] = _save(session, new, stored[place], facts, corpus)
        attached = [(ids[place], one.features) for place, one in enumerate(stored)]
        warnings = [*changed, *warnings_of(facts), *of_backend(subject.config)]
        return _plan(session, work, attached, warnings, corpus, groups)

    return TaskResult(write)


@dataclass(frozen=True, slots=True)
class Calibrated:
    """Models of one dictionary, its BatchTopK threshold found, and its run's own facts.

    `missing` features are to be collected.
    """

    models: Models
    missing: int
    is_dense: bool
    facts: dict[str, Any]


def _calibrated(work: Work, models: Models, corpus: TokenizedCorpus, missing: Sequence[Range], progress: Callable[[float], None]) -> Calibrated:
    features = np.concatenate([np.arange(*span, dtype=np.int64) for span in missing])
    threshold = firing_levels.find_threshold(work, models, corpus, lambda _share: progress(0))
    models = firing_levels.with_threshold(models, threshold)
    if work.spec.dictionary.directions == "random":
        biases = random_dictionary.find(work, models, corpus, features, lambda _share: progress(0))
        random_dictionary.save(work, biases)
        models = random_dictionary.with_biases(models, biases)
    levels = firing_levels.find(work, models, corpus, features, progress)
    if levels is not None:
        firing_levels.save(work, levels)
    facts = {firing_levels.FACT: "zero" if levels is None else "quantile"} | threshold
    return Calibrated(models, count(missing), levels is not None, facts)


def _save(session: Session, new: Calibrated, stored: StoredRun, facts: dict[str, Any], corpus: TokenizedCorpus) -> tuple[int, int]:
    """Write a dictionary and its run; return their ids."""
    subject, dictionary = new.models.subject, new.models.dictionary
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
    return dictionary_id, runs.save(session, stored.digest, dictionary_id, stored.identity, facts | new.facts, len(corpus.tokens))


def _part(work: Work, place: int, number: int) -> Callable[[float], None]:
    """Return what reports the progress of one dictionary's calibration."""
    part = (1 - TOKENISED) / number
    return _reporting(work, TOKENISED + part * place, TOKENISED + part * (place + 1))


def _report(work: Work, share: float) -> None:
    work.progress(int(share * work.lease.units))


def _reporting(work: Work, start: float, stop: float) -> Callable[[float], None]:
    """Return what reports the progress of a step between two shares of the whole."""
    return lambda share: _report(work, start + (stop - start) * share)


def _copied(work: Work, listing: CorpusListing) -> CorpusListing:
    """Return the files with local copies of those that need one."""
    if not any(file.needs_copy for file in listing.files):
        return listing
    cache = artifact_paths.store_of(work.runtime.settings).cache
    clear_old_copies(cache)
    return local_copies(listing, work.spec.corpus, cache, _reporting(work, FETCHED, COPIED))


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
    found: Sequence[tuple[tuple[int, int], AskedFeatures]],
    warnings: Sequence[JobWarning],
    corpus: TokenizedCorpus | None = None,
    groups: tuple[int, int | None, bool] = (1, None, True),
) -> dict[str, Any]:
    """Write the job's chunks and warnings; return prepare's result.

    `found` has each dictionary's id and run, and its features. `groups` is what `_groups` returns.
    """
    settings, job_id = work.runtime.settings, work.lease.job_id
    explain, score = (settings.batch_chunk_features if batched else settings.explain_chunk_features for batched in goes_in_batches(work.spec))
    spans = [] if corpus is None else corpus.shards(work.spec.collection.shard_tokens)
    shards = [] if corpus is None else [Shard(start, stop, int(corpus.offsets[stop] - corpus.offsets[start])) for start, stop in spans]
    sizes = Sizes(settings.merge_chunk_features, explain, score, *groups, settings.merge_fan_in)
    mapped = feature_maps.mapped(session, {dictionary for (dictionary, _), _ in found})
    features = [replace(asked, is_mapped=asked.is_mapped and (work.job.map is True or ids[0] not in mapped)) for ids, asked in found]
    plans = plan(features, shards, None if corpus is None else corpus.digest, stages_of(work.job), sizes, trials_of(work.job))
    jobs.warn(session, job_id, warnings)
    jobs.attach(session, job_id, [ids for ids, _ in found], sum(count(of.asked) for of in features))
    chunks.add(session, job_id, work.spec.priority, plans)
    return {"chunks": len(plans), "features_to_collect": sum(count(of.missing) for of in features)}


def _groups(work: Work, calibrated: Sequence[Calibrated]) -> tuple[int, int, bool]:
    """Return number of groups, tokens a batch, and whether the pass counts for health.

    Each gpu worker can hold a group. A pass counts where that does not cut the features: the report can count by itself. Raises WorkerTooSmallError.
    """
    settings, spec = work.runtime.settings, work.job.collection
    with snapshot(work.runtime.engine) as session:
        least = workers.memory_of(session, Queue.GPU, settings.lease_seconds)
    # The least of all live gpu workers, including this one: any of them may take any chunk.
    memory = min(worker_memory(settings), least or worker_memory(settings))
    subject = calibrated[0].models.subject
    opened = subject.nbytes + sum(one.models.dictionary.nbytes for one in calibrated)
    parts = [(one.missing, replace(one.models.extent, dense=one.is_dense)) for one in calibrated]

    def cut_features(counts: bool) -> tuple[int | None, int]:
        def room(spec: CollectionSpec) -> int:
            counted = sum(observed_bytes(missing, spec) for missing, _ in parts) if counts else 0
            return usable(memory) - opened - counted

        batched = spec
        if spec.batch_tokens == "auto" and subject.device.type != "cpu":
            batched = spec.in_batches_of(gpu_batch_tokens(room, parts, spec))
        return fewest_groups(room(batched), parts, batched), batched.tokens_at_once

    if work.job.health is not None:
        found, tokens = cut_features(counts=True)
        if found == 1:
            return found, tokens, True
    found, tokens = cut_features(counts=False)
    if found is None:
        names, total = ", ".join(one.models.dictionary.name for one in calibrated), sum(one.missing for one in calibrated)
        raise WorkerTooSmallError(
            f"{total} features of {names} cannot be collected with {memory / 1e9:.1f} GB of memory.",
            why=f"The models take {opened / 1e9:.1f} GB of it, and less than a {MOST_GROUPS}th of the features fits beside them.",
            cure="Use larger gpu workers (GLOSSATOR_GPU_WORKER_MEMORY_BYTES), or ask for fewer dictionaries, features, contexts or batch_tokens.",
            features=total,
            memory_bytes=memory,
        )
    return found, tokens, False
