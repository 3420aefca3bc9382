"""Run `health` and `map` chunks: the report, and the map, of a whole dictionary."""

from dataclasses import asdict
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from interp.corpus.tokenized import TokenizedCorpus, open_corpus
from interp.dictionary.module import Dictionary
from interp.health.counts import Counts
from interp.health.layout import layout
from interp.health.observing import load_counts
from interp.health.report import HealthReport, count_firings, report
from interp.store.db.engine import Session
from interp.store.results import feature_maps, health_reports, runs
from interp.subject.loaded import OpenedSubject
from workers import artifact_paths
from workers.runtime import TaskResult, Work
from workers.tasks import firing_levels, random_dictionary
from workers.tasks.collect import delete_partials
from workers.tasks.llm_chunk import ranges_of_chunk
from workers.tasks.model_cache import Models, all_models_of, models_of

# Progress when firings are counted, where collection did not; the rest is mostly the spliced passes.
COUNTED = 0.3


def health(work: Work) -> TaskResult:
    """Measure a dictionary, and write its report."""
    made = asdict(_report(work))

    def write(session: Session) -> dict[str, Any]:
        health_reports.save(session, work.run_id, work.lease.job_id, made)
        return {"tokens": made["activity"]["tokens"]}

    return TaskResult(write, afterwards=lambda: delete_partials(work))


def feature_map(work: Work) -> TaskResult:
    """Lay out the decoder's directions, and write the map of the dictionary.

    It depends on the dictionary and the job's seed alone, so that a retry gives the same.
    """
    models = models_of(work)

    def progress(share: float) -> None:
        work.progress(int(share * work.lease.units))

    made = layout(models.dictionary.to(models.subject.device).W_dec, work.job.seed, progress)

    def write(session: Session) -> dict[str, Any]:
        dictionary = runs.of_ids(session, [work.run_id])[work.run_id][1]
        feature_maps.save(session, dictionary.id, work.lease.job_id, work.job.seed, made.places, asdict(made.quality))
        return {"features": len(made.places)}

    return TaskResult(write)


def _report(work: Work) -> HealthReport:
    settings, store = work.job.health, artifact_paths.store_of(work.runtime.settings)
    if settings is None:
        raise RuntimeError(f"job {work.lease.job_id} asks for no health report")
    corpus = open_corpus(store, work.lease.payload["corpus"])
    store.touch(artifact_paths.used(work.lease.payload["corpus"]))
    features = np.concatenate([np.arange(*span, dtype=np.int64) for span in ranges_of_chunk(work)])
    models = firing_levels.with_threshold(models_of(work), firing_levels.facts_of(work))
    models = random_dictionary.load(work, models, corpus, features)
    counted = _counted(work, models, corpus, features)
    subject, dictionary = cast(OpenedSubject, models.subject), models.dictionary.to(models.subject.device)

    def progress(share: float) -> None:
        work.progress(int((COUNTED + (1 - COUNTED) * share) * work.lease.units))

    return report(subject, dictionary, corpus, work.job.collection, settings, counted, _others(work, dictionary), work.job.seed, progress)


def _others(work: Work, dictionary: Dictionary) -> tuple[Dictionary, ...]:
    """Return the job's other trained dictionaries whose decoders are as wide; none for random directions."""
    trained = [place for place, one in enumerate(work.job.each) if one.dictionary.directions == "trained"]
    places = [place for place in trained if place != work.place] if work.place in trained else []
    every = [models.dictionary for models in all_models_of(work.runtime, work.job, places)] if places else []
    return tuple(other for other in every if other.W_dec.shape[1] == dictionary.W_dec.shape[1])


def _counted(work: Work, models: Models, corpus: TokenizedCorpus, features: NDArray[np.int64]) -> tuple[Counts, Counts]:
    """Return what collection counted, or count on a part of the corpus."""
    numbers, job_id = work.lease.payload["collected"], work.lease.job_id
    if numbers:
        stems = [artifact_paths.firing_counts(job_id, number, work.place) for number in numbers]
        return load_counts(artifact_paths.store_of(work.runtime.settings), stems)
    settings = work.job.health
    assert settings is not None
    levels = firing_levels.load(work, models, corpus, features, firing_levels.facts_of(work))

    def progress(share: float) -> None:
        work.progress(int(COUNTED * share * work.lease.units))

    return count_firings(models.subject, models.dictionary, corpus, work.job.collection, settings, features, levels, work.job.seed, progress)
