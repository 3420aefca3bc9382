"""Show features that fire together."""

from xml.etree.ElementTree import Element

from api.cli.output.health.charts import intervals
from api.cli.output.health.figures import (
    Report,
    Row,
    at,
    feature_list,
    figures,
    is_number,
    kept,
    listing,
    number,
    numbers,
    percent,
    reason,
    records,
    shown,
)

# Pairs of features in the chart; the table has all.
CHARTED = 12
PAIRS = (
    Row("cofiring.features", "features", "Those of which all pairs are counted, beside each feature's pairs with its nearest."),
    Row("cofiring.tokens", "tokens sampled", "Those at which pairs were counted."),
    Row("cofiring.tests", "pairs tested", "At a false discovery rate of 5%."),
    Row("cofiring.significant", "significant pairs", "They fire together more than by chance."),
    Row("cofiring.block_count", "blocks", "Sets of three and more features that are linked."),
    Row("cofiring.implied_count", "implied features", "They fire only where another does."),
    Row("cofiring.composite_count", "composites", "Decoders that are nearly a sum of two others."),
    Row("cofiring.composite_pairs", "pairs tried as composites", "Those of the largest correlations; each feature's nearest are tried, too."),
    Row("cofiring.splits.count", "splits", "Near decoders that hardly fire together."),
    Row("cofiring.splits.candidates", "candidates of splits", "Pairs of a feature and its nearest that fire often enough."),
    Row("cofiring.splits.least_cosine", "least cosine of splits", "Random directions hardly exceed it."),
    Row("cofiring.splits.chance", "splits by chance", "Share of random pairs that pass, whatever their cosine.", percent),
)
COUNTS = (("block_count", "blocks"), ("implied_count", "implied features"), ("splits.count", "splits"), ("composite_count", "composites"))


def says(report: Report) -> str:
    """Return in one sentence how many pairs fire together."""
    found, tests = shown(report, "cofiring.significant").value, shown(report, "cofiring.tests").value
    if tests is None or isinstance(at(report, "cofiring.why"), str):
        return f"Nothing is said of features that fire together: {reason(report, 'cofiring.tests')}"
    counts = [f"{title} {number(count)}" for key, title in COUNTS if is_number(count := at(report, f"cofiring.{key}"))]
    return f"Of {number(tests)} pairs of features, {number(found)} fire together more than by chance; {', '.join(counts)}."


def body(report: Report) -> list[Element]:
    """Return counts of pairs, and the listed pairs, blocks, implied features, splits and composites."""
    top = records(report, "cofiring.top")
    return kept(
        figures("Pairs", report, PAIRS),
        intervals(
            "pairs",
            "Share of the rarer feature's tokens at which the other fires",
            f"At most {CHARTED} pairs, those of the largest correlation, with 95% intervals. Hollow: what the other's density gives by chance.",
            [
                (f"{one.get('rarer')}, {one.get('other')}", [("share", shown(one, "share")), ("chance", shown(one, "chance"))])
                for one in top[:CHARTED]
            ],
            "share",
        ),
        _pairs(top),
        _blocks(report),
        _implied(report),
        _splits(report),
        _composites(report),
    )


def _pairs(top: list[Report]) -> Element:
    rows = [
        (
            str(one.get("rarer")),
            str(one.get("other")),
            shown(one, "phi").said(number),
            shown(one, "share").said(percent),
            percent(shown(one, "chance").value),
            number(shown(one, "together").value),
            number(shown(one, "q").value),
        )
        for one in top
    ]
    header = ("rarer", "other", "correlation", "share of the rarer's tokens", "by chance", "tokens together", "q")
    return listing("Pairs that fire together", header, rows)


def _blocks(report: Report) -> Element:
    rows = [
        (number(shown(one, "size").value), percent(shown(one, "linked").value), feature_list(one.get("features")))
        for one in records(report, "cofiring.blocks")
    ]
    return listing("Blocks: features linked by correlations of .5 and more", ("features", "share of pairs linked", "first features"), rows)


def _implied(report: Report) -> Element:
    rows = [
        (
            str(one.get("feature")),
            str(one.get("other")),
            shown(one, "share").said(percent),
            percent(shown(one, "chance").value),
            number(shown(one, "q").value),
        )
        for one in records(report, "cofiring.implied")
    ]
    return listing("Implied: features that fire only where another does", ("feature", "implies", "share of its tokens", "by chance", "q"), rows)


def _splits(report: Report) -> Element:
    rows = [
        (
            f"{one.get('first')}, {one.get('second')}",
            number(shown(one, "cosine").value),
            shown(one, "together").said(percent),
            percent(shown(one, "overlap").value),
        )
        for one in records(report, "cofiring.splits.splits")
    ]
    header = ("features", "cosine", "fire together", "overlap of kinds of tokens")
    return listing("Splits: near decoders that hardly fire together, on alike tokens", header, rows)


def _composites(report: Report) -> Element:
    rows = [
        (
            str(one.get("feature")),
            feature_list(one.get("parts")),
            ", ".join(map(number, numbers(one.get("weights")))),
            percent(shown(one, "explained").value),
            percent(shown(one, "nearer").value),
            number(shown(one, "condition").value),
            number(shown(one, "phi").value),
            percent(shown(one, "beside").value),
            "The weights are not told apart." if one.get("collinear") else "",
        )
        for one in records(report, "cofiring.composites")
    ]
    header = (
        "feature",
        "parts",
        "weights",
        "explained",
        "by the nearer alone",
        "condition",
        "correlation of the parts",
        "tokens with the parts",
        "note",
    )
    return listing("Composites: decoders that are nearly a sum of two others", header, rows)
