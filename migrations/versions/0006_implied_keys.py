"""No row of results asks for its dictionary: its evidence set, or its explanation, has asked already.

PostgreSQL answers a foreign key with a query a row, and each takes a lock on the one row of the dictionary. SQLite keeps the keys, which cost little
there: only copying the tables would end them, and to drop one whose rows cascade empties others (`interp.store.migrate.differences` knows).
"""

from alembic import op

revision = "0006"
down_revision = "0005"

TABLES = ("features", "explanations", "scores")


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        for table in TABLES:
            op.drop_constraint(f"{table}_dictionary_id_fkey", table, type_="foreignkey")


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        for table in TABLES:
            op.create_foreign_key(f"{table}_dictionary_id_fkey", table, "dictionaries", ["dictionary_id"], ["id"])
