"""Store runs, and choose the current run of a dictionary."""

import re
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from sqlalchemy import Select, func, select, update
from sqlalchemy.orm import Session

from interp.domain.errors import ConflictError, InputError, NotFoundError
from interp.domain.lifecycle import JOB_ENDS, JobStatus
from interp.domain.vocabulary import Vocabulary
from interp.store.db.bulk import insert
from interp.store.db.dialect import now
from interp.store.db.tables import DictionaryRow, EvidenceRow, FeatureRow, JobRow, JobRunRow, RunRow, SubjectRow
from interp.store.listings import queries

if TYPE_CHECKING:
    from interp.explain.endpoint import DictionaryPlace

# A run's number, or the start of its digest; eight digits and more are a digest's.
NUMBER, DIGEST = re.compile(r"[1-9][0-9]{0,6}", re.ASCII), re.compile(r"[0-9a-f]{8,64}", re.ASCII)
# Jobs of a run that are listed with it.
MOST_JOBS = 20
RUNS = select(RunRow, DictionaryRow).join(DictionaryRow, DictionaryRow.id == RunRow.dictionary_id)
# Of completed runs, the current one first.
ORDER = (RunRow.pinned_at.is_(None), RunRow.pinned_at.desc(), RunRow.covered_features.desc(), RunRow.completed_at.desc(), RunRow.id.desc())


def save(session: Session, digest: str, dictionary_id: int, identity: dict[str, Any], corpus: dict[str, Any], tokens: int) -> int:
    """Return the id of this run; write it with the next number when new.

    `corpus` is what the pass over the corpus found, `tokens` how many it read.
    """
    # The dictionary's row is locked, so that two new runs do not take one number.
    session.execute(select(DictionaryRow.id).where(DictionaryRow.id == dictionary_id).with_for_update(key_share=True))
    last = select(func.coalesce(func.max(RunRow.number), 0) + 1).where(RunRow.dictionary_id == dictionary_id).scalar_subquery()
    row = {"digest": digest, "dictionary_id": dictionary_id, "identity": identity, "corpus": corpus, "tokens": tokens, "created_at": now(session)}
    session.execute(insert(session, RunRow).values(number=last, **row).on_conflict_do_nothing(index_elements=["digest"]))
    return session.execute(select(RunRow.id).where(RunRow.digest == digest)).scalar_one()


def find(session: Session, digest: str) -> tuple[RunRow, DictionaryRow] | None:
    """Return the run with this digest and its dictionary, or None without one."""
    return next(iter(_pairs(session, RUNS.where(RunRow.digest == digest))), None)


def digest_of_fingerprint(session: Session, identity: dict[str, Any], fingerprint: str | None) -> str | None:
    """Return the newest run's digest by identity and file fingerprint, before its corpus is read."""
    statement = (
        select(RunRow.digest, RunRow.identity, RunRow.corpus)
        .join(DictionaryRow, DictionaryRow.id == RunRow.dictionary_id)
        .where(DictionaryRow.digest == identity["dictionary"])
        .order_by(RunRow.id.desc())
    )
    for digest, known, corpus in session.execute(statement) if fingerprint else ():
        asked = identity | {"corpus": identity["corpus"] | {"digest": known.get("corpus", {}).get("digest")}}
        if corpus.get("fingerprint") == fingerprint and known == asked:
            return str(digest)
    return None


def size_of(session: Session, run_id: int) -> tuple[int, int]:
    """Return the number of features of the dictionary, and of tokens collected from."""
    ((run, dictionary),) = _pairs(session, RUNS.where(RunRow.id == run_id))
    return dictionary.n_features, run.tokens


def facts_of(session: Session, run_id: int) -> dict[str, Any]:
    """Return the facts about the corpus that `save` wrote."""
    facts: dict[str, Any] = session.execute(select(RunRow.corpus).where(RunRow.id == run_id)).scalar_one()
    return facts


def vocabulary_of(session: Session, run_id: int) -> Vocabulary:
    """Return the vocabulary of the run's subject."""
    subject = RUNS.join(SubjectRow, SubjectRow.id == DictionaryRow.subject_id).where(RunRow.id == run_id)
    return Vocabulary.from_bytes(session.scalars(subject.with_only_columns(SubjectRow.vocabulary)).one())


def place_of(session: Session, run_id: int) -> "DictionaryPlace":
    """Return the names of the run's dictionary and of the place that it reads."""
    # Imported here: a process that only reads results does without clients of language models.
    from interp.explain.endpoint import DictionaryPlace

    columns = (DictionaryRow.name, DictionaryRow.n_features, DictionaryRow.polarity, SubjectRow.name, DictionaryRow.hook_point, DictionaryRow.d_in)
    statement = RUNS.join(SubjectRow, SubjectRow.id == DictionaryRow.subject_id).where(RunRow.id == run_id).with_only_columns(*columns)
    return DictionaryPlace(*session.execute(statement).one())


