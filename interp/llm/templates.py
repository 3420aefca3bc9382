"""Load versioned prompt templates, one readable file each, from a package's `templates` folder.

version: 1
[system]
Task: explain
...
[user]
{{contexts}}
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import get_args

from interp.llm.base import Message, Role

_HEAD = re.compile(r"version: (\d+)\n")
_PART = re.compile(r"^\[([a-z]+)\]\n", re.MULTILINE)
_PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")


@dataclass(frozen=True, slots=True)
class Template:
    """A prompt with `{{placeholders}}`, in named parts; those named by a role are its messages.

    `version` is a number, or of a template that a job brought the digits of its digest.
    """

    name: str
    version: int | str
    parts: tuple[tuple[str, str], ...]

    @property
    def title(self) -> str:
        """Return the name in a prompt's provenance: `contexts@1`."""
        return f"{self.name}@{self.version}"

    def messages(self, **values: str) -> tuple[Message, ...]:
        """Fill the messages' placeholders in one pass, never in filled-in text; raises KeyError."""
        return tuple(Message(role, filled(text, values)) for name, text in self.parts for role in get_args(Role) if role == name)

    def part(self, name: str) -> str:
        """Return a part as in the file, or raise KeyError."""
        return dict(self.parts)[name]


def filled(text: str, values: Mapping[str, str]) -> str:
    """Fill a text's placeholders in one pass; raises KeyError without a value."""
    return _PLACEHOLDER.sub(lambda found: values[found[1]], text)


@cache
def template(package: str, name: str) -> Template:
    """Load `templates/<name>.txt` of a package; raises ValueError where its version is missing.

    A name may hold a folder (`label_first/detect`), which is no part of the template's own name.
    """
    text = (files(package) / "templates" / f"{name}.txt").read_text(encoding="utf-8")
    head = _HEAD.match(text)
    if head is None:
        raise ValueError(f"the template {package}/{name} does not begin with its version")
    parts = _PART.split(text[head.end() :])
    return Template(name.rpartition("/")[2], int(head[1]), tuple(zip(parts[1::2], (part.strip("\n") for part in parts[2::2]), strict=True)))
