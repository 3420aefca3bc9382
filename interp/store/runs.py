"""Runs: one collection each, with all results that belong to it; and which run of a dictionary is its current one."""

import re
from collections.abc import Collection
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from interp.errors import InputError, NotFound
from interp.lifecycle import JOB_ENDS
from interp.store.dialect import insert, now
from interp.store.tables import Dictionary, Evidence, Job, Run, Subject
from interp.vocabulary import Vocabulary

# A run's number, or the start of its digest; eight digits and more are a digest's.
NUMBER, DIGEST = re.compile(r"[1-9][0-9]{0,6}", re.ASCII), re.compile(r"[0-9a-f]{8,64}", re.ASCII)
# Of completed runs, the current one first.
ORDER = (Run.pinned_at.is_(None), Run.pinned_at.desc(), Run.features.desc(), Run.completed_at.desc(), Run.id.desc())


def save(session: Session, digest: str, dictionary_id: int, identity: dict[str, Any], corpus: dict[str, Any], tokens: int) -> int:
    """The id of the run with this digest; written with the dictionary's next number when it is new.

    `corpus` says what the pass as a whole saw; `tokens` how many.
    """
    # The dictionary's row is held, so that two new runs do not take one number.
    session.execute(select(Dictionary.id).where(Dictionary.id == dictionary_id).with_for_update(key_share=True))
    last = select(func.coalesce(func.max(Run.number), 0) + 1).where(Run.dictionary_id == dictionary_id).scalar_subquery()
    row = {"digest": digest, "dictionary_id": dictionary_id, "identity": identity, "corpus": corpus, "tokens": tokens, "created_at": now(session)}
    session.execute(insert(session, Run).values(number=last, **row).on_conflict_do_nothing(index_elements=["digest"]))
    return session.execute(select(Run.id).where(Run.digest == digest)).scalar_one()


def find(session: Session, digest: str) -> tuple[Run, Dictionary] | None:
    """The run with this digest and its dictionary, or None when nothing was gathered under that identity yet."""
    found = session.execute(select(Run, Dictionary).join(Dictionary, Dictionary.id == Run.dictionary_id).where(Run.digest == digest)).first()
    return None if found is None else (found[0], found[1])


def dictionary_of(session: Session, run_id: int) -> Dictionary:
    """The dictionary that the run is of. Raises NotFound."""
    found = session.scalar(select(Dictionary).join(Run, Run.dictionary_id == Dictionary.id).where(Run.id == run_id))
    if found is None:
        raise NotFound(f"There is no run {run_id}.")
    return found


def tokens_of(session: Session, run_id: int) -> int:
    """How many tokens the evidence was gathered from."""
    return session.execute(select(Run.tokens).where(Run.id == run_id)).scalar_one()


def vocabulary_of(session: Session, run_id: int) -> Vocabulary:
    """The vocabulary of the subject that the evidence was gathered from."""
    blob = session.execute(
        select(Subject.vocabulary)
        .join(Dictionary, Dictionary.subject_id == Subject.id)
        .join(Run, Run.dictionary_id == Dictionary.id)
        .where(Run.id == run_id)
    ).scalar_one()
    return Vocabulary.from_bytes(blob)


def complete(session: Session, run_id: int) -> None:
    """A job of the run has completed: from now on the run may be its dictionary's current one. Its coverage is counted anew."""
    covered = select(func.count()).select_from(Evidence).where(Evidence.run_id == run_id).scalar_subquery()
    session.execute(update(Run).where(Run.id == run_id).values(features=covered, completed_at=now(session)))


def current(session: Session, dictionary_id: int) -> Run | None:
    """The dictionary's current run: None before any has completed.

    The pinned one; else of those that have completed the one with evidence of most features; of equals the last that completed.
    """
    completed = select(Run).where(Run.dictionary_id == dictionary_id, Run.completed_at.is_not(None))
    return session.scalars(completed.order_by(*ORDER).limit(1)).first()


