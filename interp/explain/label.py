"""Parse replies into labels.

A reply that is no answer raises ValueError, for a repair turn. One that says that there is no explanation (`unclear`) is an answer, and a failure.
Neither becomes a text.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from interp.llm.base import Message, Schema
from interp.llm.prompt_text import parse_fenced, unmarked
from interp.llm.replies.structured import json_object, last_marker

LONGEST = 400  # characters
ECHO_WORDS = 6  # words in the order of the prompt that are an echo

NO_ANSWERS = frozenset({"unclear", "unknown", "none", "null", "nothing", "n/a", "na", "not applicable", "undetermined", "not clear", "it is unclear"})
_NO_PATTERN = re.compile(
    r"(there is )?no (\w+ )?(explanation|pattern|theme|meaning)( \w+){0,2}|cannot (be )?determined?|(it is )?(unclear|unknown)( to me)?"
)
_BLANK = re.compile(r"[\s.…?–—-]*")
_REFUSAL = re.compile(
    r"(i['’]?m|i am) (sorry|unable|not able)|sorry,|i (cannot|can['’]?t|won['’]?t|will not) (help|assist|comply|provide|do|answer)|as an ai\b", re.I
)
_PLACEHOLDERS = frozenset({"your phrase", "phrase", "the phrase", "explanation", "your explanation", "string"})
_LINE_MARKER = re.compile(r"^[ \t>*#_]*\[?EXPLANATION\]?[*_]*:", re.IGNORECASE | re.MULTILINE)
_PLANTED = re.compile(r"explanation\W{0,4}?[:=]\W*([^\n\t]+)", re.IGNORECASE)
_PLANTED_JSON = re.compile(r'"explanation"\s*:\s*("(?:[^"\\]|\\.)*")', re.IGNORECASE)
_ESCAPE = re.compile(r"\\(?:[nrtbf]|u[0-9a-f]{4})")  # as `interp.llm.prompt_text.escaped` writes control characters
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


@dataclass(frozen=True, slots=True)
class LabelAnswer:
    """A model's label, None where it found none, and its own `words`."""

    label: str | None
    words: str


def schema(reasoning: bool) -> Schema:
    """Return the schema of a reply; `thinking` is first, so it is written first."""
    names = ("thinking", "explanation") if reasoning else ("explanation",)
    properties = {name: {"type": "string"} for name in names}
    return Schema("explanation", {"type": "object", "properties": properties, "required": list(names), "additionalProperties": False})


def typical(reasoning: bool, number: int = 0) -> str:
    """Return a typical reply; it differs per number, as samples of a dry run must."""
    thinking = {"thinking": "The marked tokens are names of methods, each right after a dot. " * 4} if reasoning else {}
    return json.dumps(
        {**thinking, "explanation": f"names of methods right after a dot, where an object's method is called{f' ({number})' if number else ''}"}
    )


def read_label(text: str, messages: Sequence[Message], longest: int = LONGEST) -> LabelAnswer:
    """Return a reply's answer. Raises ValueError(why) for a refusal, echo or copied answer."""
    words = _clean(_answer(text))
    bare = _bare(words)
    if says_nothing(words):
        return LabelAnswer(None, words)
    if bare in _PLACEHOLDERS or _is_echo(bare, messages):
        raise ValueError("its explanation repeats the prompt")
    if _REFUSAL.match(words):
        raise ValueError("its explanation is a refusal")
    if len(words) > longest:
        raise ValueError(f"its explanation has {len(words)} characters, and at most {longest} are wanted")
    if any(planted.startswith(bare) for planted in _planted_in(messages)):
        raise ValueError("its explanation is copied from an answer that stands in the quoted data")
    return LabelAnswer(words, words)


def says_nothing(words: str) -> bool:
    """Return whether a label says that there is no explanation (`unclear`)."""
    bare = _bare(words)
    return bool(bare in NO_ANSWERS or _NO_PATTERN.fullmatch(bare) or _BLANK.fullmatch(words))


def _answer(text: str) -> str:
    """Return a reply's explanation from its JSON, its last marker or its last JSON."""
    try:
        return _explanation(json.loads(text))
    except (json.JSONDecodeError, RecursionError):
        pass
    markers = list(_LINE_MARKER.finditer(text))
    if not markers:
        return _explanation(json_object(text))
    last = markers[-1]
    try:
        return _explanation(json_object(text[last.end() :]))
    except ValueError:
        return last_marker(text[last.start() :], last[0])


def _explanation(answer: Any) -> str:
    found = answer.get("explanation") if isinstance(answer, dict) else None
    if not isinstance(found, str):
        raise ValueError('it has no text under the key "explanation"')
    return found


def _clean(words: str) -> str:
    """Return one line without controls and lone surrogates, which JSON escapes can give."""
    whole = words.encode("utf-8", errors="replace").decode()
    return " ".join(_CONTROL.sub(" ", whole).split())


def _bare(words: str) -> str:
    """Return the words in lower case without outer signs; signs alone stay."""
    return " ".join(re.sub(r"^[\W_]+|[\W_]+$", "", words.casefold()).split()) or words


def _is_echo(bare: str, messages: Sequence[Message]) -> bool:
    """Return whether the prompt contains the words; assistant turns do not count."""
    if len(bare.split()) < ECHO_WORDS:
        return False
    return any(bare in " ".join(unmarked(message.content).casefold().split()) for message in messages if message.role != "assistant")


def _planted_in(messages: Sequence[Message]) -> set[str]:
    """Return all answers in the quoted texts of a prompt."""
    suspects = [message.content for message in messages if message.role == "user" and "explanation" in message.content.lower()]
    return {_bare(planted) for content in suspects for fenced in parse_fenced(content) for planted in _planted(fenced.text)}


def _planted(text: str) -> Iterator[str]:
    """Yield the answers in a quoted text, as it is and with tokens joined."""
    as_shown = _ESCAPE.sub("\n", unmarked(text))
    joined = "".join(line.partition("\t")[0] for line in unmarked(text).split("\n"))
    for reading in dict.fromkeys((as_shown, _ESCAPE.sub("\n", joined))):
        for found in _PLANTED_JSON.finditer(reading):
            try:
                yield _clean(json.loads(found[1], strict=False))
            except json.JSONDecodeError:
                continue
        for found in _PLANTED.finditer(reading):
            yield _clean(found[1])
