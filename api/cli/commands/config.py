"""`glossator config`: print every setting by group, with value, unit and source."""

import os
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import typer
from pydantic import AliasChoices, BaseModel, SecretStr
from pydantic.fields import FieldInfo
from rich.text import Text

from api.cli.output.console import out, print_json
from interp.config.environment import variable_of, without_password
from interp.config.groups import GROUPS
from interp.config.settings import Settings, settings

UNITS = ("seconds", "days", "bytes", "features")
HIDDEN = "***"


@dataclass(frozen=True, slots=True)
class ShownSetting:
    """A printed setting; `value` holds no secret, `source` is environment or default."""

    group: str
    variable: str
    value: Any
    unit: str | None
    source: str
    description: str


def config(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show all settings by group: value, unit, and where the value comes from.

    Secrets are hidden.
    """
    given = {name.upper() for name, value in os.environ.items() if value}
    found = settings()
    shown = [_shown(found, group, name, field, given) for group in GROUPS for name, field in group.model_fields.items()]
    if as_json:
        print_json([asdict(each) for each in shown])
        return
    for group in dict.fromkeys(each.group for each in shown):
        out.print(Text(group, "bold"))
        for each in (each for each in shown if each.group == group):
            value = "not given" if each.value is None else "empty" if each.value in ("", [], {}) else str(each.value)
            unit = f" {each.unit}" if each.unit and each.value is not None else ""
            out.print(Text(f"  {each.variable}={value}{unit}") + Text(f"  ({each.source})", "dim"), soft_wrap=True)


def _shown(found: Settings, group: type[BaseModel], name: str, field: FieldInfo, given: set[str]) -> ShownSetting:
    alias = field.validation_alias
    variables = [str(choice) for choice in alias.choices] if isinstance(alias, AliasChoices) else [variable_of(name)]
    unit = next((unit for unit in UNITS if name.endswith(f"_{unit}")), None)
    source = "environment" if given & set(variables) else "default"
    title = str(group.__doc__).partition(".")[0]
    return ShownSetting(title, variable_of(name), _value(found, name), unit, source, str(field.description))


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
