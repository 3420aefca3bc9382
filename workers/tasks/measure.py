"""Run `measure` chunks: figures of a dictionary on a sample, and its faults."""

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any, cast

from interp.collect.levels import batch_top_k_threshold
from interp.collect.measure.diagnosis import diagnose, of_figures, of_metadata
from interp.collect.measure.figures import measure as measured
from interp.collect.measure.sample import draw
from interp.corpus.documents import index
from interp.corpus.listing import list_files
from interp.corpus.local_copies import local_copies
from interp.corpus.tokenized import TokenizedCorpus, tokenize_corpus
from interp.dictionary.canonical import DictionaryHeader
from interp.dictionary.formats import header_of
from interp.dictionary.module import Dictionary
from interp.domain.check_report import CheckedDictionary, CheckedSubject, CheckReport
from interp.domain.errors import DictionaryError
from interp.domain.spec import DictionarySpec
from interp.planning.fetching import fetch
from interp.store.db.engine import Session
from interp.subject import hooks
from interp.subject.base import Subject
from interp.subject.loaded import OpenedSubject
from workers import artifact_paths
from workers.runtime import TaskResult, Work
from workers.tasks.model_cache import models_of

# Tokens of the sample, and what is read of the corpus for it.
SAMPLE_TOKENS, READ_TOKENS, READ_DOCUMENTS = 16_384, 65_536, 2_000
SHOWN_ALTERNATIVES = 20
# Progress when the dictionary is fetched, the models open, the texts tokenised and the figures known; the rest is diagnosis.
FETCHED, OPEN, TOKENISED, MEASURED = 0.15, 0.2, 0.3, 0.7


def measure(work: Work) -> TaskResult:
    """Measure the dictionary on a sample of the corpus' first documents, and diagnose it."""
    report = asdict(_report(work))

    def write(_session: Session) -> dict[str, Any]:
        return report

    return TaskResult(write)


def _report(work: Work) -> CheckReport:
    def progress(start: float, stop: float, share: float) -> None:
        work.progress(int((start + (stop - start) * share) * work.lease.units))

    # At once, unless another machine fetched it for the check.
    fetch(work.spec, lambda share: progress(0, FETCHED, share))
    models = models_of(work)
    # Both backends are of this class.
    subject, dictionary = cast(OpenedSubject, models.subject), models.dictionary
    progress(0, OPEN, 1)
    corpus = _corpus(work, models.subject, lambda share: progress(OPEN, TOKENISED, share))
    collection = work.spec.collection
    if dictionary.batch_k is not None:
        threshold = batch_top_k_threshold(models.subject, dictionary, corpus, collection, lambda _share: progress(TOKENISED, MEASURED, 0))
        dictionary = dictionary.with_threshold(threshold)
    dictionary = dictionary.to(subject.device)
    positions = dictionary.positions
    sample = draw(subject, corpus, collection, positions, SAMPLE_TOKENS)
    figures = measured(subject, dictionary, sample, lambda share: progress(TOKENISED, MEASURED, share))
    other = replace(positions, prepend_bos=not positions.prepend_bos)
    flipped = None if subject.bos is None else draw(subject, corpus, collection, other, SAMPLE_TOKENS)
    findings, tried = diagnose(subject, dictionary, sample, flipped, lambda share: progress(MEASURED, 1, share))
    header = header_of(work.spec.dictionary)
    return CheckReport(
        dictionary=_of_dictionary(dictionary, header),
        subject=_of_subject(subject),
        rows=len(sample),
        tokens=int(sample.counted.sum()),
        figures=figures,
        findings=(
            *findings,
            *of_figures(figures, subject.name, header.model, bool(findings)),
            *of_metadata(dictionary, _stated_hook_point(work.spec.dictionary), subject.bos),
        ),
        tried=tuple(tried[:SHOWN_ALTERNATIVES]),
    )


def _corpus(work: Work, subject: Subject, progress: Callable[[float], None]) -> TokenizedCorpus:
    """Return the first documents of the corpus as tokens, and read no more."""
    given, store = work.spec.corpus, artifact_paths.store_of(work.runtime.settings)
    limits = {
        "max_tokens": min(given.max_tokens or READ_TOKENS, READ_TOKENS),
        "max_documents": min(given.max_documents or READ_DOCUMENTS, READ_DOCUMENTS),
    }
    texts = given.model_copy(update=limits)
    copies = local_copies(list_files(texts), texts, store.cache, progress)
    return tokenize_corpus(texts, subject, store, lambda _tokens: progress(1), index(texts, copies, progress))


def _stated_hook_point(spec: DictionarySpec) -> str:
    """Return the hook point that the files say themselves, or ""."""
    try:
        return header_of(spec.model_copy(update={"hook_point": None})).hook_point
    except DictionaryError:
        return ""


def _of_dictionary(dictionary: Dictionary, header: DictionaryHeader) -> CheckedDictionary:
    return CheckedDictionary(
        name=dictionary.name,
        format=header.format,
        architecture=dictionary.architecture,
        n_features=dictionary.n_features,
        d_in=dictionary.d_in,
        d_out=dictionary.W_dec.shape[1],
        hook_point=dictionary.hook_point,
        output_point=hooks.JOIN.join(dictionary.output_points),
        activation=dictionary.activation,
        k=dictionary.k,
        input_norm=dictionary.input_norm,
        has_pre_bias=dictionary.pre_bias is not None,
        has_skip=dictionary.W_skip is not None,
        prepend_bos=dictionary.positions.prepend_bos,
        model=header.model,
        context=header.context,
    )


def _of_subject(subject: OpenedSubject) -> CheckedSubject:
    return CheckedSubject(
        name=subject.name,
        architecture=subject.config["architecture"],
        layers=subject.config["layers"],
        vocabulary=subject.config["vocabulary"],
        context=subject.context,
        dtype=subject.config["dtype"],
        backend=subject.config["backend"],
    )
