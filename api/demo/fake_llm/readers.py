"""Define scripted judges, which read contexts and labels for a scripted server."""

from collections import Counter
from collections.abc import Sequence

from api.demo.fake_llm.asked import FencedText, Span
from api.demo.fake_llm.labels import reading
from api.demo.fake_llm.texts import draw, embedding, pick

STRONGEST = 10.0
SURE_YES, SURE_NO = 0.97, 0.03
OVERLAP = 0.5
QUOTED = 5
NO_LABEL = "unclear"
LONGEST_QUOTE = 40
VISIBLE = str.maketrans({"\n": "↵", "\t": "⇥", "\r": None, '"': "'"})
WIDTH = 512


class QuotedReader:
    """A judge that finds a label's quotes, `pattern` sentences or words; it guesses without label.

    Every judge returns equal answers for equal inputs.
    """

    def strengths(self, label: str | None, text: str) -> list[Span]:
        """Return (start, end, strength in (0, 10]) of the label's characters, sorted and disjoint."""
        if label is None:
            return [(0, len(text), STRONGEST)] if text and draw("guess", text) < 0.5 else []
        return merged(reading(label)(text))

    def says_yes(self, label: str | None, shown: FencedText, are_marks_asked: bool) -> float:
        """Return the probability of "yes": the label fits somewhere, or at the marked places."""
        found = [span for span in self.strengths(label, shown.text) if span[1] > shown.begin]
        if not found:
            return SURE_NO
        if not are_marks_asked:
            return SURE_YES if label is not None else 0.5 + 0.1 * draw(shown.text)
        return SURE_YES if agreement(found, shown.marks) >= OVERLAP else SURE_NO

    def writes(self, contexts: Sequence[FencedText]) -> str:
        """Return the marked strings that most contexts share, quoted."""
        counts: Counter[str] = Counter()
        for context in contexts:
            counts.update({quoted(context.text[start:end]) for start, end in context.marks if start < end})
        marked = [f'"{text}"' for text, _ in counts.most_common(QUOTED)]
        if not marked:
            marked = [f'"{word}"' for word in _common_words(contexts)]
        if not marked:
            return NO_LABEL
        said = marked[0] if len(marked) == 1 else ", ".join(marked[:-1]) + " or " + marked[-1]
        return f"the text {said}"

    def odd_one_out(self, contexts: Sequence[FencedText]) -> int:
        """Return the context with the least similar marked words; ties by all words."""
        vectors = [embedding(_marked(context), WIDTH) + embedding(context.text, WIDTH) / len(contexts) for context in contexts]
        total = sum(vectors[1:], vectors[0])
        likeness = [float(vector @ (total - vector)) for vector in vectors]
        return likeness.index(min(likeness))


def quoted(text: str) -> str:
    """Return a marked text for a quote: stripped, or with visible white space, and cut."""
    return (text.strip() or text.replace(" ", "␣"))[:LONGEST_QUOTE].translate(VISIBLE)


def _marked(context: FencedText) -> str:
    return " ".join(context.text[start:end] for start, end in context.marks)


def _common_words(contexts: Sequence[FencedText]) -> list[str]:
    counts = Counter(word for context in contexts for word in {word.strip(".,:;()[]\"'") for word in context.text.split()} if len(word) > 2)
    return [word for word, _ in counts.most_common(3)]


