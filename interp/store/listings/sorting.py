"""Define the orders of listings, for programs that import no SQL."""

from enum import StrEnum


class FeatureSort(StrEnum):
    """Fields that a listing of features can be ordered by."""

    INDEX = "index"
    SCORE = "score"
    LIFT = "lift"
    SHRUNKEN_SCORE = "shrunken_score"
    P_VALUE = "p_value"
    Q_VALUE = "q_value"
    DENSITY = "density"
    TOKENS_ACTIVE = "tokens_active"
    MAX_ACTIVATION = "max_activation"
    MEAN_ACTIVE = "mean_active"
    FIRING_LEVEL = "firing_level"
    LABEL = "label"
    EXPLAINER = "explainer"

    @property
    def column(self) -> str:
        """Return the column of the table of features."""
        return "feature" if self is FeatureSort.INDEX else self.value