def complete(session: Session, run_id: int) -> None:
    """Mark a run completed and count its features, so that it may become current."""
    covered = select(func.count()).select_from(EvidenceRow).where(EvidenceRow.run_id == run_id).scalar_subquery()
    session.execute(update(RunRow).where(RunRow.id == run_id).values(covered_features=covered, completed_at=now(session)))


def current(session: Session, dictionary_id: int) -> RunRow | None:
    """Return the dictionary's current run, or None before any has completed.

    The pinned run; else, of completed ones, the one with evidence of most features; of equals the last that completed.
    """
    return next(iter(all_current(session, {dictionary_id})), None)


def named(session: Session, dictionary: DictionaryRow, reference: str) -> RunRow:
    """Return a run by number, `dictionary/number`, or eight digits of its digest.

    Raises InputError for other references, NotFoundError where no run or several match.
    """
    name = reference.removeprefix(f"{dictionary.name}/")
    of = select(RunRow).where(RunRow.dictionary_id == dictionary.id)
    if not (NUMBER.fullmatch(name) or DIGEST.fullmatch(name)):
        raise InputError(
            f"{reference!r} names no run.", cure=f"Write its number, its address such as {dictionary.name}/1, or 8 or more digits of its digest."
        )
    is_wanted = RunRow.number == int(name) if NUMBER.fullmatch(name) else RunRow.digest.startswith(name, autoescape=True)
    return _only(session, of.where(is_wanted), f"{reference!r} of {dictionary.name}")


def shown(session: Session, dictionary: DictionaryRow, reference: str | None = None, begun: int | None = None) -> RunRow:
    """Return the run to read: that of the last page, the named, or the current.

    `begun` is the run id of the last page: a listing ends in the run that it began in. Raises NotFoundError and InputError.
    """
    before = None if begun is None else session.get(RunRow, begun)
    if before is not None and before.dictionary_id == dictionary.id:
        return before
    if reference is not None:
        return named(session, dictionary, reference)
    found = current(session, dictionary.id)
    if found is None:
        raise _none_finished(session, dictionary)
    return found


def _none_finished(session: Session, dictionary: DictionaryRow) -> NotFoundError:
    """Return the error that names the running job, and how to see its results."""
    last = session.execute(
        select(RunRow.number, JobRow.id, JobRow.status)
        .outerjoin(JobRunRow, JobRunRow.run_id == RunRow.id)
        .outerjoin(JobRow, JobRow.id == JobRunRow.job_id)
        .where(RunRow.dictionary_id == dictionary.id)
        .order_by(func.coalesce(JobRow.status, JobStatus.CANCELLED).in_(JOB_ENDS), RunRow.id.desc(), JobRow.created_at.desc())
        .limit(1)
    ).first()
    what = f"No run of {dictionary.name} is finished yet."
    if last is None:
        return NotFoundError(what, cure="Submit a job first.")
    number, job_id, status = last
    why = f"Job {job_id} on run {dictionary.name}/{number} is {status}." if job_id else f"Run {dictionary.name}/{number} has no job."
    return NotFoundError(what, why=why, cure=f"Wait until it completes, or ask with run={number} for what it has so far.", job=job_id, run=number)


def all_current(session: Session, dictionary_ids: Collection[int] | None = None) -> list[RunRow]:
    """Return the current runs of all or some dictionaries, by dictionary."""
    place = func.row_number().over(partition_by=RunRow.dictionary_id, order_by=ORDER).label("place")
    completed = select(RunRow.id, place).where(RunRow.completed_at.is_not(None))
    ranked = (completed if dictionary_ids is None else completed.where(RunRow.dictionary_id.in_(dictionary_ids))).subquery()
    return list(session.scalars(select(RunRow).join(ranked, ranked.c.id == RunRow.id).where(ranked.c.place == 1).order_by(RunRow.dictionary_id)))


def current_from(session: Session, run_id: int | None) -> tuple[int, ...]:
    """Return the run that a listing of all dictionaries has reached, and later current ones."""
    begun = None if run_id is None else session.get(RunRow, run_id)
    if begun is None:
        return tuple(run.id for run in all_current(session))
    return (begun.id, *(run.id for run in all_current(session) if run.dictionary_id > begun.dictionary_id))


