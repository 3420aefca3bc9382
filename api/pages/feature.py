"""Serve the page of one feature, and the parts that opening fetches."""

import random
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from api.http.access.scopes import needs
from api.pages import feature_view
from api.pages.figures import segment
from api.pages.rendering import render
from api.reads import features, provenance
from api.reads.curation import reviews
from api.reads.cursors import WITHOUT_NUL
from api.reads.jobs import job
from api.routes.dependencies import Configured, Reading, Tokens
from api.routes.dictionaries import DictionaryReference, FeatureIndex, Run
from api.schemas.features import FeatureAnswer
from interp.domain.access import Scope
from interp.domain.errors import NotFoundError
from interp.store.db.engine import Session

router = APIRouter(prefix="/dictionaries/{dictionary}/features", include_in_schema=False)

# Reviews that a feature's page lists.
MOST_REVIEWS = 20

ScoreId = Annotated[int, Path(ge=0, lt=2**63)]
Explainer = Annotated[str | None, Query(min_length=1, max_length=64, pattern=WITHOUT_NUL, description="Whose explanations come first.")]
Embed = Annotated[bool, Query(description="Without navigation, for frames of the origins that GLOSSATOR_EMBED_ORIGINS lists.")]


@router.get("/random")
@needs(Scope.READ)
def show_random_feature(session: Reading, dictionary: DictionaryReference, run: Run = None) -> Response:
    """Lead to any feature of a run."""
    found = features.at_share(session, dictionary, run, random.random())
    answer = RedirectResponse(_address(dictionary, found, run), status_code=303)
    answer.headers["Cache-Control"] = "no-store"
    return answer


@router.get("/{index}")
@needs(Scope.READ)
def show_feature(
    request: Request,
    session: Reading,
    settings: Configured,
    vocabularies: Tokens,
    dictionary: DictionaryReference,
    index: FeatureIndex,
    run: Run = None,
    explainer: Explainer = None,
    embed: Embed = False,
) -> HTMLResponse:
    """Show everything that is stored of a feature."""
    found = features.feature(session, vocabularies, dictionary, index, run, False)
    found.explanations.sort(key=lambda one: one.explainer != explainer if explainer else False)
    before, after = features.beside(session, dictionary, index, run)
    return render(
        request,
        "feature.html",
        framed_by=settings.embed_origins if embed else (),
        dictionary=found.dictionary,
        index=index,
        feature=found,
        of_run=urlencode({"run": run}) if run else "",
        here=_address(dictionary, index),
        before=None if before is None else _address(dictionary, before, run),
        after=None if after is None else _address(dictionary, after, run),
        groups=feature_view.groups(found),
        charts=[(one, feature_view.score_chart(one)) for one in found.explanations],
        activations=feature_view.activation_chart(found),
        logits=feature_view.logit_chart(found),
        loading=feature_view.loading(_source(session, found), found.hook_point, found.index),
        reviews=[] if embed else reviews.of_feature(session, dictionary, index, run, MOST_REVIEWS),
        is_embedded=embed,
    )


@router.get("/{index}/items/{score_id}")
@needs(Scope.READ)
def show_score_items(
    request: Request,
    session: Reading,
    vocabularies: Tokens,
    dictionary: DictionaryReference,
    index: FeatureIndex,
    score_id: ScoreId,
    run: Run = None,
) -> HTMLResponse:
    """Show every item of a score with its verdict."""
    found = features.feature(session, vocabularies, dictionary, index, run, True)
    score = next((score for one in found.explanations for score in one.scores if score.id == score_id), None)
    if score is None:
        raise NotFoundError(f"Feature {found.name} has no score {score_id} in this run.", cure="Open the feature's page again.")
    items = feature_view.judged(found, score)
    return render(request, "_feature_items.html", feature=found, score=score, items=items, counts=feature_view.counts(items))


@router.get("/{index}/reviews")
@needs(Scope.READ)
def show_feature_reviews(request: Request, session: Reading, dictionary: DictionaryReference, index: FeatureIndex, run: Run = None) -> HTMLResponse:
    """Show the newest reviews and notes of a feature."""
    return render(request, "_feature_reviews.html", reviews=reviews.of_feature(session, dictionary, index, run, MOST_REVIEWS))


@router.get("/{index}/origin")
@needs(Scope.READ)
def show_feature_origin(
    request: Request, session: Reading, vocabularies: Tokens, dictionary: DictionaryReference, index: FeatureIndex, run: Run = None
) -> HTMLResponse:
    """Show the prompts, replies and costs of a feature's explanations and scores."""
    return render(request, "_feature_origin.html", found=provenance.provenance(session, vocabularies, dictionary, index, run))


def _address(dictionary: str, written: str, run: str | None = None) -> str:
    path = f"/dictionaries/{segment(dictionary)}/features/{written}"
    return f"{path}?{urlencode({'run': run})}" if run else path


def _source(session: Session, found: FeatureAnswer) -> str | None:
    """Return where a job read the dictionary from; None if unknown."""
    named = found.job or next((one.job for one in found.explanations if one.job), None)
    try:
        return None if named is None else feature_view.source_of(job(session, named).spec, found.dictionary)
    except NotFoundError:
        return None
