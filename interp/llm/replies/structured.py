"""Get structured replies: JSON from text, one repair turn, new samples, else a failure."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from interp.domain.errors import CallFailedError, RefusalError, ReplyInvalidError, ReplyTruncatedError
from interp.llm.base import Message, Model, Prompt, Reply
from interp.llm.replies.reasoning import answer_in, objects_in

T = TypeVar("T")

MAX_ASKS = 6
MAX_REFUSALS = 3
MAX_WIDENINGS = 2
SAMPLE_STRIDE = 1000  # callers number their own samples from 0; new tries of one must not be another
FRESH_TEMPERATURE = 0.5  # at 0 a second try would repeat the first
MAX_QUOTE = 4000


@dataclass(frozen=True, slots=True)
class Read(Generic[T]):
    """A parsed value, and all replies up to the one that holds it."""

    value: T
    replies: tuple[Reply, ...]

    @property
    def reply(self) -> Reply:
        return self.replies[-1]

    @property
    def calls(self) -> list[str]:
        """Return the keys of the recorded calls."""
        return [reply.key for reply in self.replies]


async def ask_for(model: Model, prompt: Prompt, parse: Callable[[str], T]) -> Read[T]:
    """Ask until `parse` returns a value; it raises ValueError(why) where the text is no answer.

    Six asks in all: as given; once more with the reply and what is wrong with it; then new samples. A reply that was cut short is asked again with
    twice the tokens, twice, or sampled anew where the model's settings fix the tokens; a refusal is sampled anew three times; an invalid reply is
    never parsed, and sampled anew. Raises ReplyTruncatedError, RefusalError, ReplyInvalidError, and what `Model.ask` raises; `details["calls"]` of a
    CallFailedError holds the keys of all calls made.
    """
    replies: list[Reply] = []
    fixed = model.provenance.get("max_tokens")
    question, fresh, refusals, widenings, wrong = prompt, 0, 0, 0, ""
    while len(replies) < MAX_ASKS:
        reply = await _asked(model, question, replies)
        replies.append(reply)
        if reply.finish == "length":
            if widenings == MAX_WIDENINGS:
                raise _failure(ReplyTruncatedError, prompt, replies, _cut_short(question, fixed))
            widenings += 1
            if fixed is None:
                question = replace(question, max_tokens=2 * question.max_tokens)
            else:
                fresh += 1
                question = _fresh(prompt, fresh, question.max_tokens)
            continue
        if reply.finish == "stop":
            try:
                return Read(parse(reply.text), tuple(replies))
            except ValueError as error:
                wrong = reply.reason or str(error)
            if question.messages == prompt.messages and fresh == 0:
                question = _repair(question, reply, wrong)
                continue
        elif reply.finish == "invalid":
            wrong = reply.reason
        elif refusals == MAX_REFUSALS:
            raise _failure(RefusalError, prompt, replies, f"The model refused {refusals + 1} times{f': {reply.reason}' if reply.reason else ''}.")
        else:
            refusals += 1
        fresh += 1
        question = _fresh(prompt, fresh, question.max_tokens)
    raise _failure(ReplyInvalidError, prompt, replies, f"None of {len(replies)} replies could be read: {wrong or 'the model refused'}.")


async def _asked(model: Model, question: Prompt, before: list[Reply]) -> Reply:
    try:
        return await model.ask(question)
    except CallFailedError as error:
        error.details["calls"] = [reply.key for reply in before] + list(error.details.get("calls", []))
        error.details["template"] = question.template
        raise


def _repair(question: Prompt, reply: Reply, wrong: str) -> Prompt:
    """Return the question with its faulty reply, which most models repair in one turn."""
    turn = (
        Message("assistant", reply.text[:MAX_QUOTE] or "(nothing)"),
        Message("user", f"That reply cannot be used: {wrong}. Answer the question again, in the form it asks for, and with nothing else."),
    )
    return replace(question, messages=(*question.messages, *turn))


def _fresh(prompt: Prompt, number: int, max_tokens: int) -> Prompt:
    return replace(
        prompt, sample=prompt.sample + SAMPLE_STRIDE * number, temperature=max(prompt.temperature, FRESH_TEMPERATURE), max_tokens=max_tokens
    )


def _cut_short(question: Prompt, fixed: int | None) -> str:
    what = f"The reply was still cut short with room for {fixed or question.max_tokens} tokens"
    return f"{what}." if fixed is None else f"{what}, which max_tokens of the model's settings fixes."


def _failure(kind: type[CallFailedError], prompt: Prompt, replies: list[Reply], what: str) -> CallFailedError:
    return kind(what, calls=[reply.key for reply in replies], template=prompt.template)


def json_object(text: str) -> dict[str, Any]:
    """Return a reply's last outermost JSON object, or raise ValueError.

    Reasoning in the reply does not count (`interp.llm.replies.reasoning`).
    """
    found = [value for _, _, value in objects_in(answer_in(text))]
    if not found:
        raise ValueError("it holds no JSON object")
    return found[-1]


def last_marker(text: str, marker: str) -> str:
    """Return the line after the last (unquoted) occurrence of a marker, or raise ValueError."""
    _, found, rest = answer_in(text).rpartition(marker)
    lines = [line.strip().strip("*").strip() for line in rest.splitlines()]
    answer = next((line for line in lines if line), "")
    if not found or not answer:
        raise ValueError(f"it has no text after {marker}")
    return answer
