"""Measure how often an explanation of another feature is called better than its null.

    python -m benches.swaps --features 300 --json

On the newest complete job of the local database (that of `make demo`), each sampled feature is scored with the explanation of another feature,
drawn as its nulls are, and compared with the other ones drawn. A calibrated p value is at most 0.05 for 5% of such swaps. The same features with
their own explanations are reported beside it.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Engine, select

from interp.config.settings import settings
from interp.domain.evidence import FeatureEvidence
from interp.domain.explanation import Explanation
from interp.domain.lifecycle import JobStatus
from interp.domain.spec import JobSpec, ScorerSpec
from interp.domain.vocabulary import Vocabulary
from interp.files.evidence_codec import decode_evidence
from interp.planning.plan import ranges_of
from interp.planning.settings_digest import family_of
from interp.score import registry
from interp.score.base import ScorerInput
from interp.score.items.nulls import choose_nulls
from interp.stats.multiplicity import benjamini_hochberg
from interp.store.db.engine import make_engine, snapshot
from interp.store.db.tables import JobRow
from interp.store.results import evidence, explanations, runs

NULLS = 20
LEVELS = (0.05, 0.01, 0.001)


@dataclass(frozen=True)
class Book:
    """What the swaps are made of: all explanations with a text, and the evidence of the sampled features."""

    vocabulary: Vocabulary
    explanations: dict[int, Explanation]
    densities: dict[int, float]
    sample: dict[int, FeatureEvidence]
    seed: int


def read(engine: Engine, count: int, seed: int) -> Book:
    with snapshot(engine) as session:
        job = session.scalars(select(JobRow).where(JobRow.status == JobStatus.COMPLETED).order_by(JobRow.created_at.desc()).limit(1)).one()
        spec, run_id = JobSpec.model_validate(job.spec), int(job.run_id or 0)
        family = family_of(spec, spec.explainers[0], run_id)
        pool = explanations.candidates(session, family, job.id)
        if not pool:
            raise SystemExit(f"Job {job.id} has no explanations by this version of {family.explainer!r}: run the job again, then this.")
        drawn = np.random.default_rng(seed).permutation([item.feature for item in pool])[:count]
        chosen = ranges_of(sorted(int(feature) for feature in drawn))
        everything = explanations.load(session, family, ranges_of(sorted(item.feature for item in pool)))
        blobs = evidence.load(session, run_id, chosen)
        return Book(
            vocabulary=runs.vocabulary_of(session, run_id),
            explanations={feature: found for feature, (_, found) in everything.items() if found.text is not None},
            densities={item.feature: item.density for item in pool},
            sample={feature: decode_evidence(blob) for feature, blob in blobs.items()},
            seed=seed,
        )


def inputs(book: Book) -> Iterator[tuple[ScorerInput, ScorerInput]]:
    """For each sampled feature what a scorer sees with its own explanation, and with a swapped one; the same nulls for both."""
    features = sorted(book.explanations)
    densities = np.array([book.densities[feature] for feature in features])
    lengths = np.array([len(book.explanations[feature].text or "") for feature in features])
    others = dict(zip(features, choose_nulls(features, densities, lengths, NULLS + 1, book.seed), strict=True))
    for feature, found in book.sample.items():
        borrowed = [book.explanations[other] for other in others[feature]]
        swapped = borrowed.pop(np.random.default_rng((book.seed, feature)).integers(len(borrowed)))
        yield ScorerInput.of(found, book.explanations[feature], borrowed), ScorerInput.of(found, swapped, borrowed)


def measure(book: Book) -> Iterator[dict[str, Any]]:
    own, swapped = zip(*inputs(book), strict=True)
    for name in ("detection", "simulation"):
        scorer = registry.get(ScorerSpec(name=name, nulls=NULLS))
        for kind, items in (("own", own), ("swapped", swapped)):
            scores = scorer.score(items, book.vocabulary, book.seed)
            p = np.array([score.null.p_value for score in scores if score.null is not None and score.null.p_value is not None])
            shares = {f"p_at_most_{level}": round(float((p <= level).mean()), 4) for level in LEVELS}
            q = benjamini_hochberg(p)
            yield (
                {"bench": "swaps", "scorer": name, "explanations": kind, "tested": len(p)}
                | shares
                | {"q_at_most_0.05": round(float((q <= 0.05).mean()), 4)}
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    for line in measure(read(make_engine(settings().database_url), options.features, options.seed)):
        print(json.dumps(line) if options.json else "  ".join(f"{name} {value}" for name, value in line.items()), flush=True)


if __name__ == "__main__":
    main()
