"""Show L0, densities, and dead, dense and positional features."""

from xml.etree.ElementTree import Element

from api.cli.output.health.charts import histograms, intervals, quantiles
from api.cli.output.health.figures import (
    Report,
    Row,
    at,
    feature_list,
    figures,
    is_number,
    kept,
    number,
    percent,
    records,
    shown,
    table,
)
from glossator.drawing.markup import Node, element

ACTIVITY = (
    Row("activity.l0", "L0", "Features that fire at a token, on average."),
    Row("reconstruction.codes.l0", "L0 of all features", "The same where tokens are spliced: of features that were not collected, too."),
    Row("reconstruction.codes.l1", "L1", "Sum of a token's activations, on average. It depends on the decoders' norms."),
    Row(
        "reconstruction.codes.l1_scaled", "L1 by decoder norms", "Each activation times its decoder's norm: in the units of the model's activations."
    ),
    Row("activity.tokens", "tokens counted", "Of the corpus, without special tokens."),
    Row("activity.once", "features that fired once", "Many of them say that the corpus is too small to call features dead."),
    Row("activity.unseen_density", "density that may be unseen", "A feature may fire at this share of tokens and still be called dead."),
)
SETS = (
    ("dead", "dead", "Never fire. A rare feature is dead in a small corpus."),
    ("dense", "dense", "Fire at more than 10% of tokens."),
    ("first_only", "first position only", "Fire at the first content token of rows alone: they read the position."),
    ("bos_only", "BOS only", "Dead in the text, and fire at BOS."),
)
COUNTED = (("dead", "never fire"), ("dense", "fire at more than 10% of tokens"))


def says(report: Report) -> str:
    """Return in one sentence how many features fire at a token, never and often."""
    counts = [f"{number(count)} {words}" for key, words in COUNTED if is_number(count := at(report, f"activity.{key}.count"))]
    features = at(report, "activity.features")
    of = f"; of {number(features)} features, {' and '.join(counts)}" if counts and is_number(features) else ""
    return f"Features that fire at a token: {shown(report, 'activity.l0').said(number)}{of}."


def body(report: Report) -> list[Element]:
    """Return L0, kinds of features, densities, and activity by class of token."""
    classes = records(report, "activity.classes")
    return kept(
        figures("Activity", report, ACTIVITY),
        *_sets(report),
        quantiles("l0", "L0 over tokens", "Features that fire at a token.", [("L0", at(report, "activity.l0_quantiles"), 0)], "features"),
        histograms(
            "density",
            "Densities of features",
            "Features by the share of tokens at which they fire, without those that never fire.",
            [("features that fire", at(report, "activity.density"))],
            "log10 of density",
        ),
        intervals(
            "classes",
            "L0 by class of token",
            "Features that fire at a token of the class, with 95% intervals. Classes overlap.",
            [(str(one.get("name")), [("L0", shown(one, "l0"))]) for one in classes],
            "features",
        ),
        _classes(classes),
    )


def _sets(report: Report) -> list[Element]:
    """Return the table of the kinds of features, and why their shares have no interval."""
    rows: list[tuple[Node, ...]] = []
    whys = list[str | None]()
    for key, title, says in SETS:
        count, share = (shown(report, f"activity.{key}.{name}") for name in ("count", "share"))
        features = feature_list(at(report, f"activity.{key}.features"))
        rows.append((title, count.text(number), share.text(percent), element("span", says, class_="note"), features))
        # Null in a report that has it, and so no omission.
        no_bos = key == "bos_only" and isinstance(of := report.get("activity"), dict) and of.get(key, of) is None
        whys.append("BOS only: rows have no BOS." if no_bos else share.why)
    notes = [element("p", why, class_="why") for why in dict.fromkeys(whys) if why]
    return [table("Features by kind", ("kind", "features", "share", "what it says", "the densest"), rows), *notes]


def _classes(classes: list[Report]) -> Element:
    rows = [
        (
            str(one.get("name")),
            shown(one, "token_share").text(percent),
            shown(one, "l0").text(number),
            shown(one, "l0").interval(number),
            shown(one, "density").text(percent),
            number(shown(one, "selective").value),
            shown(one, "l0").why or "",
        )
        for one in classes
    ]
    header = ("class", "tokens", "L0", "95% interval", "mean density", "selective features", "why not")
    return table("Activity by class of token", header, rows)
