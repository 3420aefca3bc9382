"""Prompt templates: one readable file each, with its version, in `interp/score/templates`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from interp.llm.base import Message, Role

_HEAD = re.compile(r"version: (\d+)\n")
_PART = re.compile(r"^\[(system|user)\]\n", re.MULTILINE)
_HOLE = re.compile(r"\{\{(\w+)\}\}")


@dataclass(frozen=True, slots=True)
class Template:
    """The messages of a prompt with `{{holes}}`."""

    name: str
    version: int
    parts: tuple[tuple[Role, str], ...]

    @property
    def title(self) -> str:
        """What a call's provenance names it by: `simulate@1`."""
        return f"{self.name}@{self.version}"

    def messages(self, **values: str) -> tuple[Message, ...]:
        """The prompt with its holes filled, all in one pass: a hole that stands in a filled-in text stays text. Raises KeyError on an unknown one."""
        return tuple(Message(role, filled(text, values)) for role, text in self.parts)


def filled(text: str, values: Mapping[str, str]) -> str:
    return _HOLE.sub(lambda hole: values[hole[1]], text)


@cache
def template(name: str) -> Template:
    """The template of that name: a line `version: n`, then `[system]` and `[user]` parts."""
    text = (files("interp.score") / "templates" / f"{name}.txt").read_text(encoding="utf-8")
    head = _HEAD.match(text)
    if head is None:
        raise ValueError(f"the template {name} does not begin with its version")
    texts = _PART.split(text[head.end() :])
    roles: tuple[Role, ...] = tuple(texts[1::2])  # type: ignore[arg-type]
    return Template(name, int(head[1]), tuple(zip(roles, (part.strip("\n") for part in texts[2::2]), strict=True)))
