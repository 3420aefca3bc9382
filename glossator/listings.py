"""Listings: rows requested page by page, and tables of them."""

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from glossator.errors import PackageMissingError
from glossator.wire import run

if TYPE_CHECKING:
    import pandas
    import polars

Row = TypeVar("Row")


class AsyncListing(AsyncIterator[Row], Generic[Row]):
    """An asynchronous iterator of rows, each page requested when its first row is needed."""

    def __init__(self, rows: AsyncIterator[Row]) -> None:
        self._rows = rows

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Row:
        return await self._rows.__anext__()

    async def aclose(self) -> None:
        """Close the connection of a listing or stream that is not read to its end."""
        close = getattr(self._rows, "aclose", None)
        if close is not None:
            await close()

    async def to_list(self) -> list[Row]:
        return [row async for row in self]

    async def to_pandas(self) -> "pandas.DataFrame":
        """Return the rows as a table of pandas (`pip install 'glossator[pandas]'`)."""
        return _pandas(await self.to_list())

    async def to_polars(self) -> "polars.DataFrame":
        """Return the rows as a table of polars (`pip install 'glossator[polars]'`)."""
        return _polars(await self.to_list())


class Listing(Iterator[Row], Generic[Row]):
    """An iterator of rows, each page requested when its first row is needed."""

    def __init__(self, rows: AsyncListing[Row]) -> None:
        self._rows = rows

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Row:
        try:
            return run(self._rows.__anext__())
        except StopAsyncIteration:
            raise StopIteration from None

    def close(self) -> None:
        """Close the connection of a listing or stream that is not read to its end."""
        run(self._rows.aclose())

    def to_list(self) -> list[Row]:
        return list(self)

    def to_pandas(self) -> "pandas.DataFrame":
        """Return the rows as a table of pandas (`pip install 'glossator[pandas]'`)."""
        return _pandas(list(self))

    def to_polars(self) -> "polars.DataFrame":
        """Return the rows as a table of polars (`pip install 'glossator[polars]'`)."""
        return _polars(list(self))


def _pandas(rows: list[Any]) -> "pandas.DataFrame":
    try:
        import pandas
    except ImportError:
        raise PackageMissingError("pandas") from None
    return pandas.DataFrame(rows)


def _polars(rows: list[Any]) -> "polars.DataFrame":
    try:
        import polars
    except ImportError:
        raise PackageMissingError("polars") from None
    # All rows decide a column's type: the first ones may be null.
    return polars.from_dicts([dict(row) for row in rows], infer_schema_length=None) if rows else polars.DataFrame()
