"""The page of a dictionary's features: a table by keyset, whose address is the query."""

from enum import StrEnum
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from pydantic import Field, model_validator

from api.http.access.scopes import needs
from api.pages.columns import COLUMNS, DEFAULT, NAMES, shown
from api.pages.figures import segment
from api.pages.rendering import is_fragment, render
from api.reads import dictionaries, features
from api.reads.curation import lists
from api.reads.cursors import WITHOUT_NUL
from api.reads.dictionaries import FeatureFilters
from api.reads.search import hits
from api.reads.search.hits import SearchFilters
from api.routes.dependencies import Reading, SearchCodes, Tokens
from api.routes.dictionaries import DictionaryReference, FeatureIndex, Run
from api.schemas.base import Page
from api.schemas.search import SearchMode
from interp.domain.access import Scope
from interp.domain.errors import InputError
from interp.store.db.engine import Session
from interp.store.listings.label_codes import LabelCodes

router = APIRouter(prefix="/dictionaries", include_in_schema=False)

# What a ranking by words or meaning can filter by, beyond the listing.
OF_SEARCH = ("scorer",)
PREVIEWED = 4
# Lists that are offered by name; others can be written.
MOST_LISTS = 200


class TextMode(StrEnum):
    """What a text is compared with; all but `label` rank."""

    LABEL = "label"
    WORDS = "words"
    MEANING = "meaning"
    BOTH = "both"


RANKED = {TextMode.WORDS: SearchMode.TEXT, TextMode.MEANING: SearchMode.MEANING, TextMode.BOTH: SearchMode.HYBRID}


class FeaturesQuery(FeatureFilters):
    """The address of the page: filters, order, the text's mode and the columns."""

    by: TextMode = TextMode.LABEL
    columns: tuple[Literal[NAMES], ...] = Field(default=(), max_length=len(NAMES))  # type: ignore[valid-type]
    scorer: str | None = Field(default=None, min_length=1, max_length=64, pattern=WITHOUT_NUL)

    @model_validator(mode="before")
    @classmethod
    def _drop_blank(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Drop empty fields, which a form sends without scripts."""
        return {name: value for name, value in values.items() if value not in ("", [""])}

    @model_validator(mode="after")
    def _check_mode(self) -> Self:
        given = [name for name in OF_SEARCH if getattr(self, name) is not None]
        if given and not self.is_ranked:
            raise ValueError(f"{', '.join(given)} filter a ranking by words or meaning: write a text, and choose `by`")
        return self

    @property
    def is_ranked(self) -> bool:
        return self.q is not None and self.by is not TextMode.LABEL

    def address(self, **changed: Any) -> str:
        """Return the query of this page with changes, without what is usual."""
        values = self.model_dump(mode="json", exclude_defaults=True) | changed
        usual: dict[str, Any] = {"by": TextMode.LABEL.value, "sort": "index", "order": "asc"}
        if set(values.get("columns") or ()) == set(DEFAULT):
            values["columns"] = ()
        kept = {name: value for name, value in values.items() if value not in (None, "", (), []) and usual.get(name) != value}
        return urlencode(kept, doseq=True)

    def on_map(self) -> str | None:
        """Return the query of the dictionary's page that lights the text's hits; None without one."""
        if self.q is None:
            return None
        return urlencode({"q": self.q, "mode": RANKED.get(self.by, SearchMode.TEXT).value} | ({"run": self.run} if self.run else {}))

    def search(self, dictionary: str) -> SearchFilters:
        own = self.model_dump(include=set(SearchFilters.model_fields), exclude_none=True)
        return SearchFilters(**own | {"dictionary": dictionary, "mode": RANKED[self.by], "explainer": self.label_explainer})


Asked = Annotated[FeaturesQuery, Query()]


@router.get("/{dictionary}/features")
@needs(Scope.READ)
def show_features(request: Request, session: Reading, codes: SearchCodes, dictionary: DictionaryReference, asked: Asked) -> HTMLResponse:
    """Show a page of features; to htmx its table or rows alone."""
    found = _page(session, codes, dictionary, asked)
    path = f"/dictionaries/{segment(dictionary)}/features"
    values: dict[str, Any] = {
        "dictionary": dictionary,
        "asked": asked,
        "found": found,
        "columns": shown(asked.columns),
        "all_columns": COLUMNS,
        "usual_columns": DEFAULT,
        "here": path,
        "first": f"{path}?{asked.address(cursor=None)}",
        "next": f"{path}?{asked.address(cursor=found.next_cursor)}" if found.next_cursor else None,
        "lists": [] if is_fragment(request) else lists.lists(session, None, None, MOST_LISTS).items,
        "of_run": urlencode({"run": asked.run}) if asked.run else "",
    }
    template = "features.html" if not is_fragment(request) else "_features_rows.html" if asked.cursor else "_features_table.html"
    page = render(request, template, **values)
    if is_fragment(request) and not asked.cursor:
        page.headers["HX-Push-Url"] = f"{path}?{asked.address()}".rstrip("?")
    return page


def _page(session: Session, codes: LabelCodes, dictionary: str, asked: FeaturesQuery) -> Page[Any]:
    if asked.is_ranked:
        if asked.sort != "index":
            raise InputError("A ranking by words or meaning has an order of its own.", cure="Leave out `sort`, or write `by=label`.")
        return hits.labels(session, asked.search(dictionary), codes)
    return dictionaries.features(session, dictionary, asked)


@router.get("/{dictionary}/features/{index}/preview")
@needs(Scope.READ)
def show_feature_preview(
    request: Request, session: Reading, vocabularies: Tokens, dictionary: DictionaryReference, index: FeatureIndex, run: Run = None
) -> HTMLResponse:
    """Show the beginning of a feature, beside the table."""
    found = features.feature(session, vocabularies, dictionary, index, run, False)
    address = f"/dictionaries/{segment(dictionary)}/features/{index}" + (f"?{urlencode({'run': run})}" if run else "")
    return render(request, "_feature_preview.html", feature=found, address=address, most=PREVIEWED)
