"""Arrange a feature's answer for its page: contexts, charts, verdicts, code."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from itertools import count
from typing import Any, Protocol
from xml.etree.ElementTree import Element, tostring

from markupsafe import Markup, escape
from pydantic import BaseModel, TypeAdapter, ValidationError

from api.pages.figures import activation, level
from api.schemas.explanations import ExplanationAnswer, ItemAnswer, ScoreAnswer
from api.schemas.features import ContextAnswer, FeatureAnswer
from glossator.drawing import svg
from glossator.drawing.visible import visible

# Equal-width intervals of the largest activation, as SAEDashboard's.
INTERVALS = 5
BREAK = '<span class="sign">↵</span><span class="break">\n</span>'
FIRING = ("top", "uniform", "weighted")
ABOUT = {
    "top": ("Top", "the windows of largest activation"),
    "uniform": ("Uniform", "windows in which it fires, each as likely"),
    "weighted": ("Weighted", "windows in which it fires, as likely as their largest activation"),
    "near_miss": ("Near misses", "windows in which it does not fire, but that resemble those in which it does"),
    "inactive": ("Inactive", "windows in which it does not fire"),
}
_numbers = count()


@dataclass(frozen=True, slots=True)
class ContextGroup:
    """Contexts under one heading, the strongest first."""

    key: str
    title: str
    about: str
    contexts: Sequence[ContextAnswer]


def groups(feature: FeatureAnswer) -> list[ContextGroup]:
    """Return the contexts by kind, and firing ones by interval, too."""
    by_kind = {kind: [one for one in feature.contexts if one.kind == kind] for kind in ABOUT}
    made = [ContextGroup(kind, *ABOUT[kind], found) for kind, found in by_kind.items() if found]
    return [*made[:1], *_intervals(by_kind), *made[1:]] if by_kind["top"] else made


def _intervals(by_kind: dict[str, list[ContextAnswer]]) -> Iterator[ContextGroup]:
    firing = {one.id: one for kind in FIRING for one in by_kind[kind] if one.max_activation > 0}
    strongest = max((one.max_activation for one in firing.values()), default=0.0)
    for place in reversed(range(INTERVALS)):
        low, high = strongest * place / INTERVALS, strongest * (place + 1) / INTERVALS
        found = [one for one in firing.values() if low < one.max_activation <= high or (place == INTERVALS - 1 and one.max_activation == strongest)]
        if found:
            found.sort(key=lambda one: -one.max_activation)
            about = f"largest activation from {low:.3g} to {high:.3g}; of the samples, not of the whole corpus"
            yield ContextGroup(f"interval-{place + 1}", f"Interval {place + 1} of {INTERVALS}", about, found)


class TriedText(BaseModel):
    """A text that an explainer had tried.

    `idea` is the place of the idea that it tests, and `expected` what that says.
    """

    idea: int | None
    expected: bool | None
    fires: bool
    max: float
    tokens: list[str]
    activations: list[float]
    left: tuple[()] = ()


class TriedRound(BaseModel):
    """A round of an explainer that tries texts, as its provenance has it."""

    ideas: list[str]
    texts: list[TriedText]
    failure: str | None


ROUNDS = TypeAdapter(list[TriedRound])


def rounds(explanation: ExplanationAnswer) -> list[TriedRound]:
    """Return the rounds in which an explainer had texts tried; none of others."""
    try:
        found = ROUNDS.validate_python(explanation.provenance.get("rounds", ()))
    except ValidationError:
        # Other explainers have rounds of another kind.
        return []
    return found if all(len(text.tokens) == len(text.activations) for one in found for text in one.texts) else []


class WithActivations(Protocol):
    """Tokens with an activation each."""

    tokens: list[str]
    activations: list[float]


def tokens(context: WithActivations, strongest: float | None, firing_level: float) -> Markup:
    """Return the tokens of a context: those that fire are marked, by `api.pages.figures.level`.

    A page has thousands of them, for which templates are too slow. Tokens of activation 0 have no figure: the script knows.
    """
    peak = max(context.activations, default=0.0)
    made = []
    for text, value in zip(context.tokens, context.activations, strict=True):
        shade = level(value, strongest, firing_level)
        if shade:
            made.append(f'<mark class="t a{shade}{" peak" if value == peak else ""}" data-v="{activation(value)}">{token_markup(text)}</mark>')
        else:
            made.append(f'<span class="t"{_figure(value)}>{token_markup(text)}</span>')
    return Markup("".join(made))


def _figure(value: float) -> str:
    return f' data-v="{activation(value)}"' if value else ""


@lru_cache(maxsize=100_000)
def token_markup(text: str) -> str:
    """Return a token as HTML, line breaks as signs and hidden breaks."""
    return BREAK.join(str(escape(visible(part))) for part in text.split("\n"))


def left_markup(context: ContextAnswer) -> Markup:
    """Return the tokens before a context's window."""
    return Markup("".join(map(token_markup, context.left)))


