"""Run the probe and try tasks: the subject on texts and with directions added."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from interp.collect.measure.effects import Effect, effects_of, prompts_of
from interp.collect.texts import CollectedTexts, activations_of_texts
from interp.corpus.tokenized import open_corpus
from interp.domain.evidence import HISTOGRAM_EDGES, FeatureEvidence, Split
from interp.domain.explanation import ExplanationFamily
from interp.explain import registry as explainers
from interp.explain.proposal import Proposal, Reading, TriedRound
from interp.files.evidence_codec import decode_evidence
from interp.judge.writing import KINDS, WrittenTexts
from interp.planning.plan import Range, ranges_of
from interp.planning.settings_digest import PlannedScorer, baseline_family, measured_by
from interp.store.db.engine import Session, snapshot
from interp.store.results import evidence, explanations, measurements
from interp.subject.loaded import OpenedSubject
from workers import artifact_paths
from workers.runtime import TaskResult, Work
from workers.tasks import firing_levels, nulls, random_dictionary
from workers.tasks.llm_chunk import ranges_of_chunk
from workers.tasks.measurements import (
    CHANGES,
    CHANGES_DIGEST,
    EFFECT,
    READ,
    TRIED,
    WRITTEN,
    Measured,
    changes_content,
    changes_of,
    effect_content,
    families_of,
    proposals_of,
    read_content,
    save_rounds,
    steering_of,
    trying_of,
    writers_of,
    written_of,
)
from workers.tasks.model_cache import Models, models_of

# Features whose texts, and those of their nulls, are in memory and in a pass at once.
FEATURES_AT_ONCE = 64
Texts = Mapping[int, WrittenTexts]


def probe(work: Work) -> TaskResult:
    """Measure with the subject what the job's scorers need of the chunk's features.

    That is what the dictionary does on the texts of their labels and of their nulls, and what adding their directions does to predictions.
    The texts of many features are in one pass. A text that several features read is run once for all of them.
    """
    writers, steering = writers_of(work), steering_of(work)
    with snapshot(work.runtime.engine) as session:
        blobs = evidence.load(session, work.run_id, ranges_of_chunk(work))
    decoded = {feature: decode_evidence(blob) for feature, blob in blobs.items()}
    features = sorted(decoded)
    made: list[tuple[str, str, dict[int, dict[str, Any]]]] = []
    if features:
        models = models_for(work, np.array(features, dtype=np.int64))
        for planned, family in ((planned, family) for planned, _ in writers for family in families_of(work)):
            for start in range(0, len(features), FEATURES_AT_ONCE):
                some = {feature: decoded[feature] for feature in features[start : start + FEATURES_AT_ONCE]}
                made.append((READ, measured_by(planned, family), _read(work, models, planned, family, some)))
        if steering:
            alive = [feature for feature in features if not decoded[feature].statistics.is_dead]
            effects = _effects(work, models, alive)
            made += [(EFFECT, measured_by(planned), effects) for planned in steering]

    def write(session: Session) -> dict[str, Any]:
        for name, digest, found in made:
            measurements.save(session, work.run_id, name, digest, found)
        return {"read": sum(len(found) for *_, found in made)}

    return TaskResult(write)


def try_texts(work: Work) -> TaskResult:
    """Run the texts of the chunk's features of one round through the subject.

    In the first round it is also measured what adding the features does to predictions, where an explainer reads that.
    """
    turn, ranges = int(work.lease.payload["round"]), ranges_of_chunk(work)
    with snapshot(work.runtime.engine) as session:
        proposed = [(family, proposals_of(session, family, turn, ranges)) for family, _ in trying_of(work, turn)]
        explained = {family: explanations.features_with(session, family, ranges) for family, _ in proposed}
        levels = {feature: decode_evidence(blob).statistics.firing_level for feature, blob in evidence.load(session, work.run_id, ranges).items()}
    parts = [
        (family, {feature: one for feature, one in proposals.items() if feature in levels and feature not in explained[family]})
        for family, proposals in proposed
    ]
    features = sorted({feature for _, proposals in parts for feature, one in proposals.items() if one.texts})
    models = models_for(work, np.array(features, dtype=np.int64)) if features else None
    made = [(family, _tried(work, models, proposals, levels)) for family, proposals in parts]
    changes = _changes(work, ranges) if turn == 1 and any(map(explainers.needs_changes, work.spec.explainers)) else {}

    def write(session: Session) -> dict[str, Any]:
        for family, rounds in made:
            save_rounds(session, family, TRIED, turn, rounds)
        measurements.save(session, work.run_id, CHANGES, CHANGES_DIGEST, changes)
        return {"tried": sum(len(rounds) for _, rounds in made), "measured": len(changes)}

    return TaskResult(write)


def _changes(work: Work, ranges: Sequence[Range]) -> dict[int, dict[str, Any]]:
    """Return what adding features does to predictions, where unknown, as JSON.

    The prompts are explain documents: the scorer `output` tests on those of the test split.
    """
    with snapshot(work.runtime.engine) as session:
        known = changes_of(session, work.run_id, ranges)
        blobs = evidence.load(session, work.run_id, ranges)
    features = [feature for feature in sorted(blobs.keys() - known.keys()) if not decode_evidence(blobs[feature]).statistics.is_dead]
    if not features:
        return {}
    models = models_for(work, np.array(features, dtype=np.int64))
    found = _measured(work, models, features, Split.EXPLAIN)
    return {feature: changes_content(effect, models.subject.vocabulary) for feature, effect in zip(features, found, strict=True)}


def _tried(work: Work, models: Models | None, proposals: Mapping[int, Proposal], levels: Mapping[int, float]) -> dict[int, TriedRound]:
    """Return the rounds of features with what each did on its own texts."""
    made = {feature: TriedRound(proposal, (), levels[feature]) for feature, proposal in proposals.items()}
    wanted = sorted(feature for feature, proposal in proposals.items() if proposal.texts)
    if models is None:
        return made
    for start in range(0, len(wanted), FEATURES_AT_ONCE):
        some = wanted[start : start + FEATURES_AT_ONCE]
        texts = list(dict.fromkeys(one.text for feature in some for one in proposals[feature].texts))
        place = {text: number for number, text in enumerate(texts)}
        of, at = np.array(some, dtype=np.int64), np.array([levels[feature] for feature in some], dtype=np.float32)
        found = activations_of_texts(models.subject, models.dictionary, texts, of, work.job.collection, at, lambda _share: work.progress(0))
        for row, feature in enumerate(some):
            readings = tuple(_tried_text(models, found, row, place[one.text]) for one in proposals[feature].texts)
            made[feature] = replace(made[feature], readings=readings)
    return made


def _tried_text(models: Models, found: CollectedTexts, row: int, text: int) -> Reading:
    tokens = found.tokens[found.offsets[text] : found.offsets[text + 1]].tolist()
    return Reading.of(models.subject.vocabulary.texts(tokens), found.of(text)[row].astype(np.float32))


def _effects(work: Work, models: Models, features: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Return what features do to predictions on the corpus' prompts, as JSON."""
    found = _measured(work, models, features, Split.TEST)
    return {feature: effect_content(effect, models.subject.vocabulary) for feature, effect in zip(features, found, strict=True)}


