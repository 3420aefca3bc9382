"""From a reply to a label: what counts as an explanation, and what is none.

A reply that is no answer raises ValueError, and is asked for again; one that says there is nothing to say (`unclear`) is an answer, and a failure.
Neither ever becomes a text.
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
ECHO_WORDS = 6  # so many words in the prompt's own order are no coincidence

SHRUGS = frozenset({"unclear", "unknown", "none", "null", "nothing", "n/a", "na", "not applicable", "undetermined", "not clear", "it is unclear"})
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
    """What a model answered: a label, or (None) that there is none, in its own `words`."""

    label: str | None
    words: str


def schema(reasoning: bool) -> Schema:
    """Of a reply that explains; with `thinking` before, so that it is written before."""
    names = ("thinking", "explanation") if reasoning else ("explanation",)
    properties = {name: {"type": "string"} for name in names}
    return Schema("explanation", {"type": "object", "properties": properties, "required": list(names), "additionalProperties": False})


def typical(reasoning: bool, number: int = 0) -> str:
    """A reply of usual shape and length; with a number another label, so that a dry run of several askings makes as many labels."""
    thinking = {"thinking": "The marked tokens are names of methods, each right after a dot. " * 4} if reasoning else {}
    return json.dumps(
        {**thinking, "explanation": f"names of methods right after a dot, where an object's method is called{f' ({number})' if number else ''}"}
    )


def read_label(text: str, messages: Sequence[Message], longest: int = LONGEST) -> LabelAnswer:
    """The answer in a reply to `messages`. Raises ValueError(why) where the reply is none: a refusal, an echo of the prompt, a copied answer."""
    words = _clean(_answer(text))
    bare = _bare(words)
    if bare in SHRUGS or _NO_PATTERN.fullmatch(bare) or _BLANK.fullmatch(words):
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


def _answer(text: str) -> str:
    """The explanation of a reply: of the JSON object that the reply is, else what comes after the last marker, else of the last JSON object."""
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
    """One line of characters that can be stored and shown: half a surrogate pair or a NUL can come out of a JSON escape."""
    whole = words.encode("utf-8", errors="replace").decode()
    return " ".join(_CONTROL.sub(" ", whole).split())


def _bare(words: str) -> str:
    """A text to compare by: lower case, single spaces, word characters at its ends; as it is where it has none, since "`(`" is a label."""
    return " ".join(re.sub(r"^[\W_]+|[\W_]+$", "", words.casefold()).split()) or words


def _is_echo(bare: str, messages: Sequence[Message]) -> bool:
    """Whether the words stand in the prompt as they are. An earlier answer of the model's own may be repeated."""
    if len(bare.split()) < ECHO_WORDS:
        return False
    return any(bare in " ".join(unmarked(message.content).casefold().split()) for message in messages if message.role != "assistant")


def _planted_in(messages: Sequence[Message]) -> set[str]:
    """All that the quoted texts of a prompt would answer."""
    suspects = [message.content for message in messages if message.role == "user" and "explanation" in message.content.lower()]
    return {_bare(planted) for content in suspects for fenced in parse_fenced(content) for planted in _planted(fenced.text)}


def _planted(text: str) -> Iterator[str]:
    """What a quoted text would answer, if it were taken for a reply: read as it stands, and lists of tokens as the text that they came from too."""
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
