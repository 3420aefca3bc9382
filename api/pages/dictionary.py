"""The page of a dictionary: distributions, coverage, explainers, and its health."""

import json
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from api.http.access.scopes import needs
from api.pages.figures import activation, count, figure
from api.pages.rendering import render
from api.reads import dictionaries, health, runs
from api.reads.curation import figures
from api.reads.curation.feature_map import MapText
from api.routes.dependencies import Reading
from api.routes.dictionaries import DictionaryReference, Run
from api.schemas.curation.figures import DistributionAnswer
from api.schemas.search import SearchMode
from interp.domain.access import Scope
from interp.domain.errors import NotFoundError

router = APIRouter(include_in_schema=False)

RUNS = 50
# The drawing of a histogram, in units of its view box.
WIDTH, HEIGHT = 320, 96
TITLES = {"score": "Score", "lift": "Lift over null", "density": "Density", "max_activation": "Largest activation"}
# What the listing can be filtered by.
FILTERED = ("score", "lift", "density")


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of a histogram: place and size in the view box, bounds, and features."""

    x: float
    width: float
    y: float
    height: float
    low: str
    high: str
    features: int


@dataclass(frozen=True, slots=True)
class Histogram:
    """A histogram as it is drawn, with its edges for the script that brushes it."""

    name: str
    title: str
    bars: tuple[Bar, ...]
    edges: str
    low: str
    high: str
    others: int
    by_decades: bool
    is_filter: bool

    @property
    def sentence(self) -> str:
        """Return what the drawing shows, for those who do not see it."""
        tallest = max(self.bars, key=lambda bar: bar.features)
        total = sum(bar.features for bar in self.bars)
        return (
            f"{count(total)} features from {self.low} to {self.high}, most of them ({count(tallest.features)}) from {tallest.low} to {tallest.high}"
        )


@router.get("/dictionaries/{dictionary}")
@needs(Scope.READ)
def show_dictionary(
    request: Request,
    session: Reading,
    dictionary: DictionaryReference,
    run: Run = None,
    q: Annotated[MapText, Query()] = "",
    mode: SearchMode = SearchMode.HYBRID,
) -> HTMLResponse:
    """Show a dictionary; its figures, map and health follow, since they take longer.

    `q` and `mode` are a search whose hits are lit on the map.
    """
    found = dictionaries.named(session, dictionary)
    listed = runs.runs(session, found.name, None, RUNS).items
    run = None if run is None else figures.named_run(session, found.name, run)
    query = "" if run is None else f"?run={quote(run, safe='')}"
    map_query = urlencode(({"run": run} if run else {}) | ({"q": q, "mode": mode.value} if q else {}))
    return render(
        request,
        "dictionary.html",
        dictionary=found,
        runs=listed,
        run=run,
        query=query,
        map_query=f"?{map_query}" if map_query else "",
        path_of=f"/dictionaries/{quote(found.name, safe='@')}",
    )


@router.get("/dictionaries/{dictionary}/figures")
@needs(Scope.READ)
def show_dictionary_figures(request: Request, session: Reading, dictionary: DictionaryReference, run: Run = None) -> HTMLResponse:
    """Show distributions, coverage and explainers, as a part of the dictionary's page."""
    found = figures.figures(session, dictionary, run)
    drawn = [drawing(name, one) for name, one in found.distributions.items() if one.counts]
    path_of = f"/dictionaries/{quote(found.dictionary, safe='@')}"
    return render(request, "_dictionary_figures.html", found=found, drawn=drawn, size=(WIDTH, HEIGHT), asked_run=run, path_of=path_of)


@router.get("/dictionaries/{dictionary}/health")
@needs(Scope.READ)
def show_dictionary_health(request: Request, session: Reading, dictionary: DictionaryReference, run: Run = None) -> HTMLResponse:
    """Show the headline figures of the health report, as a part of the dictionary's page."""
    name = dictionaries.named(session, dictionary).name
    try:
        found, why = health.health(session, name, run), None
    except NotFoundError as error:
        found, why = None, error
    return render(request, "_dictionary_health.html", found=found, why=why, name=name, path_of=f"/v1/dictionaries/{quote(name, safe='@')}/health")


def drawing(name: str, found: DistributionAnswer) -> Histogram:
    """Return the drawing of a distribution that has a bin."""
    shown = activation if name == "max_activation" else lambda value: figure(value, 3)
    edges = [shown(edge) for edge in found.edges]
    width, most = WIDTH / len(found.counts), max(found.counts)
    bars = []
    for place, features in enumerate(found.counts):
        # A bin of few features beside a million is seen, too.
        height = max(HEIGHT * features / most, 2.0) if features else 0.0
        x, y = round(place * width, 2), round(HEIGHT - height, 2)
        bars.append(Bar(x, round(width, 2), y, round(height, 2), edges[place], edges[place + 1], features))
    return Histogram(name, TITLES[name], tuple(bars), json.dumps(found.edges), edges[0], edges[-1], found.others, found.by_decades, name in FILTERED)
