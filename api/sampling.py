"""Features to make an estimate from: real evidence where there is some with the job's identity, else what it will probably look like."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from api.supposed import supposed, vocabulary_in
from interp.codec import decode_evidence
from interp.evidence import FeatureEvidence
from interp.planning import Range, count
from interp.preflight import Preflight
from interp.spec import JobSpec
from interp.store import evidence, runs
from interp.store.engine import snapshot
from interp.vocabulary import Vocabulary

MOST = 24


@dataclass(frozen=True, slots=True)
class Sample:
    """Some features with their evidence. `counted` is how many features they stand for: those asked for without the dead, where these are known."""

    basis: Literal["evidence", "settings"]
    vocabulary: Vocabulary
    features: tuple[FeatureEvidence, ...]
    counted: int
    asked: int


def draw(spec: JobSpec, facts: Preflight, engine: Engine, most: int = MOST) -> Sample:
    """Up to `most` of the features asked for, the same ones every time."""
    asked = list(facts.wanted)
    with snapshot(engine) as session:
        found = _collected(session, spec, facts, asked, most)
    if found is not None:
        return found
    vocabulary, total = vocabulary_in(spec), count(asked)
    chosen = _some([feature for start, stop in asked for feature in range(start, stop)], spec.seed, most)
    return Sample("settings", vocabulary, tuple(supposed(spec.collection, vocabulary, feature, spec.seed) for feature in chosen), total, total)


def _collected(session: Session, spec: JobSpec, facts: Preflight, asked: Sequence[Range], most: int) -> Sample | None:
    """From evidence of the same identity, for as many of the features as there are; None where nothing was collected.

    Features that were not collected yet are taken to be dead as often as the others.
    """
    digest = facts.evidence_id or runs.digest_of_fingerprint(session, facts.identity, facts.fingerprint)
    known = None if digest is None else runs.find(session, digest)
    wanted = {feature for start, stop in asked for feature in range(start, stop)}
    there = sorted(wanted & set(evidence.features_with(session, known[0].id))) if known else []
    if known is None or not there:
        return None
    run_id = known[0].id
    states = evidence.states(session, run_id, asked)
    alive = [feature for feature in there if states.get(feature) != "dead"]
    chosen = _some(alive, spec.seed, most)
    blobs = evidence.load(session, run_id, [(feature, feature + 1) for feature in chosen])
    counted = round(len(alive) * len(wanted) / len(there))
    vocabulary = runs.vocabulary_of(session, run_id)
    return Sample("evidence", vocabulary, tuple(decode_evidence(blob) for blob in blobs.values()), counted, len(wanted))


def _some(features: Sequence[int], seed: int, most: int) -> list[int]:
    if len(features) <= most:
        return list(features)
    return sorted(np.random.default_rng(seed).choice(np.asarray(features), most, replace=False).tolist())