def named(session: Session, dictionary: Dictionary, reference: str) -> Run:
    """A dictionary's run by its number, its address `dictionary/number`, or eight or more digits of its digest.

    Raises InputError for what is none of these, NotFound where no run of the dictionary is meant, or several are.
    """
    name = reference.removeprefix(f"{dictionary.name}/")
    of = select(Run).where(Run.dictionary_id == dictionary.id).order_by(Run.id)
    if NUMBER.fullmatch(name):
        found = session.scalars(of.where(Run.number == int(name))).all()
    elif DIGEST.fullmatch(name):
        found = session.scalars(of.where(Run.digest.startswith(name, autoescape=True)).limit(2)).all()
    else:
        raise InputError(
            f"{reference!r} names no run.", cure=f"Write its number, its address such as {dictionary.name}/1, or 8 or more digits of its digest."
        )
    if len(found) != 1:
        last = session.scalar(select(func.max(Run.number)).where(Run.dictionary_id == dictionary.id))
        several = f"{len(found)} runs begin with {name}." if found else f"Its runs are numbered 1 to {last or 0}."
        raise NotFound(
            f"No run {reference!r} of {dictionary.name}.", why=several, cure=f"List them with GET /v1/dictionaries/{dictionary.name}/runs."
        )
    return found[0]


def shown(session: Session, dictionary: Dictionary, reference: str | None = None) -> Run:
    """The run that a reader means: the named one, else the dictionary's current one. Raises NotFound and InputError."""
    if reference is not None:
        return named(session, dictionary, reference)
    found = current(session, dictionary.id)
    if found is None:
        raise _none_finished(session, dictionary)
    return found


def _none_finished(session: Session, dictionary: Dictionary) -> NotFound:
    """Says which job is at work, and how to see what it has so far."""
    last = session.execute(
        select(Run.number, Job.id, Job.status)
        .outerjoin(Job, Job.run_id == Run.id)
        .where(Run.dictionary_id == dictionary.id)
        .order_by(Job.status.in_(JOB_ENDS), Run.id.desc(), Job.created_at.desc())
        .limit(1)
    ).first()
    what = f"No run of {dictionary.name} is finished yet."
    if last is None:
        return NotFound(what, cure="Submit a job first.")
    number, job_id, status = last
    why = f"Job {job_id} on run {dictionary.name}/{number} is {status}." if job_id else f"Run {dictionary.name}/{number} has no job."
    return NotFound(what, why=why, cure=f"Wait until it completes, or ask with run={number} for what it has so far.", job=job_id, run=number)


def all_current(session: Session) -> list[Run]:
    """The current run of each dictionary that has one, in the order of the dictionaries."""
    place = func.row_number().over(partition_by=Run.dictionary_id, order_by=ORDER).label("place")
    ranked = select(Run.id, place).where(Run.completed_at.is_not(None)).subquery()
    return list(session.scalars(select(Run).join(ranked, ranked.c.id == Run.id).where(ranked.c.place == 1).order_by(Run.dictionary_id)))


def current_from(session: Session, run_id: int | None) -> tuple[int, ...]:
    """Where a listing over all dictionaries goes on: the run that it has reached, current or not, then the current runs of the dictionaries after."""
    begun = None if run_id is None else session.get(Run, run_id)
    if begun is None:
        return tuple(run.id for run in all_current(session))
    return (begun.id, *(run.id for run in all_current(session) if run.dictionary_id > begun.dictionary_id))


def of_ids(session: Session, ids: Collection[int]) -> dict[int, tuple[Run, Dictionary]]:
    """Some runs with their dictionaries, by id."""
    found = session.execute(select(Run, Dictionary).join(Dictionary, Dictionary.id == Run.dictionary_id).where(Run.id.in_(ids)))
    return {run.id: (run, dictionary) for run, dictionary in found}
