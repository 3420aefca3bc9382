"""Yes/no questions about windows of text, put to a language model k a prompt: `detect` and `fuzz`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from interp.domain.errors import CallFailedError
from interp.judge.incomplete_replies import complete_once
from interp.judge.outcome import AnswerStatus
from interp.judge.prompt_packing import prompts_of
from interp.judge.prompts import template
from interp.judge.verdicts import UNSURE, YES, odds_of, schema_of, verdicts_of
from interp.llm.base import Ability, Model, Prompt, Reply
from interp.llm.gather import gather_all
from interp.llm.prompt_text import FENCE_RULE, fence, fence_label, nonce_of
from interp.llm.replies.structured import ask_for

Question = Literal["detect", "fuzz"]

NO_EXPLANATION = "No explanation is given this time. Answer as well as you can without one."
LEFT_OUT = "The reply left this window out."
ALTERNATIVES = 5
ROOM, ROOM_A_WINDOW = 32, 12


@dataclass(frozen=True, slots=True)
class Window:
    """A text as the judge is to see it (`interp.llm.prompt_text.plain` or `mark`). Windows of one `group` are spread evenly over prompts and places
    in them: give the right answer, and no order tells it."""

    id: str
    text: str
    group: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the judge said of one window: `says` is None where it failed or abstained, `probability` (of a yes) where there are no log-probs.

    `key` addresses the call that answered, or the last one that did not; `failure` is why there is no answer.
    """

    outcome: AnswerStatus
    says: bool | None
    probability: float | None
    key: str | None
    failure: str | None

    @classmethod
    def failed(cls, failure: str, key: str | None = None) -> "Verdict":
        return cls(AnswerStatus.FAILED, None, None, key, failure)


async def ask_windows(
    model: Model, kind: Question, label: str | None, windows: Sequence[Window], seed: int, per_prompt: int, sample: int = 0
) -> list[Verdict]:
    """One verdict a window, in their order, whatever prompt they stood in. `label` None asks without an explanation.

    The same windows, seed and `per_prompt` give the same prompts but for the label, so that two labels are judged alike. Windows that a reply
    leaves out are asked about again: many of them in one more turn, and what is still missing alone. A call that failed is a failure of its windows,
    with the reason, but for those that halves of it answer. Raises JobMustPause.
    """
    prompts = prompts_of([window.group for window in windows], per_prompt, seed)
    answers = await gather_all(_ask(model, kind, label, [windows[place] for place in prompt], sample) for prompt in prompts)
    found = {place: verdict for prompt, verdicts in zip(prompts, answers, strict=True) for place, verdict in zip(prompt, verdicts, strict=True)}
    return [found[place] for place in range(len(windows))]


def prompt_of(kind: Question, label: str | None, texts: Sequence[str], sample: int = 0, with_odds: bool = False) -> Prompt:
    """The question about these texts, numbered from 1 in their order."""
    wording = template(kind)
    nonce = nonce_of([*texts, label or ""])
    messages = wording.messages(
        fence_rule=FENCE_RULE,
        explanation=told(label, nonce),
        contexts=fence([(str(number), text) for number, text in enumerate(texts, start=1)], nonce),
    )
    return Prompt(
        messages=messages,
        template=wording.title,
        typical=_typical(len(texts)),
        max_tokens=ROOM + ROOM_A_WINDOW * len(texts),
        schema=schema_of(len(texts)),
        top_logprobs=ALTERNATIVES if with_odds else 0,
        sample=sample,
    )


def told(label: str | None, nonce: str) -> str:
    """What a prompt says of the explanation under test."""
    return NO_EXPLANATION if label is None else f"What the feature reacts to:\n{fence_label(label, nonce)}"


@cache
def _typical(count: int) -> str:
    return "{" + ", ".join(f'"{number}": "no"' for number in range(1, count + 1)) + "}"


async def _ask(model: Model, kind: Question, label: str | None, windows: Sequence[Window], sample: int) -> list[Verdict]:
    """Verdicts of one prompt's windows, whatever it takes."""
    said = await _ask_once(model, kind, label, windows, sample)
    return await _ask_apart(model, kind, label, windows, sample, said) if isinstance(said, CallFailedError) else said


async def _ask_apart(
    model: Model, kind: Question, label: str | None, windows: Sequence[Window], sample: int, error: CallFailedError
) -> list[Verdict]:
    """After a prompt that failed: one window may be to blame, that the model refuses to read or that is too long, and the others need not suffer.

    Its halves are asked apart, and the half that fails is halved again. Where both fail it is no one window's doing, and all of them fail.
    """
    middle = len(windows) // 2
    halves = [windows[:middle], windows[middle:]] if middle else []
    said = await gather_all(_ask_once(model, kind, label, half, sample) for half in halves)
    if all(isinstance(each, CallFailedError) for each in said):
        keys = error.details.get("calls") or [None]
        return [Verdict.failed(str(error), keys[-1])] * len(windows)
    apart = [
        await _ask_apart(model, kind, label, half, sample, each) if isinstance(each, CallFailedError) else each
        for half, each in zip(halves, said, strict=True)
    ]
    return [verdict for part in apart for verdict in part]


async def _ask_once(model: Model, kind: Question, label: str | None, windows: Sequence[Window], sample: int) -> list[Verdict] | CallFailedError:
    """One prompt. A reply that leaves many windows out is asked for them once more; those still left out follow, each in a prompt of its own."""
    count = len(windows)
    prompt = prompt_of(kind, label, [window.text for window in windows], sample, Ability.LOGPROBS in model.abilities)
    try:
        read = await ask_for(model, prompt, complete_once(lambda text: verdicts_of(text, count), lambda found: _left_out(found, count)))
    except CallFailedError as error:
        return error
    found = _verdicts(read.replies, count)
    left_out = _left_out(found, count)
    if left_out and count > 1:
        again = await gather_all(_ask(model, kind, label, [windows[number - 1]], sample) for number in left_out)
        found |= {number: verdict for number, (verdict,) in zip(left_out, again, strict=True)}
    return [found.get(number, Verdict.failed(LEFT_OUT, read.reply.key)) for number in range(1, count + 1)]


def _left_out(found: Mapping[int, object], count: int) -> list[int]:
    return [number for number in range(1, count + 1) if number not in found]


def _verdicts(replies: Sequence[Reply], count: int) -> dict[int, Verdict]:
    """The verdicts by number, each from the last reply that has it: a repair need not repeat what was read before."""
    found: dict[int, Verdict] = {}
    for reply in replies:
        if reply.finish != "stop":
            continue
        try:
            words = verdicts_of(reply.text, count)
        except ValueError:
            continue
        odds = odds_of(reply.choices, count)
        found |= {number: _verdict(word, odds.get(number), reply.key) for number, word in words.items()}
    return found


def _verdict(word: str, odds: float | None, key: str) -> Verdict:
    if word == UNSURE:
        return Verdict(AnswerStatus.ABSTAINED, None, odds, key, "The judge is unsure.")
    return Verdict(AnswerStatus.ANSWERED, word == YES, odds, key, None)
