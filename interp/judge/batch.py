"""Ask about several items per prompt, and recover items without an answer."""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from interp.domain.errors import CallFailedError
from interp.judge.verdicts import Verdict
from interp.llm.base import Model, Prompt, Reply
from interp.llm.gather import gather_all
from interp.llm.replies.structured import ask_for

Item = TypeVar("Item")
Parsed = TypeVar("Parsed")
Answer = TypeVar("Answer")

LEFT_OUT = "The reply left this window out."
# At most this many missing answers are asked for one by one. For more, the reply is repaired first: a prompt costs more than a repair turn.
MAX_ASKED_ALONE = 2


@dataclass(frozen=True, slots=True)
class BatchQuestion(Generic[Item, Parsed, Answer]):
    """One question about several items, with its prompt and its reply parser.

    `parse` returns the answers of a reply by the item's number, from 1. It raises ValueError where there is none.
    """

    model: Model
    prompt_of: Callable[[Sequence[Item]], Prompt]
    parse: Callable[[str, Sequence[Item]], Mapping[int, Parsed]]
    verdicts_of: Callable[[Mapping[int, Parsed], Reply], Mapping[int, Verdict[Answer]]]

    async def ask(self, items: Sequence[Item]) -> list[Verdict[Answer]]:
        """Return a verdict per item, if possible from one prompt. Raises JobPausedError.

        Items that a reply leaves out are asked about again: many of them in a repair turn, and those still missing each in a prompt of its own. A
        failed prompt is bisected.
        """
        return await bisect(self._ask_once, items, failed_verdict)

    async def _ask_once(self, items: Sequence[Item]) -> list[Verdict[Answer]] | CallFailedError:
        try:
            read = await ask_for(self.model, self.prompt_of(items), self._complete_once(items))
        except CallFailedError as error:
            return error
        found = self._merged(read.replies[:-1], items) | {**self.verdicts_of(read.value, read.reply)}
        missing = _missing(found, items) if len(items) > 1 else []
        alone = await gather_all(self.ask([items[number - 1]]) for number in missing)
        found |= {number: verdict for number, (verdict,) in zip(missing, alone, strict=True)}
        return [found.get(number, Verdict.failed(LEFT_OUT, read.reply.key)) for number in range(1, len(items) + 1)]

    def _complete_once(self, items: Sequence[Item]) -> Callable[[str], Mapping[int, Parsed]]:
        """Return a parser that rejects a first reply with many missing answers, for a repair."""
        is_first = True

        def read(text: str) -> Mapping[int, Parsed]:
            nonlocal is_first
            was_first, is_first = is_first, False
            found = self.parse(text, items)
            missing = [str(number) for number in _missing(found, items)]
            if was_first and len(missing) > MAX_ASKED_ALONE:
                raise ValueError(f"it has no readable answer under {', '.join(missing)}")
            return found

        return read

    def _merged(self, replies: Sequence[Reply], items: Sequence[Item]) -> dict[int, Verdict[Answer]]:
        """Return the verdicts by number, each from the last reply that has it."""
        found: dict[int, Verdict[Answer]] = {}
        for reply in replies:
            try:
                parsed = self.parse(reply.text, items) if reply.finish == "stop" else {}
            except ValueError:
                continue
            found |= self.verdicts_of(parsed, reply)
        return found


async def bisect(
    ask: Callable[[Sequence[Item]], Coroutine[Any, Any, list[Answer] | CallFailedError]],
    items: Sequence[Item],
    failed: Callable[[CallFailedError], Answer],
) -> list[Answer]:
    """Return an answer per item, halving the prompts that fail.

    `ask` sends one prompt about several items and returns a failure as a value. `failed` makes an answer of it. One item may cause the failure, since
    the model refuses it or it is too long. So the halves of a failed prompt are asked separately, and a failed half is halved again. Where both
    halves fail, all fail: a model that refuses everything is not asked item by item.
    """

    async def halved(part: Sequence[Item], error: CallFailedError) -> list[Answer]:
        middle = len(part) // 2
        halves = [part[:middle], part[middle:]] if middle else []
        answers = await gather_all(ask(half) for half in halves)
        if all(isinstance(answer, CallFailedError) for answer in answers):
            return [failed(error)] * len(part)
        found: list[Answer] = []
        for half, answer in zip(halves, answers, strict=True):
            found += await halved(half, answer) if isinstance(answer, CallFailedError) else answer
        return found

    answer = await ask(items)
    return await halved(items, answer) if isinstance(answer, CallFailedError) else answer


def failed_verdict(error: CallFailedError) -> Verdict[Any]:
    """Return the verdict of a failed call, with its last attempt's key."""
    keys = error.details.get("calls") or [None]
    return Verdict.failed(str(error), keys[-1])


async def ask_prompts(
    asks: Sequence[Callable[[Sequence[Item]], Coroutine[Any, Any, list[Answer]]]], items: Sequence[Item], prompts: Sequence[Sequence[int]]
) -> list[list[Answer]]:
    """Return the answers [E][N] of E questions about N items, in `prompts` of item places.

    All questions about one prompt's items go out together, so that an engine's cache still holds what they begin with.
    """
    answers = await gather_all(ask([items[place] for place in prompt]) for prompt in prompts for ask in asks)
    return [_in_order(prompts, answers[number :: len(asks)]) for number in range(len(asks))]


def _in_order(prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[Answer]]) -> list[Answer]:
    """Return the answers of `prompts`, each item's at its place."""
    found = {place: answer for prompt, part in zip(prompts, answers, strict=True) for place, answer in zip(prompt, part, strict=True)}
    return [found[place] for place in range(len(found))]


def _missing(found: Mapping[int, object], items: Sequence[object]) -> list[int]:
    return [number for number in range(1, len(items) + 1) if number not in found]
