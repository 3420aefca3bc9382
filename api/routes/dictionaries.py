"""Routes of dictionaries and their features."""

from collections.abc import AsyncIterator, Iterator
from typing import Annotated

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import Field

from api.http.access.scopes import needs
from api.http.head import is_head
from api.http.openapi import answers
from api.reads import bulk, dictionaries, features, health, provenance
from api.reads.bulk import BulkFilters, FeatureStream
from api.reads.curation import feature_map, figures, league, stability
from api.reads.curation.feature_map import MapFilters
from api.reads.cursors import WITHOUT_NUL
from api.reads.dictionaries import RUN
from api.routes.dependencies import CursorText, Limit, Reading, SearchCodes, Store, Tokens
from api.schemas.curation.feature_map import MapAnswer
from api.schemas.curation.figures import FiguresAnswer
from api.schemas.curation.league import LeagueAnswer
from api.schemas.curation.stability import StabilityAnswer
from api.schemas.dictionaries import DictionaryAnswer, DictionaryPage, FeaturePage
from api.schemas.examples import EXAMPLES
from api.schemas.features import FeatureAnswer
from api.schemas.health import HealthAnswer
from api.schemas.provenance import ProvenanceAnswer
from interp.domain.access import Scope
from interp.domain.polarity import ADDRESS

router = APIRouter(prefix="/v1/dictionaries", tags=["dictionaries"])

DictionaryReference = Annotated[str, Path(max_length=255, pattern=WITHOUT_NUL, description="Id or name.", examples=["pystdlib@1-res"])]
Run = Annotated[str | None, Query(min_length=1, max_length=400, pattern=WITHOUT_NUL, description=RUN)]
Difference = Annotated[float, Query(gt=0, le=1, description="The difference of two dictionaries' mean scores that is to be told.")]
Other = Annotated[str, Field(min_length=1, max_length=255, pattern=WITHOUT_NUL)]
Others = Annotated[tuple[Other, ...], Query(max_length=63, description="Other dictionaries, by id or name, to compare it with.")]
FeatureIndex = Annotated[str, Path(pattern=ADDRESS, description="Its number, or `123-` for a negative side.", examples=["123"])]


@router.get("", responses=answers(EXAMPLES["dictionary_page"], 422))
@needs(Scope.READ)
def list_dictionaries(session: Reading, cursor: CursorText = None, limit: Limit = 50) -> DictionaryPage:
    """List every dictionary that a job has opened, oldest first."""
    return dictionaries.dictionaries(session, cursor, limit)


@router.get("/{dictionary}", responses=answers(EXAMPLES["dictionary"], 404, 422))
@needs(Scope.READ)
def get_dictionary(session: Reading, dictionary: DictionaryReference) -> DictionaryAnswer:
    """Return a dictionary, by id or by name, with its current run's features by state."""
    return dictionaries.dictionary(session, dictionary)


@router.get("/{dictionary}/figures", responses=answers(EXAMPLES["dictionary_figures"], 404, 422))
@needs(Scope.READ)
def get_dictionary_figures(session: Reading, dictionary: DictionaryReference, run: Run = None) -> FiguresAnswer:
    """Return distributions of figures, coverage with reasons, and explainers beside scorers, of one run.

    Without `run`, the dictionary's current run is used.
    """
    return figures.figures(session, dictionary, run)


@router.get("/{dictionary}/health", responses=answers(EXAMPLES["dictionary_health"], 404, 422))
@needs(Scope.READ)
def get_dictionary_health(session: Reading, dictionary: DictionaryReference, run: Run = None, against: Others = ()) -> HealthAnswer:
    """Return the last health report of a dictionary: reconstruction, sparsity, geometry, co-firing and concepts.

    Jobs with `health: true` make it, one for each run. Without `run`, the dictionary's current run is used.
    """
    return health.health(session, dictionary, run, against)


@router.get("/{dictionary}/league", responses=answers(EXAMPLES["dictionary_league"], 404, 422))
@needs(Scope.READ)
def get_dictionary_league(session: Reading, dictionary: DictionaryReference, run: Run = None) -> LeagueAnswer:
    """Compare the explainers of one run by each scorer: means, differences, costs.

    Figures of one scorer are of the features that every explainer has a score of. Without `run`, the dictionary's current run is used.
    """
    return league.table(session, dictionary, run)


