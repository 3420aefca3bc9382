"""Draw a feature as HTML, which loads and runs nothing."""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import count, groupby
from typing import Any
from xml.etree.ElementTree import Element, tostring

from glossator.drawing import svg
from glossator.drawing.markup import Node, element
from glossator.drawing.visible import visible

Json = Mapping[str, Any]
# Ids of a page's charts differ, however many features it shows.
_numbers = count()
STYLE = """
.glossator { font: 14px/1.5 system-ui, sans-serif; max-width: 60rem }
.glossator h3 { margin: 0; font-size: 1.1rem } .glossator h4 { margin: .8rem 0 .2rem; font-size: .9rem }
.glossator .faint { opacity: .65 } .glossator table { border-collapse: collapse; font-variant-numeric: tabular-nums }
.glossator th, .glossator td { padding: .1rem .8rem .1rem 0; text-align: left; border-bottom: 1px solid #8884 }
.glossator .context { margin: .15rem 0; font: 13px/1.6 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere }
.glossator .token { padding: 0 .25rem; margin-right: .2rem; border-radius: .2rem; font: 13px ui-monospace, monospace; white-space: pre }
.glossator .up { background: rgba(16, 185, 129, .3) } .glossator .down { background: rgba(220, 80, 60, .3) }
.glossator svg { display: block; width: 100%; max-width: 32rem; font: 13px system-ui, sans-serif } .glossator svg text { fill: currentColor }
.glossator svg .grid, .glossator svg .axis { stroke: #8888 } .glossator svg .s0 { fill: #0072b2; stroke: #0072b2 }
.glossator svg .s1 { fill: none; stroke: #d55e00; stroke-width: 1.5 } .glossator svg .whisker { stroke-width: 2 }
"""


def html(feature: Json, contexts: int = 8) -> str:
    """Return the HTML of a feature, with the first contexts of each kind and split."""
    parts = [*_head(feature), *_explanations(feature), *_histogram(feature), *_tokens(feature), *_contexts(feature, contexts)]
    return markup(element("div", *parts, class_="glossator"))


def markup(root: Element) -> str:
    """Return the HTML of an element, with the style of this module."""
    style = Element("style")
    style.text = STYLE
    root.insert(0, style)
    return tostring(root, encoding="unicode", method="html")


def histogram(values: Sequence[float], title: str, bins: int = 20) -> Element:
    """Draw the distribution of some values."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    width = (high - low) / bins or 1.0
    counts = [0] * bins
    for value in values:
        counts[min(int((value - low) / width), bins - 1)] += 1
    edges = [low + place * width for place in range(bins + 1)]
    return svg.histograms(_key(), title, f"{len(values)} values", edges, [(title, counts)], title)


def scores(feature: Json) -> Element | None:
    """Draw the scores of a feature's explanations with intervals, each above its null."""
    rows = [
        (f"{explanation['explainer']} {score['scorer']}", (_mark(score["value"], score["interval"]), svg.Mark(score["null"]["value"], series=1)))
        for explanation in feature["explanations"]
        for score in explanation["scores"]
        if score["value"] is not None
    ]
    return svg.marks(_key(), "Scores", "Filled: the label's own; hollow: that of other features' labels.", rows, "score") if rows else None


def _mark(value: float, interval: Json | None) -> svg.Mark:
    return svg.Mark(value) if interval is None else svg.Mark(value, interval["low"], interval["high"])


def _key() -> str:
    return f"glossator-{next(_numbers)}"


def _head(feature: Json) -> Iterator[Node]:
    statistics = feature["statistics"]
    yield element("h3", feature["name"])
    density = "" if statistics["density"] is None else f"fires at {statistics['density']:.3%} of tokens, "
    largest = "–" if statistics["max_activation"] is None else f"{statistics['max_activation']:.3g}"
    where = (
        f"{feature['state']}, {density}max {largest}; {feature['subject']} {feature['hook_point']}, run {feature['run']}, corpus {feature['corpus']}"
    )
    yield element("div", where, class_="faint")


def _explanations(feature: Json) -> Iterator[Node]:
    for explanation in feature["explanations"]:
        text = explanation["text"] or f"no label: {explanation['failure']}"
        yield element("h4", text, element("span", f" {explanation['explainer']}", class_="faint"))
        if explanation["scores"]:
            head = element("tr", *(element("th", name) for name in ("scorer", "metric", "score", "null", "lift", "q")))
            yield element("table", head, *(_score_row(score) for score in explanation["scores"]))
    if (drawn := scores(feature)) is not None:
        yield drawn


def _score_row(score: Json) -> Element:
    null = score["null"]
    own = f"{_figure(score['value'])}{_interval(score['interval'])}" if score["value"] is not None else f"undefined: {score['reason']}"
    cells = (
        score["scorer"],
        score["metric"],
        own,
        _figure(null["value"]),
        f"{_figure(null['lift'])}{_interval(null['lift_interval'])}",
        _figure(null["q_value"]),
    )
    return element("tr", *(element("td", cell) for cell in cells))


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.2g}" if abs(value) < 0.01 else f"{value:.2f}"


def _interval(found: Json | None) -> str:
    return "" if found is None else f" [{found['low']:.2f}, {found['high']:.2f}]"


def _histogram(feature: Json) -> Iterator[Node]:
    found = feature["histogram"]
    if sum(found["counts"]):
        panels = [("active tokens", found["counts"])]
        yield svg.histograms(_key(), "Activations", "Number of active tokens by activation.", found["edges"], panels, "activation")


def _tokens(feature: Json) -> Iterator[Node]:
    for name, kind in (("promoted", "up"), ("suppressed", "down")):
        if feature[name]:
            yield element("h4", f"{name} tokens")
            yield element("div", *(_token(item["token"], f"token {kind}", f"{item['logit']:+.3g}") for item in feature[name]))


def _token(text: str, kind: str, title: str) -> Element:
    return element("span", visible(text).replace(" ", "␣"), class_=kind, title=title)


def _contexts(feature: Json, most: int) -> Iterator[Node]:
    strongest, level = feature["statistics"]["max_activation"] or 0.0, feature["statistics"]["firing_level"]
    for (kind, split), group in groupby(feature["contexts"], key=lambda item: (item["kind"], item["split"])):
        shown = list(group)
        lines = [_context(item, strongest, level) for item in shown[:most]]
        title = element("summary", f"{kind.replace('_', ' ')}, {split} split: {len(lines)} of {len(shown)}")
        yield element("details", title, *lines, **({"open": "open"} if kind == "top" else {}))


def _context(found: Json, strongest: float, level: float) -> Element:
    left = element("span", "".join(found["left"]), class_="faint") if found["left"] else None
    return element(
        "div",
        left,
        *(_shaded(token, value, strongest, level) for token, value in zip(found["tokens"], found["activations"], strict=True)),
        class_="context",
    )


def _shaded(token: str, activation: float, strongest: float, level: float) -> Node:
    """Return a token; an active one has a background by the logarithm of its activation."""
    if activation <= level or strongest <= 0:
        return token
    depth = 0.1 + 0.7 * math.log1p(9 * min(activation / strongest, 1.0)) / math.log(10)
    return element("span", token, title=f"{activation:.3g}", style=f"background: rgba(16, 185, 129, {depth:.2f})")
