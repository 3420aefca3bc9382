"""Store labels that were imported, beside those of the product's own explainers."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from interp.domain.digests import digest_of
from interp.domain.explanation import Explanation, ExplanationFamily
from interp.store.db.tables import FeatureRow
from interp.store.results import dictionary_scores, explanations

Label = tuple[int, str, str, str | None]


def save(session: Session, run_id: int, labels: Sequence[Label], digest: str, source: str, reported: Mapping[int, Mapping[str, Any]]) -> int:
    """Write labels (feature, text, method, author) of listed features; return how many.

    Each method and author is a family of its own; of two labels of one feature in a family the first is kept. Features without a label show theirs.
    `reported` are scores that others measured, by feature: they stay beside the label, since nothing here asked their questions.
    """
    known = set(session.scalars(select(FeatureRow.feature).where(FeatureRow.run_id == run_id)))
    written = 0

    def of(label: Label) -> tuple[str, str]:
        return label[2], label[3] or ""

    for (method, author), group in groupby(sorted(labels, key=lambda label: (*of(label), label[0])), of):
        first: dict[int, str] = {}
        for feature, text, *_ in group:
            if feature in known:
                first.setdefault(feature, text)
        family = ExplanationFamily(run_id, method, digest_of({"imported": digest, "method": method, "author": author}))
        provenance = {"author": author or None, "method": method, "source": source, "source_digest": digest}
        scored = {feature: {"reported_scores": dict(reported[feature])} for feature in first if feature in reported}
        made = [Explanation(feature, method, text, provenance=provenance | scored.get(feature, {})) for feature, text in first.items()]
        explanations.save(session, family, made, job_id=None)
        written += len(first)
        dictionary_scores.show_best_of(session, run_id, sorted(first))
    return written