class Verdict(StrEnum):
    """What an answer was, beside the truth."""

    TRUE_POSITIVE = "true positive"
    FALSE_POSITIVE = "false positive"
    TRUE_NEGATIVE = "true negative"
    FALSE_NEGATIVE = "false negative"
    UNANSWERED = "unanswered"
    GRADED = "graded"

    @property
    def key(self) -> str:
        return self.value.replace(" ", "-")


@dataclass(frozen=True, slots=True)
class JudgedItem:
    """An item with its verdict, and its context where the evidence still has it."""

    item: ItemAnswer
    verdict: Verdict
    context: ContextAnswer | None


def judged(feature: FeatureAnswer, score: ScoreAnswer) -> list[JudgedItem]:
    """Return every item of a score in its order."""
    contexts = {one.id: one for one in feature.contexts}
    items = score.items or []
    # Simulation's items are sums of many tokens: no answer of theirs is right or wrong.
    is_binary = all(item.truth in (0.0, 1.0) and (item.prediction is None or 0 <= item.prediction <= 1) for item in items)
    return [JudgedItem(item, _verdict(item, is_binary), contexts.get(item.context)) for item in items]


def _verdict(item: ItemAnswer, is_binary: bool) -> Verdict:
    if item.prediction is None:
        return Verdict.UNANSWERED
    if not is_binary:
        return Verdict.GRADED
    said = item.prediction >= 0.5
    if item.truth:
        return Verdict.TRUE_POSITIVE if said else Verdict.FALSE_NEGATIVE
    return Verdict.FALSE_POSITIVE if said else Verdict.TRUE_NEGATIVE


def counts(items: Sequence[JudgedItem]) -> list[tuple[Verdict, int]]:
    """Return how many items have each verdict, those that occur."""
    found = [(verdict, sum(one.verdict is verdict for one in items)) for verdict in Verdict]
    return [(verdict, number) for verdict, number in found if number]


def score_chart(explanation: ExplanationAnswer) -> Markup:
    """Draw the scores of an explanation with intervals, each above its null."""
    rows = [(score.scorer, _marks(score)) for score in explanation.scores if score.value is not None]
    if not rows:
        return Markup("")
    about = "Filled: the label's own figure with its interval. Hollow: that of other features' labels, with the range of theirs."
    return drawn(svg.marks(_key(), "Scores and nulls", about, rows, "score"))


def _marks(score: ScoreAnswer) -> tuple[svg.Mark, ...]:
    found = score.interval
    own = svg.Mark(score.value) if found is None else svg.Mark(score.value, found.low, found.high)
    borrowed = [value for value in score.null.values if value is not None]
    low, high = (min(borrowed), max(borrowed)) if borrowed else (None, None)
    return (own,) if score.null.value is None else (own, svg.Mark(score.null.value, low, high, series=1))


def activation_chart(feature: FeatureAnswer) -> Markup:
    """Draw the histogram of activations; nothing for a feature that never fires."""
    found = feature.histogram
    if not sum(found.counts):
        return Markup("")
    panels = [("active tokens", found.counts)]
    return drawn(svg.histograms(_key(), "Activations", "Share of active tokens by activation.", found.edges, panels, "activation"))


def logit_chart(feature: FeatureAnswer) -> Markup:
    """Draw the logits of the promoted and suppressed tokens as bars."""
    shown = [*feature.promoted[:10], *reversed(feature.suppressed[:10])]
    if not shown:
        return Markup("")
    rows = [(effect.token.replace(" ", "␣") or "∅", (svg.Mark(effect.logit, series=0 if effect.logit >= 0 else 1),)) for effect in shown]
    return drawn(svg.marks(_key(), "Logits", "Effect of the decoder direction on the logits of tokens.", rows, "logit", bars=True))


def drawn(chart: Element) -> Markup:
    """Return a chart as markup, whose texts are escaped already."""
    return Markup(tostring(chart, encoding="unicode", method="html"))


def _key() -> str:
    return f"chart-{next(_numbers)}"


def loading(source: str | None, hook_point: str, index: int) -> str:
    """Return Python that opens the dictionary in SAELens, and reads the feature's decoder direction."""
    opened = _opened(source)
    return f"from sae_lens import SAE\n\n{opened}\nprint(sae.cfg.metadata.hook_name)  # {hook_point!r} here\ndirection = sae.W_dec[{index}]\n"


def _opened(source: str | None) -> str:
    if source is None:
        return 'sae = SAE.load_from_disk("the folder of the dictionary")'
    if source.startswith("hf://"):
        parts = source.removeprefix("hf://").split("/")
        return f"sae = SAE.from_pretrained({'/'.join(parts[:2])!r}, {'/'.join(parts[2:])!r})"
    return f"sae = SAE.load_from_disk({source!r})"


def source_of(spec: dict[str, Any], dictionary: str) -> str | None:
    """Return where a job read a dictionary from."""
    listed = [one for one in (spec.get("dictionary"), *(spec.get("dictionaries") or ())) if isinstance(one, dict)]
    named = [one for one in listed if one.get("name") == dictionary] or listed[:1]
    return next((str(one["source"]) for one in named if one.get("source")), None)


# Filters of templates.
MARKUP = {"rounds": rounds, "tokens": tokens, "left_markup": left_markup}
