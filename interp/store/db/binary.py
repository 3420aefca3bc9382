"""Arrays as psycopg sends them to PostgreSQL: packed by us, or as binary lists."""

from typing import Any

import psycopg
from psycopg import pq
from psycopg.adapt import Dumper, PyFormat
from psycopg.types.array import ListBinaryDumper

from interp.store.db.bulk_insert import PackedColumn, Values


class _PackedDumper(Dumper):
    format = pq.Format.BINARY

    def get_key(self, obj: PackedColumn, format: PyFormat) -> Any:  # noqa: A002, ARG002
        return (PackedColumn, obj.oid)

    def upgrade(self, obj: PackedColumn, format: PyFormat) -> Dumper:  # noqa: A002, ARG002
        dumper = type(self)(PackedColumn, self.connection)
        dumper.oid = obj.oid
        return dumper

    def dump(self, obj: PackedColumn) -> bytes:
        return obj.data


def register() -> None:
    """Makes the driver send `Values` and `PackedColumn` as binary arrays."""
    psycopg.adapters.register_dumper(Values, ListBinaryDumper)
    psycopg.adapters.register_dumper(PackedColumn, _PackedDumper)
