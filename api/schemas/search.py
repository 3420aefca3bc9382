"""Answers of the search in labels."""

from enum import StrEnum

from pydantic import Field

from api.schemas.base import Page
from api.schemas.dictionaries import FeatureSummary


class SearchMode(StrEnum):
    """What labels are compared by."""

    TEXT = "text"
    MEANING = "meaning"
    HYBRID = "hybrid"


class SearchHit(FeatureSummary):
    """A feature whose label was found, with its figures and ranks."""

    dictionary: str
    text_rank: int | None = Field(description="Its rank by words, from 1; null where the label lacks one of the words.")
    meaning_rank: int | None = Field(description="Its rank by meaning, from 1; null beyond the last that is ranked.")
    cosine: float | None = Field(description="The cosine of the label's vector and the query's, where it has a rank by meaning.")
    fused: float = Field(description="What the hits are ordered by: the sum of 1 / (60 + rank) over its ranks.")
    highlights: list[tuple[int, int]] = Field(description="Where the label has the query's words: first character, and the one after the last.")


class SearchPage(Page[SearchHit]):
    """One page of hits, the best first."""

    complete: bool = Field(
        default=True,
        description="Whether all features were ranked. False where the query matches so many that only the first were; see docs/search.md.",
    )
    embedder: str | None = Field(default=None, description="The embedder that compared meanings: package, version, digest of its weights.")
    without_meaning: str | None = Field(default=None, description="Why a hybrid search compared words alone, where it did.")
