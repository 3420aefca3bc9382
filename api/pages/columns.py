"""The columns of the table of features."""

from collections.abc import Sequence
from dataclasses import dataclass

from interp.store.listings.sorting import FeatureSort


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its field, title, meaning, and the filter that formats it."""

    name: str
    title: str
    meaning: str
    form: str
    sort: FeatureSort | None = None

    @property
    def is_number(self) -> bool:
        return self.form != "token"


COLUMNS = (
    Column("score", "Score", "The figure of the best explanation, by its scorer", "figure", FeatureSort.SCORE),
    Column("shrunken_score", "Shrunken", "The score drawn to the mean by as much as it is uncertain", "figure", FeatureSort.SHRUNKEN_SCORE),
    Column("lift", "Lift", "The score minus that of other features' explanations on the same items", "signed", FeatureSort.LIFT),
    Column("p_value", "p", "The lift's p value", "probability", FeatureSort.P_VALUE),
    Column("q_value", "q", "The lift's q value (Benjamini-Hochberg)", "probability", FeatureSort.Q_VALUE),
    Column("density", "Density", "Share of tokens at which the feature fires", "percent", FeatureSort.DENSITY),
    Column("tokens_active", "Tokens", "Tokens at which it fires", "count", FeatureSort.TOKENS_ACTIVE),
    Column("max_activation", "Max", "Largest activation", "figure", FeatureSort.MAX_ACTIVATION),
    Column("mean_active", "Mean", "Mean activation where it fires", "figure", FeatureSort.MEAN_ACTIVE),
    Column("firing_level", "Level", "It fires at activations above this", "figure", FeatureSort.FIRING_LEVEL),
    Column("state", "State", "Active, rare (in few windows) or dead", "token"),
    Column("explainer", "Explainer", "Who wrote the label", "token", FeatureSort.EXPLAINER),
    Column("scorer", "Scorer", "Whose figures these are", "token"),
)
DEFAULT = ("score", "lift", "q_value", "density", "max_activation", "explainer")
NAMES = tuple(column.name for column in COLUMNS)


def shown(names: Sequence[str]) -> list[Column]:
    """Return the chosen columns in their order; the usual ones for none."""
    chosen = names or DEFAULT
    return [column for column in COLUMNS if column.name in chosen]
