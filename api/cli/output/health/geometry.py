"""Show cosines, norms, biases and thresholds of the weights."""

from xml.etree.ElementTree import Element

from api.cli.output.health.charts import LEVELS, histograms
from api.cli.output.health.figures import (
    Report,
    Row,
    at,
    feature_list,
    figures,
    kept,
    listing,
    number,
    numbers,
    percent,
    reason,
    records,
    shown,
    table,
)
from glossator.drawing.markup import element

OWN, RANDOM = "this dictionary", "random directions"
DIRECTIONS = (
    Row("geometry.near_duplicates", "near duplicates", "Features whose nearest is above a cosine of .9.", percent),
    Row("geometry.random_near_duplicates", "near duplicates of random directions", "What chance alone gives.", percent),
    Row("geometry.random_peaks", "peaks of random directions", "Beside the peaks below."),
    Row("geometry.random_hub", "largest hub of random directions", "Directions that share one nearest, by chance."),
    Row("geometry.zero_decoders", "zero decoders", "Features without a direction."),
    Row("geometry.zero_encoders", "zero encoders", "Features that are constant."),
    Row("geometry.sampled", "features sampled", "They were compared with all others."),
)
VALUES = (
    ("encoder_decoder", "encoder-decoder cosine", "Cosine of a feature's encoder with its decoder."),
    ("decoder_norms", "decoder norm", "It depends on how scales are folded."),
    ("encoder_norms", "encoder norm", "It depends on how scales are folded."),
    ("encoder_biases", "encoder bias", "A negative one is a threshold."),
    ("thresholds", "threshold", "Activations below it are 0."),
)


def says(report: Report) -> str:
    """Return in one sentence how near decoders are, beside random directions."""
    first = next(iter(records(report, "geometry.nearest")), {})
    own, chance = shown(first, "mean"), shown(first, "random_mean")
    return f"Mean cosine of a feature's decoder to the nearest: {own.said(number)}; of as many random directions: {chance.said(number)}."


def body(report: Report) -> list[Element]:
    """Return cosines to the nearest decoders, peaks, hubs, and numbers of features."""
    nearest = records(report, "geometry.nearest")
    cosines = [
        histograms(
            f"nearest-{place}",
            f"Cosine to the nearest decoder no. {one.get('rank')}",
            "Decoders above random directions are crowded. A peak near 1 is of duplicates.",
            [(OWN, one.get("histogram")), (RANDOM, one.get("random_histogram"))],
            "cosine",
        )
        for place, one in enumerate(nearest)
    ]
    values = [
        histograms(key, title.capitalize(), says, [("features", at(report, f"geometry.{key}.histogram"))], title) for key, title, says in VALUES
    ]
    parts = (_means(nearest), *cosines, _peaks(report), _hubs(report), _values(report), *values, _sites(report))
    return kept(figures("Decoder directions", report, DIRECTIONS), *parts)


def _means(nearest: list[Report]) -> Element:
    rows = []
    for one in nearest:
        own, chance = shown(one, "mean"), shown(one, "random_mean")
        rows.append((f"no. {one.get('rank')}", own.text(number), own.interval(number), chance.text(number), chance.interval(number), own.why or ""))
    return table("Mean cosine to the nearest", ("nearest", OWN, "95% interval", RANDOM, "95% interval", "why not"), rows)


def _peaks(report: Report) -> Element:
    rows = [
        (
            f"{number(shown(one, 'low').value)} to {number(shown(one, 'high').value)}",
            number(shown(one, "count").value),
            str(one.get("shared")),
            percent(shown(one, "share").value),
            feature_list(one.get("features")),
        )
        for one in records(report, "geometry.peaks")
    ]
    return listing("Peaks of the cosines to the nearest", ("cosines", "features", "nearest to most", "to what share", "first features"), rows)


def _hubs(report: Report) -> Element:
    rows = [(str(one.get("feature")), number(shown(one, "count").value)) for one in records(report, "geometry.hubs")]
    return listing("Hubs: nearest to the most others", ("feature", "others"), rows)


def _values(report: Report) -> Element:
    rows = []
    for key, title, _ in VALUES:
        path = f"geometry.{key}"
        quantiles = numbers(at(report, f"{path}.distribution.quantiles"))
        cells = [number(value) for value in quantiles] if len(quantiles) == len(LEVELS) else ["–"] * len(LEVELS)
        signs = [shown(report, f"{path}.{side}").text(percent) for side in ("negative", "positive")]
        infinite, why = number(shown(report, f"{path}.infinite").value), "" if quantiles else reason(report, f"{path}.distribution")
        rows.append((title, number(shown(report, f"{path}.distribution.mean").value), *cells, *signs, infinite, why))
    return table("Numbers of features", ("", "mean", *LEVELS, "below 0", "above 0", "infinite", "why not"), rows)


def _sites(report: Report) -> Element:
    sites = records(report, "geometry.sites")
    if not sites:
        return element("p", "By hook point: ", str(at(report, "geometry.sites_why") or reason(report, "geometry.sites")), class_="why")
    rows = [(str(one.get("hook_point")), number(shown(one, "norms.mean").value), percent(shown(one, "share.mean").value)) for one in sites]
    return table("Decoder norms by hook point", ("hook point", "mean norm", "mean share of the squared norm"), rows)
