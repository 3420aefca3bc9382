"""Show features shared with the job's other dictionaries."""

from typing import Any
from xml.etree.ElementTree import Element

from api.cli.output.health.charts import intervals
from api.cli.output.health.figures import Report, Row, at, feature_list, figures, kept, listing, number, percent, records, shown
from glossator.drawing.markup import element

SHARED = (
    Row("matching.same", "same", "Share of features with a decoder above a cosine of .9 in another dictionary: mean over the others.", percent),
    Row("matching.similar", "similar", "The same above .7.", percent),
    Row("matching.same_in_all", "same in all", "Share with one in every other dictionary.", percent),
    Row("matching.similar_in_all", "similar in all", "The same above .7.", percent),
    Row("matching.similar_in_none", "similar in none", "Share without one in any other dictionary.", percent),
)
MATCHES = (
    ("forward", "nearest there"),
    ("backward", "nearest back"),
    ("one_to_one", "one to one"),
)
CHANCE = "random directions"
ALONE = "The dictionary was compared with no other: it is alone in its job."


def says(report: Report) -> str:
    """Return in one sentence what share of features other dictionaries have, too."""
    if at(report, "matching") is None:
        return ALONE
    return f"Share of features that another dictionary of the job has, too (cosine above .7): {shown(report, 'matching.similar').said(percent)}."


def body(report: Report) -> list[Element]:
    """Return shares of features in other dictionaries, and matches by decoder and encoder."""
    if at(report, "matching") is None:
        return []
    spaces = [(pair, name, pair.get(name)) for pair in records(report, "matching.pairs") for name in ("decoder", "encoder")]
    warnings = [
        element("p", f"{pair.get('other')}: {pair.get(key)}", class_="why")
        for pair in records(report, "matching.pairs")
        for key in ("warning", "encoder_why")
        if pair.get(key)
    ]
    return kept(
        figures("Shared with other dictionaries", report, SHARED),
        intervals(
            "matching",
            "Mean cosine to the matched feature",
            "By decoder and encoder, with 95% intervals. Hollow: of as many random directions.",
            [
                (f"{pair.get('other')}, {name}", [(of, shown(found, f"{of}.forward.mean")) for of in ("match", "random")])
                for pair, name, found in spaces
            ],
            "cosine",
        ),
        _matches(spaces),
        _alone(spaces),
        *warnings,
    )


def _matches(spaces: list[tuple[Report, str, Any]]) -> Element:
    rows = []
    for pair, name, found in spaces:
        for key, title in MATCHES:
            cells = [
                shown(found, f"{side}.{key}.{figure}").said(form)
                for figure, form in (("mean", number), ("same", percent), ("similar", percent))
                for side in ("match", "random")
            ]
            agreeing = shown(pair, "agreeing").said(percent) if key == "one_to_one" else ""
            rows.append((str(pair.get("other")), name, title, *cells, agreeing))
    header = ("other", "by", "match", "mean cosine", CHANCE, "above .9", CHANCE, "above .7", CHANCE, "agreeing by both")
    return listing("Matches", header, rows)


def _alone(spaces: list[tuple[Report, str, Any]]) -> Element:
    rows = []
    for pair, name, found in spaces:
        own = at(found, "first_alone.features")
        features = [one[0] for one in own if isinstance(one, list) and one] if isinstance(own, list) else None
        totals = [number(shown(found, f"{side}_alone.total").value) for side in ("first", "second")]
        rows.append((str(pair.get("other")), name, *totals, feature_list(features)))
    return listing("Features without a partner above .7", ("other", "by", "of this", "of the other", "first of this"), rows)
