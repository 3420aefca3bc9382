"""Show what features say beyond the current token."""

from xml.etree.ElementTree import Element

from api.cli.output.health.charts import quantiles
from api.cli.output.health.figures import Report, Row, at, figures, kept, listing, number, percent, records, shown

LEFT = (
    Row("context.left", "share that the token leaves", "Of the features' activations, weighted by their decoders. 0: they name the token.", percent),
    Row("context.tokens", "tokens", "Of the most frequent types, each at least twice."),
    Row("context.types", "types", "Types of tokens that are used, 256 at most."),
    Row("context.last_two.left", "share that the last two leave", "The same, each token told with the one before: of longer context.", percent),
    Row("context.last_two.tokens", "tokens of pairs", "Of the most frequent pairs, each at least twice."),
    Row("context.last_two.types", "pairs", "Pairs that are used, 256 at most."),
)


def says(report: Report) -> str:
    """Return in one sentence what share of the activations the current token leaves."""
    return f"Share of the features' activations that the current token does not tell: {shown(report, 'context.left').said(percent)}."


def body(report: Report) -> list[Element]:
    """Return the share, each feature's R² of the token, and the largest rest."""
    spread = quantiles(
        "context-token",
        "R² of the current token",
        "Of each feature that varies; negative: the mean of the type predicts worse than the mean of all.",
        [("current token", at(report, "context.token.quantiles"), 0), ("last two tokens", at(report, "context.last_two.token.quantiles"), 0)],
        "R²",
    )
    return kept(
        figures("Beyond the current token", report, LEFT),
        spread,
        listing("Features with most of what the token leaves", ("feature", "share", "R² of the token"), _rows(report, "context.features")),
        listing("Features with most of what the last two leave", ("feature", "share", "R² of the two"), _rows(report, "context.last_two.features")),
    )


def _rows(report: Report, place: str) -> list[tuple[str, str, str]]:
    return [(str(one.get("feature")), shown(one, "share").text(percent), shown(one, "token").text(number)) for one in records(report, place)]
