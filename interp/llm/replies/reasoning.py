"""Find reasoning in a reply's text, which is draft and never the answer.

Servers without a reasoning parser (and templates that begin the reply with an opening tag) leave it in `content`. The spellings are those of the
reasoning parsers of vLLM and SGLang, and of the models' own chat templates.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from interp.llm.base import TokenChoice


@dataclass(frozen=True, slots=True)
class Spelling:
    """Opening and closing marks of a model family's reasoning, as regular expressions."""

    opens: str
    closes: str


def _tags(name: str) -> Spelling:
    return Spelling(rf"(?i:<{name}>)", rf"(?i:</{name}>)")


SPELLINGS = (
    *(_tags(name) for name in ("think", "thinking", "thought", "thoughts", "reason", "reasoning", "reflection", "scratchpad")),
    _tags("seed:think"),  # Seed-OSS
    _tags("longcat_think"),
    Spelling(r"\[THINK\]", r"\[/THINK\]"),  # Magistral
    Spelling("◁think▷", "◁/think▷"),  # Kimi
    Spelling(r"<\|begin_of_thought\|>", r"<\|end_of_thought\|>"),  # Sky-T1, OpenThinker
    Spelling(r"<\|START_THINKING\|>", r"<\|END_THINKING\|>"),  # Command A
    Spelling(r"<unused94>", r"<unused95>"),  # MedGemma
    Spelling(r"<\|channel>thought\b", r"<channel\|>"),  # Gemma 4
    # gpt-oss (OpenAI's harmony format): channels, of which `final` alone is for the reader.
    Spelling(r"<\|channel\|>(?:analysis|commentary).{0,99}?<\|message\|>", r"<\|channel\|>final.{0,99}?<\|message\|>"),
    Spelling(r"\Aanalysis(?=[A-Z])", r"assistantfinal"),  # the same where its special tokens are left out of the text
    Spelling(r"[Hh]ere is my thought process:", r"[Hh]ere is my response:"),  # Granite
)

_ALTERNATIVES = "|".join(f"(?P<o{place}>{each.opens})|(?P<c{place}>{each.closes})" for place, each in enumerate(SPELLINGS))
_MARK = re.compile(rf"(?=[<\[◁aHh])(?:{_ALTERNATIVES})")  # what marks begin with, looked at first: else each place is compared with all of them
# Every mark contains one of these. Most replies have none, and each is checked: a search for all marks takes a twentieth of a reply's cost.
_HINTS = ("<", "THINK]", "think▷", "assistantfinal", "thought process:", "my response:")
FALSE_STARTS = 1000
_END_OF_MESSAGE = re.compile(r"\s*<\|(?:return|end|call)\|>\s*\Z")
_STRUCTURED = re.compile(r"\s*(?:[{\[]|```)")


def answer_in(text: str) -> str:
    """Return the text without its reasoning, which may be empty or unchanged."""
    spans = reasoning_in(text)
    if not spans:
        return text
    kept, done = [], 0
    for start, stop in spans:
        kept.append(text[done:start])
        done = stop
    kept.append(_END_OF_MESSAGE.sub("", text[done:]))
    return "\n".join(part for part in kept if part.strip()).strip()


def answer_tokens(choices: Sequence[TokenChoice]) -> tuple[TokenChoice, ...]:
    """Return the tokens of a reply that belong to its answer."""
    spans = reasoning_in("".join(choice.token for choice in choices))
    if not spans:
        return tuple(choices)
    kept, at = [], 0
    for choice in choices:
        end = at + len(choice.token)
        if not any(start < end and at < stop for start, stop in spans):
            kept.append(choice)
        at = end
    return tuple(kept)


def reasoning_in(text: str) -> list[tuple[int, int]]:
    """Return [start, stop) of each stretch of reasoning; without a close, to the end.

    A closing mark without an opening one ends reasoning that began with the reply. A mark inside a JSON object is part of it, and an opening mark
    within a line is one that the text mentions.
    """
    if not _may_hold_a_mark(text):
        return []
    quoted = [(start, stop) for start, stop, _ in objects_in(text)]
    spans: list[tuple[int, int]] = []
    opened: tuple[int, str] | None = None
    for mark in _MARK.finditer(text):
        if any(start < mark.start() < stop for start, stop in quoted):
            continue
        kind, after = mark.lastgroup or "", spans[-1][1] if spans else 0
        if opened is not None:
            if kind == f"c{opened[1]}":
                spans.append((opened[0], mark.end()))
                opened = None
        elif kind.startswith("o"):
            if _begins(text, mark.start(), after):
                opened = mark.start(), kind[1:]
        elif _ends_alone(text, mark, after):
            spans = [(0, mark.end())]
    return spans if opened is None else [*spans, (opened[0], len(text))]


def _may_hold_a_mark(text: str) -> bool:
    return text.startswith("analysis") or any(hint in text for hint in _HINTS)


def _begins(text: str, at: int, after: int) -> bool:
    """Return whether a mark begins its line, or the text after earlier reasoning."""
    return not text[max(after, text.rfind("\n", 0, at) + 1) : at].strip()


def _ends_alone(text: str, mark: re.Match[str], after: int) -> bool:
    """Return whether a lone closing mark counts: at a line's edge, or before JSON."""
    line_end = text.find("\n", mark.end())
    rest = text[mark.end() : line_end if line_end >= 0 else len(text)]
    return _begins(text, mark.start(), after) or not rest.strip() or _STRUCTURED.match(text, mark.end()) is not None


def objects_in(text: str) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Yield (start, stop, object) of each outermost JSON object of the text, in order.

    Stops after FALSE_STARTS braces that begin no object, which bounds the time for a text of nothing but braces.
    """
    at, false_starts = text.find("{"), 0
    while at >= 0 and false_starts < FALSE_STARTS:
        try:
            found, end = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            end, false_starts = at + 1, false_starts + 1
        else:
            yield at, end, found
        at = text.find("{", end)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)
