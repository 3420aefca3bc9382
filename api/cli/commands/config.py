"""`glossator config`: print every setting by group, with value, unit and source."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import typer
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from rich.text import Text

from api.cli.output.console import out, print_json
from interp.config import settings_file
from interp.config.environment import variable_of, without_password
from interp.config.groups import GROUPS
from interp.config.settings import Settings, settings, variables

UNITS = ("seconds", "days", "bytes", "features")
HIDDEN = "***"


@dataclass(frozen=True, slots=True)
class ShownSetting:
    """A printed setting; `value` holds no secret.

    `source` is default, file, environment or command line, and `place` the variable, or the file and line.
    """

    group: str
    variable: str
    value: Any
    unit: str | None
    source: str
    place: str | None
    description: str


def config(context: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show all settings by group: value, unit, and where the value comes from.

    Secrets are hidden.
    """
    # Settings take secrets out of the environment.
    environment = {name.upper(): value for name, value in os.environ.items()}
    found = settings()
    sources = _sources(environment, context.find_root().params.get("config") is not None)
    shown = [_shown(found, group, name, field, sources) for group in GROUPS for name, field in group.model_fields.items()]
    if as_json:
        print_json([asdict(each) for each in shown])
        return
    for group in dict.fromkeys(each.group for each in shown):
        out.print(Text(group, "bold"))
        for each in (each for each in shown if each.group == group):
            value = "not given" if each.value is None else "empty" if each.value in ("", [], {}) else str(each.value)
            unit = f" {each.unit}" if each.unit and each.value is not None else ""
            out.print(Text(f"  {each.variable}={value}{unit}") + Text(f"  ({_origin(each)})", "dim"), soft_wrap=True)


def _sources(environment: Mapping[str, str], is_config_given: bool) -> dict[str, tuple[str, str | None]]:
    """Return source and place of each setting that has no default's value."""
    file = settings_file.read(environment, variables())
    sources: dict[str, tuple[str, str | None]] = {name: ("file", file.place(name)) for name in file.values}
    if file.path is not None:
        sources["config"] = ("file", None)
    for name, choices in variables().items():
        if given := next((variable for variable in choices if environment.get(variable.upper())), None):
            sources[name] = ("environment", given)
    if is_config_given:
        sources["config"] = ("command line", "--config")
    return sources


def _origin(each: ShownSetting) -> str:
    return each.source if each.place in (None, each.variable) else f"{each.source} {each.place}"


def _shown(found: Settings, group: type[BaseModel], name: str, field: FieldInfo, sources: Mapping[str, tuple[str, str | None]]) -> ShownSetting:
    unit = next((unit for unit in UNITS if name.endswith(f"_{unit}")), None)
    source, place = sources.get(name, ("default", None))
    title = str(group.__doc__).partition(".")[0]
    return ShownSetting(title, variable_of(name), _value(found, name), unit, source, place, str(field.description))


def _value(found: Settings, name: str) -> Any:
    """Return the value for JSON, without passwords and keys."""
    value = getattr(found, name)
    if name == "roots":
        return [str(root) for root in found.allowed_roots]
    if isinstance(value, SecretStr):
        return HIDDEN if value.get_secret_value() else ""
    if isinstance(value, dict):
        return dict.fromkeys(value, HIDDEN)
    if isinstance(value, tuple):
        return [without_password(str(each)) for each in value]
    return value if value is None or isinstance(value, bool | int | float) else without_password(str(value))
