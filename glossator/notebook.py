"""Views of features and scores for notebooks: HTML and SVG, without scripts and other hosts."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from glossator.client import Client
from glossator.drawing import feature as drawing
from glossator.drawing.markup import element
from glossator.errors import ClientError

REFERENCE = re.compile(r"(?P<dictionary>.+?):(?P<index>\d+-?)")


@dataclass(frozen=True, slots=True)
class View:
    """What a notebook shows of a cell's last value, as HTML."""

    html: str = field(repr=False)

    def _repr_html_(self) -> str:
        return self.html


def show(feature: str | Mapping[str, Any], client: Client | None = None, *, run: str | None = None, contexts: int = 8) -> View:
    """Return the view of a feature, given as `dictionary:index` or as the API's answer.

    Without a client, that of GLOSSATOR_API_URL is asked. `contexts` is the most of each kind and split.
    """
    if not isinstance(feature, str):
        return View(drawing.html(feature, contexts))
    named = REFERENCE.fullmatch(feature)
    if named is None:
        raise ClientError(f"{feature!r} names no feature.", cure="Write pystdlib@1-res:123.")
    if client is not None:
        return View(drawing.html(client.get_feature(named["dictionary"], named["index"], run=run), contexts))
    with Client() as own:
        return show(feature, own, run=run, contexts=contexts)


def show_histogram(rows: Iterable[Mapping[str, Any]], figure: str = "score") -> View:
    """Return the distribution of a figure of a listing's rows; undefined ones are left out."""
    values = [row[figure] for row in rows if row[figure] is not None]
    return View(drawing.markup(element("div", drawing.histogram(values, figure), class_="glossator")))


def show_scores(feature: Mapping[str, Any]) -> View:
    """Return a feature's scores with their intervals and nulls."""
    return View(drawing.markup(element("div", drawing.scores(feature), class_="glossator")))
