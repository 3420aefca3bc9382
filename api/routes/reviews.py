"""Routes of reviews of labels."""

from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Body, Query, Response

from api.http.access.audit import made_at
from api.http.access.scopes import needs
from api.http.openapi import answers
from api.reads.curation import reviews as reads
from api.reads.curation.reviews import QueueFilters, ReviewFilters
from api.routes.dependencies import Caller, Reading, Store
from api.routes.dictionaries import DictionaryReference, FeatureIndex, Run
from api.schemas.curation.reviews import AgreementAnswer, NewReviewRequest, QueueAnswer, ReviewAnswer, ReviewPage
from api.schemas.examples import EXAMPLES
from interp.domain.access import Scope
from interp.store.db.engine import transaction
from workers.label_vectors import embed_texts

router = APIRouter(prefix="/v1", tags=["explanations"])

NewReview = Annotated[NewReviewRequest, Body(openapi_examples={"edit": {"value": EXAMPLES["new_review"]}})]


@router.post("/dictionaries/{dictionary}/features/{index}/reviews", status_code=201, responses=answers(EXAMPLES["review"], 404, 422, status=201))
@needs(Scope.REVIEW)
def create_review(
    response: Response,
    afterwards: BackgroundTasks,
    engine: Store,
    caller: Caller,
    dictionary: DictionaryReference,
    index: FeatureIndex,
    wanted: NewReview,
    run: Run = None,
) -> ReviewAnswer:
    """Accept, edit, flag or comment a feature's label.

    The text of an edit is an explanation of the explainer `human`, which jobs score with `explainers: ["human"]`. A later edit replaces it, and its
    scores go.
    """
    with transaction(engine) as session:
        made = reads.create(session, caller, dictionary, index, run, wanted)
        response.headers["Location"] = made_at(f"/v1/reviews?author={made.author}")
    if made.text is not None:
        afterwards.add_task(embed_texts, engine, [made.text])  # a second of work where the embedder is not open yet
    return made


@router.get("/reviews", responses=answers(EXAMPLES["review_page"], 404, 422))
@needs(Scope.READ)
def list_reviews(session: Reading, filters: Annotated[ReviewFilters, Query()]) -> ReviewPage:
    """List reviews, newest first."""
    return reads.page(session, filters)


@router.get("/dictionaries/{dictionary}/review-queue", responses=answers(EXAMPLES["review_queue"], 404, 422))
@needs(Scope.READ)
def get_review_queue(session: Reading, caller: Caller, dictionary: DictionaryReference, filters: Annotated[QueueFilters, Query()]) -> QueueAnswer:
    """Return labelled features whose listed label you have not judged, in order."""
    return reads.queue(session, caller, dictionary, filters)


@router.get("/dictionaries/{dictionary}/agreement", responses=answers(EXAMPLES["agreement"], 404, 422))
@needs(Scope.READ)
def get_agreement(session: Reading, dictionary: DictionaryReference, run: Run = None) -> AgreementAnswer:
    """Return how people's verdicts agree with scorers (AUROC) and with one another (kappa).

    Each figure has a 95% interval, or a reason why there is none.
    """
    return reads.agreement(session, dictionary, run)
