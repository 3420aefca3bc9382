"""Write `glossator/models.py` from the OpenAPI document: `python -m api.client_models`.

So the client knows the API's schemas and imports none of the service.
"""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from api.app import create_app
from interp.config.settings import Settings
from interp.files.atomic import writing

# Fields of these names are attributes with `_` behind them (glossator/records.py).
METHODS = frozenset(dir(dict))
FILE = Path(__file__).parents[1] / "glossator" / "models.py"
REFERENCE = "#/components/schemas/"
HEAD = '''"""Answers of the API as typed records; `make client-models` writes this file."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, TypedDict

from glossator.records import Record
'''
LONGEST_LINE = 150
PRIMITIVES = {"integer": "int", "number": "float", "boolean": "bool", "null": "None"}
Schemas = Mapping[str, Mapping[str, Any]]


def source(document: Mapping[str, Any]) -> str:
    """Return the module's source: enumerations, answers by name, and filters of listings."""
    schemas: Schemas = document["components"]["schemas"]
    names = sorted(_reachable(_answers(document), schemas))
    filters = dict(_filters(document))
    shared = _reachable(list(filters.values()), schemas) - set(names)
    aliases = [_alias(name, _type(schemas[name])) for name in sorted({*names, *shared}) if not _is_object(schemas[name])]
    classes = [_record(name, schemas[name]) for name in names if _is_object(schemas[name])]
    queries = [_query(name, parameters) for name, parameters in sorted(filters.items())]
    return "\n".join([HEAD, *aliases, "", "", "\n\n\n".join([*classes, *queries]), ""])


def _alias(name: str, kind: str) -> str:
    """Return the line of an enumeration, on several lines where it is too long."""
    line = f"{name} = {kind}"
    if len(line) <= LONGEST_LINE:
        return line
    values = kind.removeprefix("Literal[")[:-1]
    if len(values) > LONGEST_LINE - 4:
        values = ",\n    ".join(values.split(", ")) + ","
    return f"{name} = Literal[\n    {values}\n]"


def _is_object(schema: Mapping[str, Any]) -> bool:
    return "properties" in schema


def _answers(document: Mapping[str, Any]) -> list[Any]:
    operations = [operation for methods in document["paths"].values() for operation in methods.values()]
    return [answer for operation in operations for answer in operation["responses"].values()]


def _filters(document: Mapping[str, Any]) -> Iterator[tuple[str, list[Mapping[str, Any]]]]:
    """Yield the filters of each listing: query parameters but cursor, limit and format."""
    for methods in document["paths"].values():
        for operation in methods.values():
            query = [one for one in operation.get("parameters", ()) if one["in"] == "query"]
            names = {one["name"] for one in query}
            if kept := [one for one in query if one["name"] not in ("cursor", "limit", "format")] if "cursor" in names else []:
                yield f"{_camel(operation['operationId'])}Filters", kept


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _reachable(node: Any, schemas: Schemas) -> set[str]:
    """Return the names of all schemas that a part of the document refers to."""
    found: set[str] = set()
    waiting = [node]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            name = str(part.get("$ref", "")).removeprefix(REFERENCE)
            if name and name not in found:
                found.add(name)
                waiting.append(schemas[name])
            waiting.extend(value for key, value in part.items() if key not in ("example", "examples"))
        elif isinstance(part, list):
            waiting.extend(part)
    return found


def _record(name: str, schema: Mapping[str, Any]) -> str:
    lines = [f"class {name}(Record):"]
    if text := schema.get("description"):
        parts = [line.strip() for line in text.splitlines()]
        lines += [f'    """{parts[0]}', *(f"    {part}".rstrip() for part in parts[1:]), '    """'] if parts[1:] else [f'    """{parts[0]}"""']
        lines.append("")
    lines += [f"    {field}_: {_type(kind)}" if field in METHODS else f"    {field}: {_type(kind)}" for field, kind in schema["properties"].items()]
    return "\n".join(lines)


def _query(name: str, parameters: list[Mapping[str, Any]]) -> str:
    fields = [f"    {one['name']}: {_optional(_type(one['schema']))}" for one in parameters]
    return "\n".join([f"class {name}(TypedDict, total=False):", *fields])


def _optional(kind: str) -> str:
    return kind if kind.endswith("None") else f"{kind} | None"


def _type(schema: Mapping[str, Any]) -> str:
    """Return the annotation of a schema; what has no simple one is Any."""
    if "$ref" in schema:
        return str(schema["$ref"]).removeprefix(REFERENCE)
    if "enum" in schema or "const" in schema:
        values = schema["enum"] if "enum" in schema else [schema["const"]]
        return f"Literal[{', '.join(_quoted(value) for value in values)}]"
    if "anyOf" in schema:
        kinds = list(dict.fromkeys(_type(part) for part in schema["anyOf"]))
        return "Any" if "Any" in kinds else " | ".join(kinds)
    kind = schema.get("type")
    if kind == "string":
        return "datetime" if schema.get("format") == "date-time" else "str"
    if kind == "array":
        return f"list[{_type(schema.get('items', {}))}]"
    if kind == "object":
        inner = schema.get("additionalProperties")
        return f"dict[str, {_type(inner) if isinstance(inner, dict) else 'Any'}]"
    return PRIMITIVES.get(str(kind), "Any")


def _quoted(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


def current() -> str:
    """Return the source for the API of this version."""
    with tempfile.TemporaryDirectory() as home:
        return source(create_app(Settings(home=Path(home))).openapi())


if __name__ == "__main__":
    with writing(FILE) as file:
        file.write(current().encode())
