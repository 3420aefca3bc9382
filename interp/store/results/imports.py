"""Write imported evidence and human labels as completed runs, one per dictionary."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from sqlalchemy import select
from sqlalchemy.orm import Session

from interp.corpus.feature_records import FeatureRecords, HumanLabel, RecordedDictionary
from interp.domain.digests import digest_of
from interp.domain.explanation import Explanation, ExplanationFamily
from interp.files.evidence_codec import encode_evidence
from interp.score.best import unscored
from interp.store.db.tables import DictionaryRow, ExplanationRow, RunRow
from interp.store.results import dictionaries, dictionary_scores, evidence, explanations, runs
from interp.store.results.evidence import Gathered

EXPLAINER = "imported"


@dataclass(frozen=True, slots=True)
class ImportedRun:
    """A written run, by ids and address, with its features that have contexts."""

    id: int
    dictionary_id: int
    name: str
    hook_point: str
    features: tuple[int, ...]
    labels: int


def save(session: Session, found: FeatureRecords, subject: str, source: str, author: str | None) -> list[ImportedRun]:
    """Write subject, dictionaries, runs, evidence and labels; writing the same again changes nothing.

    `author` is that of labels that name none.
    """
    subject_id = digest_of({"imported": found.vocabulary.digest, "name": subject})
    dictionaries.save_subject(session, subject_id, subject, {"imported": source}, found.vocabulary)
    return [_save(session, item, found.digest, subject_id, subject, source, author) for item in found.dictionaries]


def _save(session: Session, item: RecordedDictionary, records: str, subject_id: str, subject: str, source: str, author: str | None) -> ImportedRun:
    digest = digest_of({"imported": subject, "component": item.component, "training": item.training})
    dictionary_id = dictionaries.save_dictionary(
        session,
        subject_id,
        name=f"{subject}@{item.short_name}",
        digest=digest,
        hook_point=item.hook_point,
        architecture=EXPLAINER,
        d_in=0,
        n_features=item.n_features,
        config={"imported": True, "training_run": item.training},
    )
    identity = {"imported": records, "dictionary": digest}
    corpus = {"path": source, "imported": True, "windows": "all of each feature's strongest documents"}
    run_id = runs.save(session, digest_of(identity), dictionary_id, identity, corpus, tokens=0)
    evidence.save(session, run_id, [Gathered(one.feature, one.statistics, encode_evidence(one)) for one in item.evidence])
    _save_labels(session, run_id, item.labels, source, author)
    if session.scalar(select(RunRow.completed_at).where(RunRow.id == run_id)) is None:
        made = session.execute(
            select(ExplanationRow.feature, ExplanationRow.id).where(ExplanationRow.run_id == run_id).order_by(ExplanationRow.feature)
        ).all()
        best = unscored([row.feature for row in made], [row.id for row in made])
        dictionary_scores.show_best(session, run_id, dictionary_scores.shown(best, lambda ids: dictionary_scores.labels(session, ids)))
        runs.complete(session, run_id)
    name, number = session.execute(
        select(DictionaryRow.name, RunRow.number).join(RunRow, RunRow.dictionary_id == DictionaryRow.id).where(RunRow.id == run_id)
    ).one()
    fires = tuple(one.feature for one in item.evidence if one.statistics.tokens_active)
    return ImportedRun(run_id, dictionary_id, f"{name}/{number}", item.hook_point, fires, len(item.labels))


def _save_labels(session: Session, run_id: int, labels: Iterable[HumanLabel], source: str, author: str | None) -> None:
    """Write the labels of each author as explanations of one family."""

    def of(label: HumanLabel) -> str:
        return label.author or author or ""

    for name, group in groupby(sorted(labels, key=lambda label: (of(label), label.feature)), of):
        family = ExplanationFamily(run_id, EXPLAINER, digest_of({"explainer": EXPLAINER, "author": name}))
        made = [
            Explanation(label.feature, EXPLAINER, label.text, provenance={"author": name or None, "source": source, "notes": label.notes})
            for label in group
        ]
        explanations.save(session, family, made, job_id=None)
