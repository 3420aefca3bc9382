"""Draw an estimate's features, with stored evidence of the job's identity or synthetic evidence."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Base64Bytes

from api.jobs.synthetic_evidence import synthetic_evidence, vocabulary_in
from interp.domain.evidence import FeatureEvidence
from interp.domain.spec import JobSpec
from interp.domain.vocabulary import Vocabulary
from interp.files.evidence_codec import decode_evidence
from interp.planning.plan import Range, count
from interp.planning.preflight import DictionaryFacts, Preflight
from interp.store.db.engine import Engine, Session, snapshot
from interp.store.listings.feature_detail import vocabulary_blob
from interp.store.results import evidence, runs

MAX_FEATURES = 24
# The fewest of a dictionary, where a job has many: each borrows labels from others.
MIN_FEATURES = 4


@dataclass(frozen=True, slots=True)
class Sample:
    """Some features with their evidence."""

    vocabulary: Vocabulary
    features: tuple[FeatureEvidence, ...]


@dataclass(frozen=True, slots=True)
class Drawn:
    """The features of a sample, with their stored evidence, if any, not yet decoded.

    `counted` is the number of features that they represent: the requested ones without the known dead ones.
    """

    basis: Literal["evidence", "settings"]
    features: tuple[int, ...]
    counted: int
    asked: int
    vocabulary: Base64Bytes | None = None
    evidence: tuple[Base64Bytes, ...] = ()

    def sample(self, spec: JobSpec) -> Sample:
        """Return the features with evidence; synthetic evidence needs the subject's tokenizer."""
        if self.vocabulary is not None:
            return Sample(Vocabulary.from_bytes(self.vocabulary), tuple(map(decode_evidence, self.evidence)))
        vocabulary = vocabulary_in(spec)
        return Sample(vocabulary, tuple(synthetic_evidence(spec.collection, vocabulary, feature, spec.seed) for feature in self.features))


def draw(spec: JobSpec, facts: Preflight, engine: Engine, most: int = MAX_FEATURES) -> tuple[Drawn, ...]:
    """Return up to `most` of the requested features by dictionary, the same ones every time."""
    each = max(MIN_FEATURES, most // len(facts.dictionaries))
    with snapshot(engine) as session:
        return tuple(_drawn(session, spec, of, facts.fingerprint, each) for of in facts.dictionaries)


def _drawn(session: Session, spec: JobSpec, facts: DictionaryFacts, fingerprint: str | None, most: int) -> Drawn:
    asked = list(facts.wanted)
    found = _collected(session, spec, facts, fingerprint, asked, most)
    if found is not None:
        return found
    total = count(asked)
    chosen = _some([feature for start, stop in asked for feature in range(start, stop)], spec.seed, most)
    return Drawn("settings", tuple(chosen), total, total)


def _collected(session: Session, spec: JobSpec, facts: DictionaryFacts, fingerprint: str | None, asked: Sequence[Range], most: int) -> Drawn | None:
    """Return a sample of stored evidence of the same identity; None if nothing was collected.

    Features that were not collected are assumed dead as often as the others.
    """
    digest = facts.evidence_id or runs.digest_of_fingerprint(session, facts.identity, fingerprint)
    known = None if digest is None else runs.find(session, digest)
    wanted = {feature for start, stop in asked for feature in range(start, stop)}
    collected = sorted(wanted & set(evidence.features_with(session, known[0].id))) if known else []
    if known is None or not collected:
        return None
    run_id = known[0].id
    states = evidence.states(session, run_id, asked)
    alive = [feature for feature in collected if states.get(feature) != "dead"]
    chosen = _some(alive, spec.seed, most)
    blobs = evidence.load(session, run_id, [(feature, feature + 1) for feature in chosen])
    counted = round(len(alive) * len(wanted) / len(collected))
    return Drawn("evidence", tuple(blobs), counted, len(wanted), vocabulary_blob(session, known[1].subject_id), tuple(blobs.values()))


def _some(features: Sequence[int], seed: int, most: int) -> list[int]:
    if len(features) <= most:
        return list(features)
    return sorted(np.random.default_rng(seed).choice(np.asarray(features), most, replace=False).tolist())