def _measured(work: Work, models: Models, features: Sequence[int], split: Split) -> list[Effect]:
    """Return what features do to predictions at beginnings of a split's documents."""
    corpus = open_corpus(artifact_paths.store_of(work.runtime.settings), str(firing_levels.facts_of(work)["tokens_digest"]))
    subject = cast(OpenedSubject, models.subject)
    prompts = prompts_of(corpus, subject.bos if models.dictionary.positions.prepend_bos else None, split=split)
    return effects_of(subject, models.dictionary, np.array(features, dtype=np.int64), prompts, lambda _done: work.progress(0))


def models_for(work: Work, features: NDArray[np.int64]) -> Models:
    """Return the work's models as its run collected with them: thresholds and biases included."""
    facts = firing_levels.facts_of(work)
    models = firing_levels.with_threshold(models_of(work), facts)
    if work.spec.dictionary.directions == "trained":
        return models
    corpus = open_corpus(artifact_paths.store_of(work.runtime.settings), str(facts["tokens_digest"]))
    return random_dictionary.load(work, models, corpus, features)


def _read(work: Work, models: Models, planned: PlannedScorer, family: ExplanationFamily, some: Mapping[int, FeatureEvidence]) -> dict[int, Any]:
    """Return what features do on their own, their nulls' and the baseline's texts, as JSON."""
    of = _texts(work, planned, family, some)
    texts = of.distinct()
    place = {text: number for number, text in enumerate(texts)}
    features = np.array(sorted(some), dtype=np.int64)
    levels = np.array([some[feature].statistics.firing_level for feature in features.tolist()], dtype=np.float32)
    subject, spec = models.subject, work.job.collection
    found = activations_of_texts(subject, models.dictionary, texts, features, spec, levels, lambda _share: work.progress(0))
    maxima = found.maxima()

    def numbers(row: int, those: Sequence[str]) -> list[float]:
        return [float(maxima[row, place[text]]) for text in those]

    made = {}
    for row, feature in enumerate(features.tolist()):
        if feature in of.own:
            mine, beside = of.own[feature], of.baseline.get(feature, WrittenTexts())
            of_own = {"fires": numbers(row, mine.fires), "near": numbers(row, mine.near), "baseline": numbers(row, beside.fires)}
            others = {other: numbers(row, of.borrowed[other].fires) for other in of.borrowing[feature] if other in of.borrowed}
            readings = [_reading(models, found, row, place[text], kind) for kind in KINDS for text in getattr(mine, kind)]
            made[feature] = read_content(median_level(some[feature]), some[feature].statistics.firing_level, mine, of_own, others, readings)
    return made


