"""Format contexts, histograms and scores as terminal text, with control characters made visible."""

import math
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from api.cli.output.console import figure, probability
from interp.domain.cleaning import visible

BARS = " ▁▂▃▄▅▆▇█"
FAINT, FULL = (4, 60, 44), (16, 185, 129)  # emerald, from the weakest activation to the strongest


def token(text: str) -> str:
    """Return one token with its spaces visible."""
    return visible(text).replace(" ", "␣")


def context(found: dict[str, Any], strongest: float, console: Console, level: float = 0.0) -> Text:
    """Return one context; active tokens have a background, or « » without colour."""
    line = Text()
    for token, activation in zip(found["tokens"], found["activations"], strict=True):
        shown = visible(token)
        if activation <= level or strongest <= 0:
            line.append(shown)
        elif console.color_system is None:
            line.append(f"«{shown}»" if shown else "")
        else:
            line.append(shown, style=heat(activation / strongest))
    return line


def marked(found: dict[str, Any], level: float = 0.0) -> str:
    """Return one context as plain text, with tokens above the firing level in « »."""
    pairs = zip(found["tokens"], found["activations"], strict=True)
    return "".join(f"«{visible(token)}»" if value > level and token else visible(token) for token, value in pairs)


def heat(share: float) -> str:
    """Return the style of an activation by the logarithm of its share of the strongest."""
    depth = math.log1p(9 * min(share, 1.0)) / math.log(10)
    red, green, blue = (round(low + (high - low) * depth) for low, high in zip(FAINT, FULL, strict=True))
    return f"{'black' if depth > 0.6 else 'white'} on rgb({red},{green},{blue})"


def sparkline(counts: Sequence[int]) -> str:
    """Return one character per bin, its height by square root to show the tail."""
    tallest = max(counts, default=0)
    if tallest == 0:
        return ""
    return "".join(BARS[math.ceil(math.sqrt(count / tallest) * (len(BARS) - 1))] for count in counts)


def score_line(score: dict[str, Any]) -> Text:
    """Return one score: value, interval, null, lifts, q, and the number of answers.

    Spearman's correlation comes before Pearson's: few strong tokens do not decide it, and heavy tails widen Pearson's interval.
    """
    text = Text(f" {score['scorer']} ", style="reverse")
    ranks = _bounded(score["details"].get("metrics", {}), "spearman")
    text.append("" if ranks is None else f" spearman {ranks}, pearson")
    text.append(f" {figure(score['value'])}", style="bold")
    interval, null = score["interval"], score["null"]
    if interval:
        text.append(f" [{figure(interval['low'])}, {figure(interval['high'])}]")
    if score["value"] is None:
        text.append(f" undefined: {visible(score['reason'] or '')}", style="yellow")
    elif not interval and score["reason"]:
        text.append(f" {visible(score['reason'])}", style="yellow")
    text.append(f"  null {figure(null['value'])}  ", style="dim")
    _lift(text, "lift", null["lift"])
    if null["lift"] is not None and null["lift_interval"] is None:
        text.append(f" (no interval: {visible(null['lift_reason'] or 'not known')})", style="yellow")
    if score["lift_over_pattern"] is not None:
        text.append("  ")
        _lift(text, "over pattern", score["lift_over_pattern"])
    paired = f"  paired p {probability(null['p_paired'])}" if null["p_paired"] is not None else ""
    text.append(f"  q {probability(null['q_value'])}{paired}  {score['answered']} answered", style="dim")
    for name in ("failed", "abstained"):
        if score[name]:
            text.append(f", {score[name]} {name}", style="yellow")
    return text


def score_details(score: dict[str, Any]) -> Text | None:
    """Return a score's judge, shrunken score and controls; None if it has none."""
    parts = [f"judge {visible(score['judge'])}"] if score["judge"] not in (None, "executable") else []
    parts += _recall_by_strength(score["details"].get("metrics", {}))
    if score["shrunken_score"] is not None:
        parts.append(f"shrunken {figure(score['shrunken_score'])}")
    parts += [_control(control) for control in score["controls"]]
    return Text("  ".join(parts), style="dim") if parts else None


def _recall_by_strength(metrics: dict[str, Any]) -> list[str]:
    """Format recall by strength.

    The parts are windows whose peak is above half, a quarter to half, and below a quarter of the feature's largest activation. Recall of all firing
    windows of the corpus follows, by their number and by their strength.
    """
    found = [(name, metrics.get(f"recall_{name}")) for name in ("strong", "medium", "weak")]
    shown = [f"{name} {figure(value)}" for name, value in found if value is not None]
    shown += [f"of {name} {text}" for name in ("windows", "strength") if (text := _bounded(metrics, f"recall_of_{name}"))]
    return [f"recall {', '.join(shown)}"] if shown else []


def _bounded(metrics: dict[str, Any], name: str) -> str | None:
    """Format a figure with its interval; None where undefined."""
    value, low, high = (metrics.get(each) for each in (name, f"{name}_low", f"{name}_high"))
    if value is None:
        return None
    return figure(value) + ("" if low is None else f" [{figure(low)}, {figure(high)}]")


def _control(control: dict[str, Any]) -> str:
    name = control["name"].replace("_", " ")
    if control["value"] is None:
        return f"{name} – ({visible(control['reason'] or 'undefined')})"
    lift = f" (lift {figure(control['lift'], signed=True)})" if control["lift"] is not None else ""
    return f"{name} {figure(control['value'])}{lift}"


def _lift(text: Text, name: str, value: float | None) -> None:
    text.append(f"{name} {figure(value, signed=True)}", style="green" if (value or 0) > 0 else "red")
