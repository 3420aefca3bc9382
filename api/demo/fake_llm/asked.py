"""Parse the questions in Glossator's prompts; text between fences is data only."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from interp.llm.prompt_text import BEGIN, CLOSE, LEVEL, OPEN, parse_fenced

TASK = re.compile(r"\s*Task: *(\w+)")
NUMBERED = re.compile(r"(\d+)\t(.*)")
MARK = re.compile(rf"{OPEN}|(?:{LEVEL}\d+)?{CLOSE}|{BEGIN}")

ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|[ntrbf])")
CONTROLS = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}

Span = tuple[int, int, float]


@dataclass(frozen=True)
class FencedText:
    """A fenced text as shown; `kind` is its fence's: `context`, `silent`, `promoted`, ..."""

    id: str
    shown: str
    kind: str = "context"

    @cached_property
    def text(self) -> str:
        """Return the text without marks."""
        return MARK.sub("", self.shown)

    @cached_property
    def begin(self) -> int:
        """Return where the window begins in `text`, after its left context."""
        before, sign, _ = self.shown.partition(BEGIN)
        return len(MARK.sub("", before)) if sign else 0

    @cached_property
    def marks(self) -> list[tuple[int, int]]:
        """Return the marked spans of `text`."""
        found, open_at, removed = [], None, 0
        for match in MARK.finditer(self.shown):
            place = match.start() - removed
            removed += len(match[0])
            if match[0] == OPEN:
                open_at = place
            elif match[0] != BEGIN and open_at is not None:
                found.append((open_at, place))
                open_at = None
        return found

    @cached_property
    def lines(self) -> list[tuple[int, str]]:
        """Return (number, token) of each line, if the context is shown as numbered tokens."""
        matches = [NUMBERED.fullmatch(line) for line in self.shown.split("\n")]
        return [(int(match[1]), unescaped(match[2])) for match in matches if match]


def unescaped(token: str) -> str:
    """Return a token before `interp.llm.prompt_text.escaped` put it in one line."""
    return ESCAPE.sub(lambda match: CONTROLS.get(match[1]) or chr(int(match[1][1:], 16)), token)


@dataclass(frozen=True, slots=True)
class ScriptedQuestion:
    """A parsed question: `contexts` of the last message with any, `all_texts` of all messages.

    `schema` is the JSON schema of the reply. `key` is the same for the same messages.
    """

    kind: str
    label: str | None
    contexts: tuple[FencedText, ...]
    all_texts: tuple[FencedText, ...]
    system: str
    schema: dict[str, Any] | None
    key: str

    @property
    def fields(self) -> tuple[str, ...]:
        """Return the keys of the schema's properties."""
        return tuple(self.schema.get("properties", {})) if self.schema else ()


def question(messages: Sequence[tuple[str, str]], response_format: dict[str, Any], key: str) -> ScriptedQuestion:
    """Parse (role, text) messages: kind from the system message, question from the last fences."""
    system = "\n".join(text for role, text in messages if role in ("system", "developer"))
    task = TASK.match(system)
    asked = [found for role, text in messages if role == "user" and (found := parse_fenced(text))]
    labels = [part.text for part in (asked[-1] if asked else []) if part.kind == "explanation"]
    texts = [tuple(FencedText(part.id, part.text, part.kind) for part in parts if part.kind != "explanation") for parts in asked]
    contexts = tuple(shown for shown in texts[-1] if shown.kind == "context") if texts else ()
    schema = response_format.get("json_schema", {}).get("schema") if response_format.get("type") == "json_schema" else None
    all_texts = tuple(shown for parts in texts for shown in parts)
    return ScriptedQuestion(task[1] if task else "", labels[-1] if labels else None, contexts, all_texts, system, schema, key)