@router.get("/{dictionary}/stability", responses=answers(EXAMPLES["dictionary_stability"], 404, 422))
@needs(Scope.READ)
def get_dictionary_stability(session: Reading, dictionary: DictionaryReference, difference: Difference = 0.01) -> StabilityAnswer:
    """Say how stable scores are: variance components, reliability, and features needed.

    It compares jobs that scored the same features by the same explainer and scorer, with another seed, judge, explainer's model or corpus.
    """
    return stability.stability(session, dictionary, difference)


@router.get("/{dictionary}/map", responses=answers(EXAMPLES["dictionary_map"], 404, 422))
@needs(Scope.READ)
def get_dictionary_map(session: Reading, codes: SearchCodes, dictionary: DictionaryReference, filters: Annotated[MapFilters, Query()]) -> MapAnswer:
    """Return a dictionary's features in a plane, coloured by a figure of a run.

    Jobs make it, one for each dictionary. With `q` it tells which features a search finds. Without `run`, the dictionary's current run is used.
    """
    return feature_map.feature_map(session, dictionary, filters, codes)


@router.get("/{dictionary}/features", tags=["features"], response_model=FeaturePage, responses=answers(EXAMPLES["feature_page"], 404, 422))
@needs(Scope.READ)
def list_features(
    request: Request, session: Reading, engine: Store, dictionary: DictionaryReference, filters: Annotated[BulkFilters, Query()]
) -> FeaturePage | Response:
    """List the features of one run, filtered and sorted by their best explanation's figures.

    Without `run`, the dictionary's current run is listed. `expand` adds parts of each feature. With `format`, or an `Accept` of
    `application/vnd.apache.arrow.stream`, `application/vnd.apache.parquet` or `application/x-ndjson`, the answer is one stream of all features that
    match, in any number, and `limit` and `cursor` are refused.
    """
    form = filters.stream(request.headers.get("accept", ""))
    if form is not None:
        found = bulk.stream(session, engine, dictionary, filters, form)
        pieces = _pieces(iter(() if is_head(request.scope) else found), request.app.state.readers)
        return StreamingResponse(pieces, media_type=form.facts.media_type, headers=_headers(found))
    if filters.parts:
        page = bulk.page(session, engine, dictionary, filters)
        return StreamingResponse(_pieces(iter(() if is_head(request.scope) else page), request.app.state.readers), media_type="application/json")
    return dictionaries.features(session, dictionary, filters)


async def _pieces(pieces: Iterator[bytes], readers: CapacityLimiter) -> AsyncIterator[bytes]:
    """Yield pieces as they are read, each by one of the readers.

    A client that goes ends the work.
    """
    while True:
        async with readers:
            piece = await run_sync(next, pieces, None)
        if piece is None:
            return
        yield piece


def _headers(found: FeatureStream) -> dict[str, str]:
    name = "".join(letter if letter.isalnum() else "-" for letter in found.source.run.encode("ascii", "replace").decode())
    return {"Content-Disposition": f'attachment; filename="{name}{found.format.facts.suffix}"', "Vary": "Accept"}


@router.get("/{dictionary}/features/{index}", tags=["features"], responses=answers(EXAMPLES["feature"], 404, 422))
@needs(Scope.READ)
def get_feature(
    session: Reading,
    vocabularies: Tokens,
    dictionary: DictionaryReference,
    index: FeatureIndex,
    run: Run = None,
    items: Annotated[bool, Query(description="Whether scores list every question and answer.")] = True,
) -> FeatureAnswer:
    """Return everything stored of one feature in one run.

    That is statistics, histogram, contexts with tokens and activations, explanations, scores with items, neighbours, and promoted and suppressed
    tokens. Without `run`, the dictionary's current run is used.
    """
    return features.feature(session, vocabularies, dictionary, index, run, items)


@router.get("/{dictionary}/features/{index}/provenance", tags=["features"], responses=answers(EXAMPLES["provenance"], 404, 422))
@needs(Scope.READ)
def get_feature_provenance(
    session: Reading, vocabularies: Tokens, dictionary: DictionaryReference, index: FeatureIndex, run: Run = None
) -> ProvenanceAnswer:
    """Return the provenance of a feature's explanations and scores.

    Explanations have prompts, raw replies, contexts, template, digest, seed and cost. Scores have items and verdicts, prompts and replies by
    purpose, nulls, controls and cost.
    """
    return provenance.provenance(session, vocabularies, dictionary, index, run)
