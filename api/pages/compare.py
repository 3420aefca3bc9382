"""Serve the page that compares explainers, a dictionary with its control, or two dictionaries."""

from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from markupsafe import Markup
from pydantic import BaseModel, ConfigDict, Field

from api.http.access.scopes import needs
from api.pages.figures import segment
from api.pages.rendering import is_fragment, render
from api.pages.scatter import PlottedPair, scatter
from api.reads import dictionaries, health
from api.reads.curation import figures, league
from api.reads.curation.league import RunLeague
from api.reads.curation.pairs import ExplainerPairs, pairs
from api.reads.curation.partners import DictionaryPairs, partners
from api.reads.cursors import WITHOUT_NUL
from api.routes.dependencies import Reading
from api.schemas.curation.league import LeagueAnswer, LeagueDifferenceAnswer, LeagueDivisionAnswer
from api.schemas.health import VerdictLineAnswer
from interp.domain.access import Scope
from interp.domain.errors import InputError, NotFoundError
from interp.store.db.engine import Session

router = APIRouter(include_in_schema=False)

MOST_DICTIONARIES = 200
Name = Annotated[str | None, Field(min_length=1, max_length=255, pattern=WITHOUT_NUL)]


class CompareQuery(BaseModel):
    """What is compared, as the address bar has it."""

    model_config = ConfigDict(extra="forbid")

    dictionary: Name = None
    against: Name = Field(default=None, description="Another dictionary; without it the explainers of one are compared.")
    run: Annotated[str | None, Field(min_length=1, max_length=400, pattern=WITHOUT_NUL)] = None
    division: int = Field(default=0, ge=0, le=1_000, description="The scorer's place in the league table.")
    pair: int = Field(default=0, ge=0, le=10_000, description="The difference's place among those of the scorer.")


@dataclass(frozen=True, slots=True)
class ShownPartners:
    """Scores of pairs of two dictionaries' features, drawn and listed."""

    found: DictionaryPairs
    drawing: Markup


@dataclass(frozen=True, slots=True)
class ShownPair:
    """Two explainers by one scorer, drawn and listed."""

    division: LeagueDivisionAnswer
    difference: LeagueDifferenceAnswer
    found: ExplainerPairs
    drawing: Markup


@router.get("/compare")
@needs(Scope.READ)
def show_compare(request: Request, session: Reading, asked: Annotated[CompareQuery, Query()]) -> HTMLResponse:
    """Show two explainers, or two dictionaries, side by side.

    The explainers follow, since all their scores are read.
    """
    if is_fragment(request) and asked.dictionary is not None and asked.against is None:
        return _explainers(request, session, asked, asked.dictionary)
    names = [one.name for one in dictionaries.dictionaries(session, None, MOST_DICTIONARIES).items if one.current_run]
    name = asked.dictionary or (names[0] if names else None)
    values: dict[str, Any] = {"asked": asked, "name": name, "names": names, "explainers": None, "sides": None, "why": None, "scores": None}
    if name is not None and asked.against is None:
        name = dictionaries.named(session, name).name
        run = {} if asked.run is None else {"run": figures.named_run(session, name, asked.run)}
        query = urlencode({"dictionary": name, "division": asked.division, "pair": asked.pair} | run)
        asks_pair = "pair" in asked.model_fields_set
        values |= {"name": name, "path_of": f"/dictionaries/{segment(name)}", "explainers": f"/compare?{query}", "asks_pair": asks_pair}
    elif name is not None and asked.against is not None:
        try:
            values["sides"] = _sides(session, name, asked.run, asked.against)
        except (NotFoundError, InputError) as error:
            for one in (name, asked.against):
                dictionaries.named(session, one)  # an unknown name is a problem of its own
            values["why"] = error
        values["scores"] = _scores(session, name, asked.run, asked.against, _unmatched(values["sides"], values["why"]))
    return render(request, "compare.html", **values)


def _explainers(request: Request, session: Session, asked: CompareQuery, name: str) -> HTMLResponse:
    """Show the explainers of a dictionary's run, as a part of the page."""
    found = league.of_run(session, name, asked.run)
    table = league.answer(session, found)
    path_of = f"/dictionaries/{segment(table.dictionary)}"
    pair = _pair(session, asked, found, table)
    return render(request, "_compare_explainers.html", asked=asked, name=table.dictionary, table=table, pair=pair, path_of=path_of)


def _pair(session: Session, asked: CompareQuery, of: RunLeague, table: LeagueAnswer) -> ShownPair | None:
    """Return the pair that is asked for; None where a place has none."""
    if asked.division >= len(table.divisions) or asked.pair >= len(table.divisions[asked.division].differences):
        return None
    division = table.divisions[asked.division]
    difference = division.differences[asked.pair]
    made = of.table.divisions[asked.division]
    found = pairs(session, of, made.scorer, made.differences[asked.pair])
    points = [PlottedPair(one.first, one.second, (one.first_low, one.first_high), (one.second_low, one.second_high)) for one in found.points]
    about = f"{division.metric} of each feature: {difference.first} across, {difference.second} up. On the line both are equal."
    return ShownPair(division, difference, found, scatter(points, difference.first, difference.second, about))


def _sides(session: Session, name: str, run: str | None, against: str) -> dict[str, Any]:
    """Return both health reports by figure, and their comparison at matched L0."""
    first, second = health.health(session, name, run, [against]), health.health(session, against, None)
    lines: dict[str, list[VerdictLineAnswer | None]] = {line.figure: [line, None] for line in first.verdict}
    for line in second.verdict:
        lines.setdefault(line.figure, [None, None])[1] = line
    return {"first": first, "second": second, "lines": lines, "measures": (first.comparison or {}).get("measures", ())}


def _unmatched(sides: dict[str, Any] | None, why: InputError | NotFoundError | None) -> str | None:
    """Return why two dictionaries are not compared at matched L0; None where they are."""
    if sides is None:
        return f"Without both health reports nobody knows whether their L0 match. {why.what if why else ''}".strip()
    compared = [one for measure in sides["measures"] for one in measure["comparisons"]]
    refused = next((one["difference"]["why"] for one in compared if one["difference"]["value"] is None), None)
    return refused if compared else "No health report has a figure at matched L0."


def _scores(session: Session, name: str, run: str | None, against: str, unmatched: str | None) -> ShownPartners:
    """Return the scores of the two dictionaries' pairs of features."""
    found = partners(session, name, run, against, unmatched)
    points = [
        PlottedPair(one.first.value, one.second.value, (one.first.low, one.first.high), (one.second.low, one.second.high)) for one in found.pairs
    ]
    about = f"Listed score of each pair of features: {name} across, {against} up. On the line both are equal."
    return ShownPartners(found, scatter(points, name, against, about))
