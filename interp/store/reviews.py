"""Store people's reviews of labels, and the labels that people write."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import ColumnElement, exists, func, select
from sqlalchemy.orm import Session

from interp.domain.errors import InputError
from interp.domain.explanation import Explanation
from interp.planning.settings_digest import human_family
from interp.store.db.dialect import now
from interp.store.db.tables import DictionaryRow, ExplanationRow, FeatureRow, ReviewRow, RunRow, ScoreRow
from interp.store.listings.queries import in_list
from interp.store.results import dictionary_scores, explanations

Verdict = Literal["accept", "edit", "flag", "comment"]
QueueOrder = Literal["worst", "random"]
# Features drawn for a random sample, of which those that have no label or were reviewed are left out.
DRAWN, DRAWN_AT_ONCE = 20_000, 1_000
# Reviews that the agreement reads, the newest first.
MOST_READ = 100_000


@dataclass(frozen=True, slots=True)
class NewReview:
    """What a person says of a feature's label; `text` is the label of an edit."""

    feature: int
    verdict: Verdict
    author: str
    text: str | None = None
    comment: str | None = None
    explanation_id: int | None = None


@dataclass(frozen=True, slots=True)
class JudgedLabel:
    """The last verdict of one author about one explanation."""

    explanation_id: int
    feature: int
    author: str
    is_accepted: bool


def write(session: Session, run: RunRow, listed: FeatureRow, wanted: NewReview) -> ReviewRow:
    """Write a review, and an edit's label; raises InputError without a label to judge."""
    explanation_id = listed.explanation_id if wanted.explanation_id is None else wanted.explanation_id
    of = None if explanation_id is None else session.get(ExplanationRow, explanation_id)
    if wanted.explanation_id is not None and (of is None or of.run_id != run.id or of.feature != wanted.feature):
        raise InputError(f"Explanation {wanted.explanation_id} is not one of this feature.", cure="Leave it out to judge the listed one.")
    if wanted.verdict in ("accept", "flag") and (of is None or of.text is None):
        raise InputError("The feature has no label to judge.", cure="Write one: the verdict `edit` with `text`.")
    if wanted.verdict == "edit" and wanted.text is not None:
        _save_label(session, run.id, wanted, wanted.text)
    row = ReviewRow(
        run_id=run.id,
        feature=wanted.feature,
        explanation_id=None if of is None else of.id,
        label=None if of is None else of.text,
        verdict=wanted.verdict,
        text=wanted.text,
        comment=wanted.comment,
        author=wanted.author,
        created_at=now(session),
    )
    session.add(row)
    session.flush()
    return row


def _save_label(session: Session, run_id: int, wanted: NewReview, text: str) -> None:
    """Write a person's label over an earlier one, whose scores are deleted.

    Reviews keep the text of each.
    """
    family = human_family(run_id)
    provenance = {"author": wanted.author, "method": family.explainer, "source": "review"}
    known = explanations.load(session, family, [(wanted.feature, wanted.feature + 1)]).get(wanted.feature)
    if known is None or known[1].text is None:
        explanations.save(session, family, [Explanation(wanted.feature, family.explainer, text, provenance=provenance)], job_id=None)
    else:
        row = session.get_one(ExplanationRow, known[0])
        explanations.delete_scores(session, run_id, [row.id])
        row.text, row.provenance, row.created_at = text, provenance, now(session)
        session.flush()
    dictionary_scores.show_best_of(session, run_id, [wanted.feature])


def page(
    session: Session, run_id: int | None, feature: int | None, author: str | None, verdict: str | None, after: int | None, limit: int
) -> list[tuple[ReviewRow, RunRow, DictionaryRow]]:
    """Return some reviews with run and dictionary, newest first."""
    statement = select(ReviewRow, RunRow, DictionaryRow).join(RunRow, RunRow.id == ReviewRow.run_id)
    statement = statement.join(DictionaryRow, DictionaryRow.id == RunRow.dictionary_id).order_by(ReviewRow.id.desc()).limit(limit)
    wanted = {"run_id": run_id, "feature": feature, "author": author, "verdict": verdict}
    for name, value in wanted.items():
        if value is not None:
            statement = statement.where(getattr(ReviewRow, name) == value)
    if after is not None:
        statement = statement.where(ReviewRow.id < after)
    return [(review, run, dictionary) for review, run, dictionary in session.execute(statement)]