@dataclass(frozen=True)
class TextsToRead:
    """Texts of the own labels, of nulls and of the baseline, by feature.

    `borrowing` are each feature's nulls.
    """

    own: Mapping[int, WrittenTexts]
    borrowed: Mapping[int, WrittenTexts]
    baseline: Mapping[int, WrittenTexts]
    borrowing: Mapping[int, tuple[int, ...]]

    def distinct(self) -> list[str]:
        """Return each text once."""
        own = [text for one in (*self.own.values(), *self.baseline.values()) for text in (*one.fires, *one.near)]
        return list(dict.fromkeys([*own, *(text for one in self.borrowed.values() for text in one.fires)]))


def _texts(work: Work, planned: PlannedScorer, family: ExplanationFamily, some: Mapping[int, FeatureEvidence]) -> TextsToRead:
    baseline, digest = baseline_family(work.spec, work.run_id), measured_by(planned, family)
    # Only features of a job have texts: most that the explainer labelled in other jobs have none.
    with snapshot(work.runtime.engine) as session:
        own = _written(session, work, digest, some)
        beside = {} if baseline is None else _written(session, work, measured_by(planned, baseline), some)
    borrowing = nulls.nulls_of(work, family, planned.nulls, {feature: some[feature] for feature in own}, Measured(WRITTEN, digest))
    with snapshot(work.runtime.engine) as session:
        borrowed = _written(session, work, digest, set().union(*borrowing.values()))
    return TextsToRead(own, borrowed, beside, borrowing)


def _written(session: Session, work: Work, digest: str, features: Iterable[int]) -> dict[int, WrittenTexts]:
    found = measurements.load(session, work.run_id, WRITTEN, digest, ranges_of(sorted(features)))
    return {feature: written_of(content) for feature, content in found.items()}


def median_level(of: FeatureEvidence) -> float | None:
    """Return the lower edge of the histogram's bin that holds the median of firing activations.

    None for a feature that never fires. Below the first edge it is 0: a feature reaches it wherever it fires.
    """
    total = int(of.histogram.sum())
    if total == 0:
        return None
    middle = int(np.searchsorted(np.cumsum(of.histogram), total / 2, side="left"))
    return float(HISTOGRAM_EDGES[middle]) if middle else 0.0


def _reading(models: Models, found: CollectedTexts, row: int, text: int, kind: str) -> dict[str, Any]:
    """Return a text's tokens with the feature's activations at them."""
    tokens = found.tokens[found.offsets[text] : found.offsets[text + 1]].tolist()
    return {"kind": kind, "tokens": models.subject.vocabulary.texts(tokens), "activations": [round(float(one), 4) for one in found.of(text)[row]]}
