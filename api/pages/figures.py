"""Format figures, intervals, tokens and times for pages."""

import json
import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from markupsafe import Markup, escape

from glossator.drawing.visible import visible

NONE = "–"
# p and q values below this are shown as a bound.
SMALLEST_P = 0.001
# Activations between these bounds are written without an exponent.
PLAIN = (1e-3, 1e5)
LEVELS = 20
# Longer texts are cut: a page shows what a person reads.
LONGEST = 200_000
UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))


def figure(value: float | None, digits: int = 2) -> str:
    """Return a figure with some decimals; a dash for None."""
    if value is None:
        return NONE
    # Adding 0.0 removes the sign of a zero.
    rounded = round(value, digits) + 0.0
    return f"{value:.1g}" if value and not rounded else f"{rounded:.{digits}f}"


def signed(value: float | None, digits: int = 2) -> str:
    """Return a figure with its sign; a dash for None."""
    shown = figure(value, digits)
    return f"+{shown}" if value is not None and value > 0 else shown


def interval(found: Any, digits: int = 2) -> str:
    """Return an interval as `[0.71, 0.85]`; an empty text for None."""
    return "" if found is None else f"[{figure(found.low, digits)}, {figure(found.high, digits)}]"


def probability(value: float | None) -> str:
    """Return a p or q value; small ones as a bound."""
    if value is None:
        return NONE
    return f"<{SMALLEST_P}" if value < SMALLEST_P else f"{value:.3f}"


def percent(value: float | None) -> str:
    """Return a share with three significant digits, as a percentage."""
    return NONE if value is None else f"{value:.3g}%" if (value := 100 * value) else "0%"


def count(value: float | None) -> str:
    """Return a whole number with separators of thousands; a dash for None."""
    return NONE if value is None else f"{value:,.0f}"


def activation(value: float | None) -> str:
    """Return an activation to four decimals; very small and large ones with an exponent."""
    if value is None:
        return NONE
    return f"{value:.4f}" if not value or PLAIN[0] <= abs(value) < PLAIN[1] else f"{value:.4g}"


def dollars(value: float | None) -> str:
    """Return a price; what is unknown as such."""
    return "unknown price" if value is None else f"${value:,.4f}" if value < 1 else f"${value:,.2f}"


def token(text: str) -> str:
    """Return a token alone, each space and control character as a visible sign."""
    return visible(text).replace(" ", "␣") or "∅"


def level(value: float, strongest: float | None, firing_level: float) -> int:
    """Return the shade of an activation, 1 to `LEVELS`; 0 where it does not fire.

    It grows with the logarithm of the share of the strongest, as on Neuronpedia and in a terminal.
    """
    if value <= firing_level or not strongest or strongest <= 0:
        return 0
    depth = math.log1p(9 * min(value / strongest, 1.0)) / math.log(10)
    return max(1, round(LEVELS * depth))


def moment(value: datetime | None) -> Markup:
    """Return a `time` element in UTC; a dash for None."""
    if value is None:
        return Markup(NONE)
    at = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    return Markup('<time datetime="{}">{}</time>').format(at.isoformat(timespec="seconds"), at.strftime("%Y-%m-%d %H:%M UTC"))


def duration(seconds: float | None) -> str:
    """Return a time span in its largest unit."""
    if seconds is None:
        return NONE
    for size, name in UNITS:
        if seconds >= size:
            return f"{seconds / size:.1f} {name}"
    return f"{seconds:.1f} s"


def lines(text: str) -> Markup:
    """Return a text with each control character visible, and each line break kept."""
    return Markup("\n").join(escape(visible(line)) for line in text.split("\n"))


def token_text(text: str) -> str:
    """Return a line of text, each control character as a visible sign."""
    return visible(text)


def segment(text: str) -> str:
    """Return a text as one part of an address's path."""
    return quote(text, safe="@")


def apply(value: Any, form: str) -> str:
    """Return a value formatted by one of the filters."""
    return str(FILTERS[form](value))


def json_text(value: Any) -> str:
    """Return a value as indented JSON, cut where it is very long."""
    return _cut(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def prompt_text(value: Any) -> str:
    """Return a prompt or reply for reading: the text of each message, else JSON."""
    if value is None:
        return "no longer kept"
    messages = value.get("messages") if isinstance(value, dict) else value
    if isinstance(messages, list) and messages and all(isinstance(one, dict) and isinstance(one.get("content"), str) for one in messages):
        return _cut("\n\n".join(f"{one.get('role', '')}:\n{one['content']}" for one in messages))
    return _cut(value) if isinstance(value, str) else json_text(value)


def _cut(text: str) -> str:
    shown = "\n".join(visible(line) for line in text[:LONGEST].split("\n"))
    return shown if len(text) <= LONGEST else f"{shown}\n… {len(text) - LONGEST:,} more characters: ask the REST route"


def model_name(value: Any) -> str:
    """Return the name of a model, given as its name or as its settings."""
    return visible(str(value.get("model", value) if isinstance(value, dict) else value))


FILTERS: dict[str, Callable[..., Any]] = {
    "token_text": token_text,
    "json_text": json_text,
    "prompt_text": prompt_text,
    "model_name": model_name,
    "python": repr,
    "segment": segment,
    "apply": apply,
    "figure": figure,
    "signed": signed,
    "interval": interval,
    "probability": probability,
    "percent": percent,
    "count": count,
    "activation": activation,
    "dollars": dollars,
    "token": token,
    "level": level,
    "moment": moment,
    "duration": duration,
    "lines": lines,
}
