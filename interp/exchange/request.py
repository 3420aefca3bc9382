"""What a user asks of an export, and the plan that follows from it."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, field_validator

from interp.domain.errors import InputError
from interp.domain.feature_bounds import WITHOUT_NUL, FeatureBounds
from interp.domain.feature_ranges import RANGES, ranges_of
from interp.exchange.export import ExportPlan
from interp.exchange.formats import format_of
from interp.exchange.formats.base import FormatOptions
from interp.store import feature_lists
from interp.store.db.engine import Session
from interp.store.listings import queries, records
from interp.store.listings.queries import FeatureQuery
from interp.store.listings.records import Part, RecordQuery
from interp.store.results import runs

FormatName = Literal["parquet", "jsonl", "arrow", "csv", "neuronpedia", "neuronpedia-upload", "saedashboard", "hf-dataset", "graph", "delphi"]
Name = Annotated[str, Field(min_length=1, max_length=255, pattern=WITHOUT_NUL)]


class ExportRequest(FeatureBounds):
    """A dictionary's features to export, and the format."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dictionary: Name = Field(description="Id or name.", examples=["pystdlib@1-res"])
    format: FormatName
    run: str | None = Field(default=None, min_length=1, max_length=400, pattern=WITHOUT_NUL, description="The run; the current one when not given.")
    features: str = Field(
        default="all", max_length=1 << 20, pattern=RANGES, description="`all`, or ranges with both ends.", examples=["all", "0-99,120"]
    )
    parts: tuple[Part, ...] | None = Field(default=None, max_length=len(Part), description="Parts of each feature; by default the format's.")
    explainer: str | None = Field(default=None, min_length=1, max_length=64, pattern=WITHOUT_NUL, description="Only explanations of this explainer.")
    label_explainer: str | None = Field(default=None, min_length=1, max_length=64, pattern=WITHOUT_NUL, description="Who wrote the listed label.")
    license: str = Field(
        default="unknown", max_length=40, pattern=r"^[a-z0-9][a-z0-9.+-]*$", description="The identifier that the card of a data set names."
    )

    @field_validator("features")
    @classmethod
    def _check_features(cls, value: str) -> str:
        ranges_of(value)
        return value

    def numbers(self, n_features: int) -> tuple[int, ...] | None:
        """Return the asked feature numbers that the dictionary has, ascending; None for all."""
        ranges = ranges_of(self.features)
        return None if ranges is None else tuple(index for start, stop in ranges for index in range(start, min(stop, n_features)))

    def asked(self) -> dict[str, Any]:
        """Return what was asked beyond defaults, as JSON content."""
        return self.model_dump(mode="json", exclude_defaults=True)


def plan_of(session: Session, request: ExportRequest) -> ExportPlan:
    """Return the plan of an export; raises NotFoundError and InputError."""
    row = queries.dictionary(session, request.dictionary)
    run = runs.shown(session, row, request.run)
    if not run.tokens and (unknown := request.of_whole_corpora()):
        raise InputError("The density of imported features is not known, nor are their counts and means.", cure=f"Leave out {', '.join(unknown)}.")
    form = format_of(request.format)
    bounds = {name: getattr(request, name) for name in FeatureBounds.model_fields if name not in ("q", "max_p_value", "max_q_value", "list")}
    list_id = feature_lists.id_of(session, request.list)
    features = FeatureQuery(
        run.id,
        text=request.q,
        max_p=request.max_p_value,
        max_q=request.max_q_value,
        list_id=list_id,
        explainer=request.label_explainer,
        **bounds,
    )
    parts = form.facts.parts if request.parts is None else frozenset(request.parts)
    query = RecordQuery(features, parts, request.explainer, is_imported=not run.tokens, items_of=form.facts.items_of)
    options = FormatOptions(license=request.license)
    return ExportPlan(records.source(session, row, run), query, form, request.numbers(row.n_features), options, request.asked())


def total_of(session: Session, plan: ExportPlan) -> int | None:
    """Return how many features the export has, where no filter leaves that open."""
    if plan.among is not None or any(plan.asked.get(name) is not None for name in (*FeatureBounds.model_fields, "label_explainer")):
        return None
    return runs.covered(session, [plan.source.run_id])[plan.source.run_id]
