"""JSON objects of answers, with typed attributes."""

from collections.abc import Callable
from datetime import datetime
from functools import cache
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin, get_type_hints

# Names of dict's own methods: such a field is an attribute with `_` behind it, as `score.items_`.
METHODS = frozenset(dir(dict))
Converter = Callable[[Any], Any]


class Record(dict[str, Any]):
    """A JSON object: its items are the JSON, its attributes are typed.

    `job["created_at"]` is the text that the server sent, `job.created_at` a datetime; `job.stages[0].done` goes into nested objects. Fields that a
    newer server adds are kept, and are attributes too. A value of an unknown form is returned as it is.
    """

    if not TYPE_CHECKING:  # type checkers know the annotated fields alone

        def __getattr__(self, name: str) -> Any:
            field = name[:-1] if name.endswith("_") and name[:-1] in METHODS else name
            if field not in self or name.startswith("_"):
                raise AttributeError(f"{type(self).__name__} has no field {name!r}")
            convert = _converters(type(self)).get(name)
            return self[field] if convert is None else convert(self[field])

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *(f"{name}_" if name in METHODS else name for name in self)]


@cache
def _converters(kind: type[Record]) -> dict[str, Converter | None]:
    return {name: _converter(hint) for name, hint in get_type_hints(kind).items()}


def _converter(hint: Any) -> Converter | None:
    """Return the conversion of a field's JSON value, or None."""
    origin, parts = get_origin(hint), get_args(hint)
    if isinstance(hint, type) and issubclass(hint, Record):
        return lambda value: hint(value) if isinstance(value, dict) else value
    if hint is datetime:
        return _datetime
    if origin in (Union, UnionType):
        kept = [found for part in parts if part is not NoneType and (found := _converter(part))]
        return kept[0] if len(kept) == 1 else None
    inner = _converter(parts[-1]) if origin in (list, dict) else None
    return None if inner is None else _each(inner)


def _each(convert: Converter) -> Converter:
    """Return the conversion of all values of a list or an object."""

    def converted(value: Any) -> Any:
        if isinstance(value, list):
            return [convert(one) for one in value]
        return {name: convert(one) for name, one in value.items()} if isinstance(value, dict) else value

    return converted


def _datetime(value: Any) -> Any:
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return value
