"""What listings can be ordered by: names alone, for programs that load no SQL."""

from enum import StrEnum


class FeatureSort(StrEnum):
    """What a listing of features can be ordered by."""

    FEATURE = "feature"
    SCORE = "score"
    LIFT = "lift"
    SHRUNKEN = "shrunken"
    DENSITY = "density"
    LABEL = "label"

    @property
    def column(self) -> str:
        """The column of `features` that is sorted by."""
        return "shrunken_score" if self is FeatureSort.SHRUNKEN else self.value
