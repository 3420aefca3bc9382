"""Search in labels: each text once; `interp.store.migrate` fills in what is listed."""

import logging

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError

log = logging.getLogger(__name__)

revision = "0024"
down_revision = "0023"

ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
# The words are made by Glossator: SQLite has only to split them at blanks.
FTS = "CREATE VIRTUAL TABLE label_words USING fts5(words, content='labels', content_rowid='id', tokenize='ascii')"
GONE = "INSERT INTO label_words(label_words, rowid, words) VALUES ('delete', old.id, old.words);"
COME = "INSERT INTO label_words(rowid, words) VALUES (new.id, new.words);"
TRIGGERS = {"insert": ("INSERT", COME), "delete": ("DELETE", GONE), "update": ("UPDATE OF words", GONE + COME)}


def upgrade() -> None:
    op.create_table(
        "labels",
        sa.Column("id", ROW_ID, primary_key=True, autoincrement=True),
        sa.Column("digest", sa.String(64), nullable=False, unique=True),
        sa.Column("words", sa.Text().with_variant(postgresql.TSVECTOR(), "postgresql"), nullable=False),
        sa.Column("length", sa.Integer, nullable=False),
    )
    op.create_table(
        "label_vectors",
        sa.Column("id", ROW_ID, primary_key=True, autoincrement=True),
        sa.Column("label_id", ROW_ID, sa.ForeignKey("labels.id", ondelete="CASCADE"), nullable=False),
        sa.Column("embedder", sa.String(128), nullable=False),
        sa.Column("code", sa.LargeBinary, nullable=False),
        sa.Column("vector", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("label_id", "embedder"),
    )
    op.add_column("features", sa.Column("label_id", sa.BigInteger))
    op.create_index("ix_features_label_id", "features", ["label_id"])
    if op.get_bind().dialect.name == "postgresql":
        op.execute("CREATE INDEX ix_labels_words ON labels USING gin (words)")
        _index_codes()
    else:
        op.execute(FTS)
        for name, (event, body) in TRIGGERS.items():
            op.execute(f"CREATE TRIGGER label_words_{name} AFTER {event} ON labels BEGIN {body} END")


def downgrade() -> None:
    op.drop_index("ix_features_label_id", "features")
    op.drop_column("features", "label_id")
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TABLE label_words")
    op.drop_table("label_vectors")
    op.drop_table("labels")


def _index_codes() -> None:
    """Without pgvector each process keeps the codes in memory (`interp.store.listings.label_codes`)."""
    try:
        with op.get_bind().begin_nested():
            op.execute("CREATE EXTENSION IF NOT EXISTS vector")
            op.execute("CREATE INDEX ix_label_vectors_hnsw ON label_vectors USING hnsw ((('x' || encode(code, 'hex'))::bit(512)) bit_hamming_ops)")
    except DBAPIError as error:
        log.warning(f"No index for the search by meaning, which will read all codes: {str(error.orig).strip().splitlines()[0]}")
