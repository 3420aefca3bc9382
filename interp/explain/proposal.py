"""Define ideas of a feature, texts that test them, and its readings of these."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from interp.domain.cleaning import lines, one_line
from interp.llm.base import Reply, Schema, Usage
from interp.llm.replies.structured import json_object

MOST_IDEAS = 4
# Characters: what is longer is cut, so that a round has a bounded size in prompts, in the subject and in provenance.
LONGEST_IDEA, LONGEST_TEXT = 200, 300
# Tokens of a text that are kept with their activations, around the strongest. A text of rare characters may have several tokens for each.
KEPT_TOKENS = 96
YES_NO = {True: True, False: False, "true": True, "yes": True, "false": False, "no": False}


@dataclass(frozen=True, slots=True)
class ProposedText:
    """A text that tests an idea.

    `idea` is its place, `fires` whether the feature fires in the text if the idea is right; None where the model did not say.
    """

    text: str
    idea: int | None = None
    fires: bool | None = None


@dataclass(frozen=True, slots=True)
class Proposal:
    """A round's ideas and texts, or the reason why there are none.

    `prompt_digest` is that of the question, `calls` are the keys of its calls. `usage` and `cost_usd` are those of the replies that were read, None
    for an unknown price.
    """

    ideas: tuple[str, ...] = ()
    texts: tuple[ProposedText, ...] = ()
    failure: str | None = None
    prompt_digest: str = ""
    calls: tuple[str, ...] = ()
    usage: Usage = field(default_factory=lambda: Usage(0, 0))
    cost_usd: float | None = 0.0

    @property
    def replies(self) -> tuple[Reply, ...]:
        """Return what the replies cost, without their texts."""
        return (Reply("", "stop", self.usage, cost_usd=self.cost_usd),)

    def said(self) -> dict[str, Any]:
        """Return the proposal in the form in which a model gives it."""
        texts = [{"idea": None if one.idea is None else one.idea + 1, "fires": one.fires, "text": one.text} for one in self.texts]
        return {"ideas": list(self.ideas), "texts": texts}


@dataclass(frozen=True, slots=True)
class Reading:
    """A text's tokens with the feature's activations at them, `largest` over the whole text.

    At most `KEPT_TOKENS`, around the strongest.
    """

    tokens: tuple[str, ...]
    activations: tuple[float, ...]
    largest: float

    @classmethod
    def of(cls, tokens: Sequence[str], activations: NDArray[np.floating]) -> "Reading":
        """Return the reading of a text: its tokens, and float [tokens]."""
        first = max(0, int(activations.argmax()) - KEPT_TOKENS // 2) if len(tokens) > KEPT_TOKENS else 0
        first = min(first, max(0, len(tokens) - KEPT_TOKENS))
        part = slice(first, first + KEPT_TOKENS)
        return cls(tuple(tokens[part]), tuple(map(_figure, activations[part].tolist())), _figure(float(activations.max(initial=0))))


@dataclass(frozen=True, slots=True)
class TriedRound:
    """A proposal whose texts the subject has read, or that has none.

    The feature fires above `firing_level`.
    """

    proposal: Proposal
    readings: tuple[Reading, ...] = ()
    firing_level: float = 0.0

    def facts(self) -> dict[str, Any]:
        """Return the round for the provenance, each text with what the feature did in it."""
        texts = [
            {
                "text": one.text,
                "idea": one.idea,
                "expected": one.fires,
                "fires": read.largest > self.firing_level,
                "max": read.largest,
                "tokens": list(read.tokens),
                "activations": list(read.activations),
            }
            for one, read in zip(self.proposal.texts, self.readings, strict=True)
        ]
        of = self.proposal
        return {"ideas": list(of.ideas), "texts": texts, "failure": of.failure, "prompt_digest": of.prompt_digest, "calls": list(of.calls)}


def proposal_of(reply: str, count: int, known: Collection[str] = ()) -> Proposal:
    """Return a reply's ideas and texts, or raise ValueError.

    At most `count` texts, none of them `known`. There must be an idea, and half as many texts as were asked for.
    """
    answer = json_object(reply)
    ideas = _ideas(answer.get("ideas"))
    texts = _texts(answer.get("texts"), len(ideas))
    new = list({one.text: one for one in reversed(texts) if one.text not in known}.values())[::-1]
    if 2 * len(new) < count:
        raise ValueError(f'it has {len(new)} new texts under "texts", and {count} are asked for')
    return Proposal(ideas, tuple(new[:count]))


def schema(count: int) -> Schema:
    """Return the schema of a reply."""
    text = Schema.of("text", {"idea": {"type": "integer"}, "fires": {"type": "boolean"}, "text": {"type": "string"}})
    properties = {"ideas": {"type": "array", "items": {"type": "string"}}, "texts": {"type": "array", "items": text.body}}
    return Schema.of(f"proposal_{count}", properties)


def _figure(value: float) -> float:
    """Return an activation to six digits, which tells all of float16 apart at any scale."""
    return float(f"{value:.6g}")


def _ideas(listed: Any) -> tuple[str, ...]:
    if not isinstance(listed, list):
        raise ValueError('it has no list under "ideas"')
    ideas = (one_line(_whole(idea), LONGEST_IDEA) for idea in listed if isinstance(idea, str))
    found = tuple(dict.fromkeys(idea for idea in ideas if idea))[:MOST_IDEAS]
    if not found:
        raise ValueError('it has no text under "ideas"')
    return found


def _texts(listed: Any, ideas: int) -> list[ProposedText]:
    if not isinstance(listed, list):
        raise ValueError('it has no list under "texts"')
    return [found for each in listed if (found := _text(each, ideas)) is not None]


def _text(given: Any, ideas: int) -> ProposedText | None:
    """Return a listed text; a bare one says nothing of itself."""
    about: dict[str, Any] = given if isinstance(given, dict) else {"text": given}
    text = about.get("text")
    if not isinstance(text, str) or not (cleaned := lines(_whole(text[:LONGEST_TEXT]))).strip():
        return None
    idea, fires = about.get("idea"), about.get("fires")
    place = idea - 1 if isinstance(idea, int) and not isinstance(idea, bool) and 1 <= idea <= ideas else None
    return ProposedText(cleaned, place, YES_NO.get(fires.casefold() if isinstance(fires, str) else fires) if isinstance(fires, bool | str) else None)


def _whole(text: str) -> str:
    """Return the text without lone surrogates, which JSON escapes can give."""
    return text.encode(errors="replace").decode()