class NoisyReader(QuotedReader):
    """A judge with given error rates around another; equal inputs get equal verdicts."""

    def __init__(self, inner: QuotedReader, true_positive_rate: float, false_positive_rate: float, seed: int = 0) -> None:
        self.inner, self.seed = inner, seed
        self.true_positive_rate, self.false_positive_rate = true_positive_rate, false_positive_rate

    def _keeps(self, is_yes: bool, *what: object) -> bool:
        """Return whether it says yes if the truth is `is_yes`."""
        return draw(self.seed, *what) < (self.true_positive_rate if is_yes else self.false_positive_rate)

    def strengths(self, label: str | None, text: str) -> list[Span]:
        found = self.inner.strengths(label, text)
        if not self._keeps(bool(found), label, text):
            return []
        if found or not text:
            return found
        start = pick(len(text), self.seed, "where", label, text)
        return [(start, min(start + 4, len(text)), STRONGEST)]

    def says_yes(self, label: str | None, shown: FencedText, are_marks_asked: bool) -> float:
        is_yes = self.inner.says_yes(label, shown, are_marks_asked) > 0.5
        says = self._keeps(is_yes, label, shown.shown if are_marks_asked else shown.text)
        return SURE_YES if says else SURE_NO

    def writes(self, contexts: Sequence[FencedText]) -> str:
        return self.inner.writes(contexts)

    def odd_one_out(self, contexts: Sequence[FencedText]) -> int:
        right = self.inner.odd_one_out(contexts)
        texts = [context.text for context in contexts]
        if len(texts) < 2 or self._keeps(True, *texts):
            return right
        return (right + 1 + pick(len(texts) - 1, self.seed, "which", *texts)) % len(texts)


class ConstantReader(QuotedReader):
    """A judge that always says yes, or always no."""

    def __init__(self, says: bool = True) -> None:
        self.says = says

    def strengths(self, label: str | None, text: str) -> list[Span]:
        del label
        return [(0, len(text), STRONGEST)] if self.says and text else []

    def says_yes(self, label: str | None, shown: FencedText, are_marks_asked: bool) -> float:
        del label, shown, are_marks_asked
        return SURE_YES if self.says else SURE_NO


class CoinReader(QuotedReader):
    """A judge that tosses a coin per label and text."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def strengths(self, label: str | None, text: str) -> list[Span]:
        if not text or draw(self.seed, "coin", label, text) < 0.5:
            return []
        start = pick(len(text), self.seed, "where", label, text)
        return [(start, min(start + 4, len(text)), 1.0 + 9.0 * draw(self.seed, "how much", label, text))]

    def says_yes(self, label: str | None, shown: FencedText, are_marks_asked: bool) -> float:
        del are_marks_asked
        return SURE_YES if draw(self.seed, "coin", label, shown.shown) < 0.5 else SURE_NO

    def odd_one_out(self, contexts: Sequence[FencedText]) -> int:
        return pick(len(contexts), self.seed, *(context.text for context in contexts))


def merged(spans: Sequence[Span]) -> list[Span]:
    """Return sorted spans; overlapping ones are joined with the largest strength."""
    found: list[Span] = []
    for start, end, strength in sorted(spans):
        if start >= end or strength <= 0:
            continue
        if found and start < found[-1][1]:
            before = found[-1]
            found[-1] = (before[0], max(before[1], end), max(before[2], strength))
        else:
            found.append((start, end, min(strength, STRONGEST)))
    return found


def agreement(spans: Sequence[Span], marks: Sequence[tuple[int, int]]) -> float:
    """Return the smaller share of marks touched by spans, and of spans touched by marks."""
    if not spans or not marks:
        return 0.0
    touched = sum(any(start < right and left < end for start, end, _ in spans) for left, right in marks)
    touching = sum(any(start < right and left < end for left, right in marks) for start, end, _ in spans)
    return min(touched / len(marks), touching / len(spans))


def judge_of(order: str, seed: int = 0) -> QuotedReader:
    """Return the judge `quoted`, `yes`, `no`, `coin`, or `noisy:TPR,FPR`; raises ValueError."""
    name, _, rates = order.partition(":")
    if name == "noisy" and rates:
        true_positive, false_positive = (float(rate) for rate in rates.split(","))
        return NoisyReader(QuotedReader(), true_positive, false_positive, seed)
    plain: dict[str, QuotedReader] = {"quoted": QuotedReader(), "yes": ConstantReader(True), "no": ConstantReader(False), "coin": CoinReader(seed)}
    if order not in plain:
        raise ValueError(f"there is no judge {order!r}: it is quoted, yes, no, coin or noisy:TPR,FPR")
    return plain[order]