def queue(session: Session, run_id: int, author: str, order: QueueOrder, seed: int, list_id: int | None, limit: int) -> list[FeatureRow]:
    """Return labelled features whose listed label the author has not judged.

    `worst` has the largest q value first, and before all those without any; features of the same value come in the order of the index read
    backwards, whose pages cost the same at any size. `random` is a sample without replacement of the run's features by `seed`,
    the same for everyone; it draws `DRAWN` features at most.
    """
    conditions = _to_review(run_id, author, list_id)
    if order == "random":
        return _sample(session, run_id, conditions, seed, limit)
    found: list[FeatureRow] = []
    for part in (FeatureRow.q_value.is_(None), FeatureRow.q_value.is_not(None)):
        statement = select(FeatureRow).where(*conditions, part).order_by(FeatureRow.q_value.desc(), FeatureRow.feature.desc())
        found += session.scalars(statement.limit(limit - len(found))) if len(found) < limit else ()
    return found


def _to_review(run_id: int, author: str, list_id: int | None) -> list[ColumnElement[bool]]:
    judged = exists().where(
        ReviewRow.explanation_id == FeatureRow.explanation_id, ReviewRow.author == author, ReviewRow.verdict.in_(("accept", "edit", "flag"))
    )
    found = [FeatureRow.run_id == run_id, FeatureRow.label.is_not(None), ~judged]
    return found if list_id is None else [*found, in_list(FeatureRow, list_id)]


def _sample(session: Session, run_id: int, conditions: Sequence[ColumnElement[bool]], seed: int, limit: int) -> list[FeatureRow]:
    last = session.execute(select(func.max(FeatureRow.feature)).where(FeatureRow.run_id == run_id)).scalar_one()
    if last is None:
        return []
    drawn = random.Random(seed).sample(range(last + 1), min(last + 1, DRAWN))
    found: list[FeatureRow] = []
    for start in range(0, len(drawn), DRAWN_AT_ONCE):
        some = drawn[start : start + DRAWN_AT_ONCE]
        rows = {row.feature: row for row in session.scalars(select(FeatureRow).where(*conditions, FeatureRow.feature.in_(some)))}
        found += [rows[feature] for feature in some if feature in rows]
        if len(found) >= limit:
            break
    return found[:limit]


def judged(session: Session, run_id: int) -> list[JudgedLabel]:
    """Return each author's last verdict about each explanation of a run; an edit accepts nothing."""
    statement = select(ReviewRow.explanation_id, ReviewRow.feature, ReviewRow.author, ReviewRow.verdict).where(
        ReviewRow.run_id == run_id, ReviewRow.explanation_id.is_not(None), ReviewRow.verdict != "comment"
    )
    last: dict[tuple[int, str], JudgedLabel] = {}
    for explanation_id, feature, author, verdict in session.execute(statement.order_by(ReviewRow.id.desc()).limit(MOST_READ)):
        if explanation_id is not None:
            last.setdefault((explanation_id, author), JudgedLabel(explanation_id, feature, author, verdict == "accept"))
    return list(last.values())


def scores_of(session: Session, explanation_ids: Sequence[int]) -> dict[str, dict[int, float]]:
    """Return the newest score of each explanation by scorer, then by explanation."""
    found: dict[str, dict[int, float]] = {}
    for start in range(0, len(explanation_ids), DRAWN_AT_ONCE):
        some = explanation_ids[start : start + DRAWN_AT_ONCE]
        statement = select(ScoreRow.scorer, ScoreRow.explanation_id, ScoreRow.value).where(ScoreRow.explanation_id.in_(some))
        for scorer, explanation_id, value in session.execute(statement.where(ScoreRow.value.is_not(None)).order_by(ScoreRow.id)):
            if value is not None:
                found.setdefault(scorer, {})[explanation_id] = value
    return found
