"""Upgrade and downgrade a database's schema (`interp.store.db.revision` reads its revision)."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, Engine, event, inspect, select, text
from sqlalchemy.orm import Session

from interp.domain.errors import BlobCorruptError, DatabaseUnfitError
from interp.files.evidence_codec import decode_evidence
from interp.planning.plan import ranges_of
from interp.score.best import BestSoFar, scored, unscored
from interp.store.db.engine import make_engine
from interp.store.db.revision import FOLDER
from interp.store.db.tables import Base, EvidenceRow, FeatureRow, RunRow
from interp.store.results import dictionary_scores, evidence, label_texts
from interp.store.results.evidence import Gathered

# From this revision on the listing holds the features of every run.
LISTED_BY_RUN = "0009"
# From this revision on the text of each listed label has a row of its own, for search.
SEARCHED = "0024"
# PostgreSQL: one upgrade at a time. SQLite: the transaction holds the write lock anyway.
ADVISORY_LOCK = 0x676C6F73
NAMES_SHOWN = 3
# Features listed again per step.
PORTION = 500


def upgrade(url: str, revision: str = "head") -> None:
    """Upgrade to `revision` in one transaction (any processes at once), or raise DatabaseUnfitError."""
    engine = make_engine(url)
    with _configured(engine) as config:
        connection: Connection = config.attributes["connection"]
        before = MigrationContext.configure(connection).get_current_revision()
        if before is None:
            _check_empty(connection)
        command.upgrade(config, revision)
        if before is not None and before < LISTED_BY_RUN and revision == "head":
            # In the migration's own transaction, so that both succeed or neither.
            with Session(connection) as session:
                _relist(session)
        if before is not None and before < SEARCHED and revision == "head":
            with Session(connection) as session:
                label_texts.index_listed(session)
    engine.dispose()


def downgrade(url: str, revision: str) -> None:
    """Downgrade the database to `revision`; `base` is the empty database."""
    engine = make_engine(url)
    with _configured(engine) as config:
        command.downgrade(config, revision)
    engine.dispose()


@contextmanager
def _configured(engine: Engine) -> Iterator[Config]:
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _without_foreign_keys)
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            _check_encoding(connection)
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
        config.attributes["connection"] = connection
        yield config


def _check_empty(connection: Connection) -> None:
    """Raise DatabaseUnfitError where another program's tables have the same names."""
    if taken := sorted(set(inspect(connection).get_table_names()) & set(Base.metadata.tables)):
        why = f"It has no revision of Glossator's, and tables of these names already: {', '.join(taken[:NAMES_SHOWN])}."
        raise DatabaseUnfitError("The database is another program's.", why=why, cure="Give Glossator a database of its own (GLOSSATOR_DATABASE_URL).")


def _without_foreign_keys(connection: Any, _record: Any) -> None:
    # SQLite changes a table by replacing it, and dropping a table would also delete the rows that refer to it.
    connection.execute("PRAGMA foreign_keys=OFF").close()


def _check_encoding(connection: Connection) -> None:
    encoding = connection.execute(text("SHOW server_encoding")).scalar_one()
    if encoding != "UTF8":
        name = connection.engine.url.database
        cure = f"Make one that keeps any: CREATE DATABASE \"{name}\" ENCODING 'UTF8' LC_COLLATE 'C.UTF-8' LC_CTYPE 'C.UTF-8' TEMPLATE template0."
        raise DatabaseUnfitError(
            f"The database {name} cannot keep every text.", why=f"Its encoding is {encoding}; texts of models are UTF-8.", cure=cure
        )


def _relist(session: Session) -> None:
    """List every feature with evidence in its run, with its best explanation.

    Before 0009 a listing showed the features of a dictionary's newest evidence alone. Damaged evidence stays unlisted, as reading it would fail.
    """
    for run_id in session.scalars(select(RunRow.id).order_by(RunRow.id)).all():
        _list_features(session, run_id)
        best = BestSoFar()
        for rows in dictionary_scores.explained(session, run_id):
            features, explanations, *_ = zip(*rows, strict=True)
            best.add(unscored(features, explanations))
        for rows in dictionary_scores.other_scores(session, run_id, ()):
            best.add(scored(*zip(*rows, strict=True)))
        shown = dictionary_scores.shown(best.best(), lambda ids: dictionary_scores.labels(session, ids))
        dictionary_scores.show_best(session, run_id, list(shown))


def _list_features(session: Session, run_id: int) -> None:
    """List the run's features that have evidence and no row yet, in portions."""
    same = (FeatureRow.run_id == EvidenceRow.run_id) & (FeatureRow.feature == EvidenceRow.feature)
    unlisted = select(EvidenceRow.feature).outerjoin(FeatureRow, same).where(EvidenceRow.run_id == run_id, FeatureRow.feature.is_(None))
    features = session.scalars(unlisted.order_by(EvidenceRow.feature)).all()
    for start in range(0, len(features), PORTION):
        gathered = []
        for feature, blob in evidence.load(session, run_id, ranges_of(features[start : start + PORTION])).items():
            with suppress(BlobCorruptError):
                gathered.append(Gathered(feature, decode_evidence(blob).statistics, b""))
        evidence.save_statistics(session, run_id, gathered)
