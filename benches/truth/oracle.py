"""A scripted judge that knows what each label means."""

from collections.abc import Callable, Mapping, Sequence

from api.demo.fake_llm.asked import FencedText, Span
from api.demo.fake_llm.readers import STRONGEST, QuotedReader, agreement, merged

Predicate = Callable[[str], bool | Sequence[Span]]


class OracleReader(QuotedReader):
    """A judge with each label's truth (unknown: nothing), which writes the label that fits best."""

    def __init__(self, truth: Mapping[str, Predicate]) -> None:
        self.truth = {label.strip(): predicate for label, predicate in truth.items()}

    def strengths(self, label: str | None, text: str) -> list[Span]:
        if label is None:
            return super().strengths(None, text)
        predicate = self.truth.get(label.strip())
        found = predicate(text) if predicate else False
        if isinstance(found, bool):
            return [(0, len(text), STRONGEST)] if found else []
        return merged(found)

    def writes(self, contexts: Sequence[FencedText]) -> str:
        fits = {label: self._fit(label, contexts) for label in self.truth}
        best = max(fits, key=fits.__getitem__, default=None)
        return best if best is not None and fits[best] > 0 else super().writes(contexts)

    def _fit(self, label: str, contexts: Sequence[FencedText]) -> float:
        """Return the mean agreement of spans and marks over contexts with any of them."""
        pairs = [(self.strengths(label, context.text), context.marks) for context in contexts]
        shares = [agreement(spans, marks) for spans, marks in pairs if spans or marks]
        return sum(shares) / len(shares) if shares else 0.0

    def odd_one_out(self, contexts: Sequence[FencedText]) -> int:
        for label in self.truth:
            others = [place for place, context in enumerate(contexts) if self.says_yes(label, context, bool(context.marks)) < 0.5]
            if len(others) == 1:
                return others[0]
        return super().odd_one_out(contexts)
