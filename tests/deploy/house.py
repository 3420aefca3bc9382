"""What deployment files may name: the repository's own commands, settings, metrics and packages."""

import re
import tomllib
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import click
import typer
from packaging.requirements import Requirement

from api.cli import app
from interp.config.settings import Settings

ROOT = Path(__file__).parents[2]
# Read by libraries, not by us.
FOREIGN = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "HF_HOME"}


def is_setting(variable: str) -> bool:
    """Whether an environment variable is one that somebody reads."""
    return variable in FOREIGN or variable.removeprefix("GLOSSATOR_").lower() in Settings.model_fields


def parse_command(words: list[str]) -> None:
    """Reads `glossator ...` as the command line would, and runs nothing. Raises click's own errors."""
    assert words[0] == "glossator", words
    command: Any = typer.main.get_command(app)
    rest = words[1:]
    context = click.Context(command)
    while hasattr(command, "commands"):
        assert rest, f"{words} names no command"
        assert rest[0] in command.commands, f"there is no command {' '.join(words)}"
        command, rest = command.commands[rest[0]], rest[1:]
    command.make_context(words[-1], rest, parent=context)


def packages(*extras: str) -> set[str]:
    """Everything that installing glossator with these extras brings, from the metadata of what is installed here."""
    found: set[str] = set()
    open_: list[tuple[str, tuple[str, ...]]] = [("glossator", extras)]
    while open_:
        name, wanted = open_.pop()
        for line in own_requirements() if name == "glossator" else requires(name) or ():
            need = Requirement(line)
            applies = need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in (*wanted, ""))
            if applies and need.name.lower() not in found:
                found.add(need.name.lower())
                open_.append((need.name, tuple(need.extras)))
    return found


def own_requirements() -> list[str]:
    """Requirements of this package, as its metadata will have them once it is installed."""
    declared = project()["project"]
    extras = [f"{line} ; extra == '{extra}'" for extra, lines in declared["optional-dependencies"].items() for line in lines if ";" not in line]
    marked = [f"{line} and extra == '{extra}'" for extra, lines in declared["optional-dependencies"].items() for line in lines if ";" in line]
    return [*declared["dependencies"], *extras, *marked]


def dockerfile_targets() -> dict[str, str]:
    """Stages of the Dockerfile by name, each with the text of its own lines and of those that it builds on."""
    stages: dict[str, str] = {}
    for stage in re.split(r"(?m)^(?=FROM )", (ROOT / "Dockerfile").read_text())[1:]:
        first = re.match(r"FROM (\S+) AS (\S+)", stage)
        assert first is not None, stage
        stages[first[2]] = stages.get(first[1], "") + stage
    return stages


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())