def of_ids(session: Session, ids: Collection[int]) -> dict[int, tuple[RunRow, DictionaryRow]]:
    """Return some runs with their dictionaries, by id."""
    return {run.id: (run, dictionary) for run, dictionary in _pairs(session, RUNS.where(RunRow.id.in_(ids)))}


def pin(session: Session, dictionary: DictionaryRow, run: RunRow) -> None:
    """Make a completed run its dictionary's current one, or raise ConflictError."""
    if run.completed_at is None:
        raise ConflictError(
            f"Run {dictionary.name}/{run.number} is not finished and cannot be the current one.",
            why="Its listing would change with every chunk.",
            cure=f"Wait until a job of it has completed; until then ask with run={run.number}.",
        )
    unpin(session, dictionary)
    session.execute(update(RunRow).where(RunRow.id == run.id).values(pinned_at=now(session)))


def unpin(session: Session, dictionary: DictionaryRow) -> None:
    """Let the rule choose the current run again."""
    session.execute(update(RunRow).where(RunRow.dictionary_id == dictionary.id, RunRow.pinned_at.is_not(None)).values(pinned_at=None))


def page(session: Session, dictionary_id: int | None, after: int, limit: int) -> list[tuple[RunRow, DictionaryRow]]:
    """Return some runs of one or all dictionaries, by id, with their dictionaries."""
    of = RUNS if dictionary_id is None else RUNS.where(RunRow.dictionary_id == dictionary_id)
    return _pairs(session, of.where(RunRow.id > after).order_by(RunRow.id).limit(limit))


def covered(session: Session, ids: Collection[int]) -> dict[int, int]:
    """Return how many features of some runs have evidence now."""
    counted = dict(session.execute(select(FeatureRow.run_id, func.count()).where(FeatureRow.run_id.in_(ids)).group_by(FeatureRow.run_id)).all())
    return {run_id: counted.get(run_id, 0) for run_id in ids}


def jobs_of(session: Session, ids: Collection[int]) -> dict[int, list[JobRow]]:
    """Return the last jobs of some runs, the newest first."""
    place = func.row_number().over(partition_by=JobRunRow.run_id, order_by=(JobRow.created_at.desc(), JobRow.id)).label("newest")
    of_runs = select(JobRow.id, JobRunRow.run_id, place).join(JobRunRow, JobRunRow.job_id == JobRow.id).where(JobRunRow.run_id.in_(ids))
    ranked = of_runs.subquery()
    newest = select(JobRow, ranked.c.run_id).join(ranked, ranked.c.id == JobRow.id).where(ranked.c.newest <= MOST_JOBS)
    found: dict[int, list[JobRow]] = {}
    for row, run_id in session.execute(newest.order_by(JobRow.created_at.desc(), JobRow.id)):
        found.setdefault(run_id, []).append(row)
    return found


def of_jobs(session: Session, ids: Collection[str]) -> dict[str, list[tuple[RunRow, DictionaryRow]]]:
    """Return the runs of some jobs, with their dictionaries, in the order of the specs."""
    pairs = select(JobRunRow.job_id, RunRow, DictionaryRow).join(RunRow, RunRow.id == JobRunRow.run_id)
    of_ids = pairs.join(DictionaryRow, DictionaryRow.id == RunRow.dictionary_id).where(JobRunRow.job_id.in_(ids))
    found: dict[str, list[tuple[RunRow, DictionaryRow]]] = {}
    for job_id, run, dictionary in session.execute(of_ids.order_by(JobRunRow.job_id, JobRunRow.place)):
        found.setdefault(job_id, []).append((run, dictionary))
    return found


def addressed(session: Session, reference: str) -> RunRow:
    """Return a run by address or digest (8+ digits), or raise NotFoundError or InputError."""
    of, _, number = reference.rpartition("/")
    if of:
        return named(session, queries.dictionary(session, of), number)
    if not DIGEST.fullmatch(reference):
        raise InputError(f"{reference!r} names no run.", cure="Name the dictionary as well, or write its address such as pystdlib@1-res/1.")
    return _only(session, select(RunRow).where(RunRow.digest.startswith(reference, autoescape=True)), repr(reference))


def _only(session: Session, statement: Select[RunRow], what: str) -> RunRow:
    found = session.scalars(statement.limit(2)).all()
    if len(found) != 1:
        problem = "Several runs match" if found else "No run matches"
        raise NotFoundError(f"{problem} {what}.", cure="List the runs with `glossator runs` (GET /v1/runs).")
    return found[0]


def _pairs(session: Session, statement: Select[RunRow, DictionaryRow]) -> list[tuple[RunRow, DictionaryRow]]:
    return [(run, dictionary) for run, dictionary in session.execute(statement)]
