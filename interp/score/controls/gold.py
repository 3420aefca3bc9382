"""Ask questions of known answer, to measure the judge's error rates."""

import re
from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from interp.domain.evidence import Contexts
from interp.domain.score import ControlResult
from interp.domain.spec import PromptOrder
from interp.domain.vocabulary import Vocabulary
from interp.judge.verdicts import AnswerStatus
from interp.judge.yes_no import Question, Window, ask_windows
from interp.llm.base import Model
from interp.llm.prompt_text import mark, pieces, shown

_WORD = re.compile(r"[^\W\d_]{3,}")
LABELS = {"detect": 'the text contains the word "{word}"', "fuzz": 'the word "{word}"'}
NO_WORD = "No word stands in some of the test windows and is absent from others, so that nothing is plainly known of them."


def gold_of(kind: Question, contexts: Contexts, vocabulary: Vocabulary, count: int, seed: int) -> tuple[str, list[Window]] | None:
    """Return a label and at most `count` windows: half true (group 1), half false (0).

    The label is about one word of the feature's own test windows, drawn by seed. None where no word divides the windows. A word is present where it
    stands by itself, as written. It is absent where its letters occur nowhere, in any case. Other windows are not asked about. For fuzz the word's
    own tokens are marked in true windows, and as many other tokens in false ones.
    """
    random = np.random.default_rng(seed)
    # One row per window, in an order that does not depend on that of the contexts.
    rows = np.unique(contexts.identities(), return_index=True)[1].tolist()
    texts = [_Text.of(contexts, row, vocabulary) for row in rows]
    word = _drawn_word(texts, count, random)
    if word is None:
        return None
    present, absent = _split(texts, word)
    half = max(1, count // 2)
    right = [present[place] for place in random.permutation(len(present))[:half]]
    wrong = [absent[place] for place in random.permutation(len(absent))[: count - len(right)][: half + count % 2]]
    windows = [Window(_shown(kind, text, text.marks_of(word)), 1) for text in right]
    for place, text in enumerate(wrong, start=len(right)):
        wanted = int(right[place % len(right)].marks_of(word).sum())
        windows.append(Window(_shown(kind, text, text.other_marks(wanted, random)), 0))
    return LABELS[kind].format(word=word), windows


async def ask_gold(
    model: Model,
    kind: Question,
    gold: tuple[str, list[Window]] | None,
    seed: int,
    per_prompt: int,
    order: PromptOrder,
    wording: str | None = None,
) -> ControlResult:
    """Return the share of right answers, with counts for the judge's error rates."""
    if gold is None:
        return ControlResult("gold", None, reason=NO_WORD)
    label, windows = gold
    verdicts = await ask_windows(model, kind, label, windows, seed, per_prompt, order, wording=wording)
    pairs = [(bool(window.group), verdict.value) for window, verdict in zip(windows, verdicts, strict=True)]
    counts = {
        "tp": pairs.count((True, True)),
        "fn": pairs.count((True, False)),
        "tn": pairs.count((False, False)),
        "fp": pairs.count((False, True)),
        "failed": sum(verdict.status == AnswerStatus.FAILED for verdict in verdicts),
        "abstained": sum(verdict.status == AnswerStatus.ABSTAINED for verdict in verdicts),
    }
    details = counts | {"label": label}
    answered = sum(counts[name] for name in ("tp", "fn", "tn", "fp"))
    if not answered:
        return ControlResult("gold", None, reason="None of the known questions was answered.", details=details)
    return ControlResult("gold", (counts["tp"] + counts["tn"]) / answered, details=details)


@dataclass(frozen=True, slots=True)
class _Text:
    strings: list[str]
    text: str

    @classmethod
    def of(cls, contexts: Contexts, row: int, vocabulary: Vocabulary) -> "_Text":
        strings = [shown(string) for string in pieces(contexts, row, vocabulary)]
        return cls(strings, "".join(strings))

    def marks_of(self, word: str) -> NDArray[np.bool_]:
        """Return the tokens of the word where it stands by itself, bool [n]."""
        ends = np.cumsum([len(string) for string in self.strings])
        starts = ends - [len(string) for string in self.strings]
        marks = np.zeros(len(self.strings), dtype=np.bool_)
        for found in _alone(word).finditer(self.text):
            marks |= (starts < found.end()) & (ends > found.start())
        return marks

    def other_marks(self, wanted: int, random: np.random.Generator) -> NDArray[np.bool_]:
        """Draw `wanted` tokens that show something, bool [n]."""
        readable = np.array([bool(string.strip()) for string in self.strings], dtype=np.bool_)
        marks = np.zeros(len(self.strings), dtype=np.bool_)
        marks[random.permutation(np.flatnonzero(readable))[:wanted]] = True
        return marks


def _shown(kind: Question, text: _Text, marks: NDArray[np.bool_]) -> str:
    return mark(text.strings, marks) if kind == "fuzz" else text.text


def _alone(word: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(word)}(?!\w)")


def _split(texts: list[_Text], word: str) -> tuple[list[_Text], list[_Text]]:
    """Return the texts with the word by itself, and those without its letters."""
    return [text for text in texts if _alone(word).search(text.text)], [text for text in texts if word.lower() not in text.text.lower()]


def _drawn_word(texts: list[_Text], count: int, random: np.random.Generator) -> str | None:
    """Draw a word that divides the texts for `count` questions, or the best one."""
    often: Counter[str] = Counter()
    for text in texts:
        # A word at an end of the window may be part of a longer one.
        often.update({found[0] for found in _WORD.finditer(text.text) if found.start() > 0 and found.end() < len(text.text)})
    for wanted in range(max(1, count // 2), 0, -1):
        common = sorted(word for word, times in often.items() if times >= wanted)
        for place in random.permutation(len(common)):
            word = common[int(place)]
            if min(len(side) for side in _split(texts, word)) >= wanted:
                return word
    return None
