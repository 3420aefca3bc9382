"""Read the stored league table of a run, or make it of all scores."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from interp.analysis.league import Division, Key, Table
from interp.domain.digests import digest_of
from interp.store.db.engine import Engine, Session, snapshot, transaction
from interp.store.results import league, league_tables


@dataclass(frozen=True, slots=True)
class LeagueTable:
    """All that a league table is made of, but spending.

    judges  who judged, by scorer
    made    the jobs that made the labels of each explainer, and how many labels
    """

    divisions: Sequence[Division]
    judges: Sequence[tuple[Key, str | None]]
    made: Sequence[tuple[Key, tuple[frozenset[str], int]]]


CONTENT = TypeAdapter(LeagueTable)
# Raise it where the figures of a table come to mean something else.
VERSION = 1
# A stored table of other fields, or of another version, is made anew.
FORMAT = digest_of({"version": VERSION, "schema": CONTENT.json_schema()})


def read(session: Session, run_id: int) -> LeagueTable:
    """Return the table as of now: a stored one, else one of all scores."""
    stored = _stored(session, run_id)
    return _made(session, run_id) if stored is None else CONTENT.validate_python(stored)


def store(engine: Engine, run_id: int) -> None:
    """Make the table of a run and store it, unless one that holds is stored."""
    with snapshot(engine) as session:
        if _stored(session, run_id) is not None:
            return
        seen, table = league_tables.changes(session, run_id), _made(session, run_id)
    content = {"format": FORMAT, "table": CONTENT.dump_python(table, mode="json")}
    with transaction(engine) as session:
        league_tables.save(session, run_id, seen, content)


def _stored(session: Session, run_id: int) -> Any:
    found = league_tables.find(session, run_id)
    return found["table"] if found is not None and found.get("format") == FORMAT else None


def _made(session: Session, run_id: int) -> LeagueTable:
    found = Table()
    for rows in league.scores(session, run_id):
        found.add(rows)
    return LeagueTable(found.divisions(), list(league.judges(session, run_id).items()), list(league.jobs_of(session, run_id).items()))
