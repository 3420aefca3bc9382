"""Show a dictionary's sparsity and quality beside those of others."""

from xml.etree.ElementTree import Element

from api.cli.output.health.charts import Numbers, chart
from api.cli.output.health.figures import Report, kept, listing, number, records, shown
from glossator.drawing import svg
from glossator.drawing.markup import element

MEASURES = {"ce_recovered": "CE recovered", "fvu": "FVU"}
CURVES = ("families", "mean difference", "least", "greatest", "L0 of both", "why not")


def tables(answer: Report) -> list[Element]:
    """Return Pareto fronts and comparisons at matched L0 of an answer; empty without them."""
    points = records(answer, "comparison.points")
    return kept(*[part for one in records(answer, "comparison.measures") for part in _measure(one, points)])


def _name(measure: str) -> str:
    return MEASURES.get(measure, measure)


def _plot(measure: str, points: list[Report]) -> Element | None:
    """Return the chart of one measure over L0, with the numbers behind it."""
    known = [(str(one.get("dictionary")), shown(one, "l0"), shown(one, measure)) for one in points]
    drawn = [(name, l0.value, quality.mark(0)) for name, l0, quality in known if l0.value and quality.value is not None]
    if not drawn:
        return None
    title, says = f"{_name(measure)} against L0", "Each with its 95% interval; the first is this dictionary."
    picture = svg.scatter(f"pareto-{measure}", title, says, drawn, ("L0, features that fire at a token", _name(measure)))
    rows = [(name, l0.text(number), l0.interval(number), quality.text(number), quality.interval(number)) for name, l0, quality in known]
    exact = [(name, l0.value, l0.low, l0.high, quality.value, quality.low, quality.high) for name, l0, quality in known]
    behind = Numbers(("dictionary", "L0", "L0 low", "L0 high", measure, f"{measure} low", f"{measure} high"), exact)
    return chart(picture, title, says, ("dictionary", "L0", "95% interval", _name(measure), "95% interval"), rows, behind)


def _measure(found: Report, points: list[Report]) -> list[Element | None]:
    measure = str(found.get("measure"))
    name = _name(measure)
    front = [(str(one.get("dictionary")), *_standing(one)) for one in records(found, "front")]
    pairs = []
    for one in records(found, "comparisons"):
        difference = shown(one, "difference")
        pairs.append((_both(one), difference.text(number), difference.interval(number), difference.why or ""))
    curves = []
    for one in records(found, "curves"):
        difference, ends = shown(one, "difference"), [number(shown(one, key).value) for key in ("least", "greatest", "low", "high")]
        curves.append((_both(one), difference.said(number), ends[0], ends[1], f"{ends[2]} to {ends[3]}", difference.why or ""))
    return [
        element("h3", f"{name} by L0"),
        _plot(measure, points),
        listing(f"Pareto front: {name}", ("dictionary", "on the front", "dominated by", "clearly by", "why not"), front),
        listing(f"At matched L0: {name}", ("dictionaries", "difference", "95% interval", "why not"), pairs),
        listing(f"Curves over L0: {name}", CURVES, curves),
    ]


def _standing(found: Report) -> tuple[str, str, str, str]:
    on_front = found.get("on_front")
    dominating = [", ".join(map(str, found.get(key) or ())) if isinstance(found.get(key), list) else "" for key in ("dominated_by", "clearly")]
    return "–" if on_front is None else "yes" if on_front else "no", dominating[0], dominating[1], str(found.get("why") or "")


def _both(found: Report) -> str:
    return f"{found.get('first')} less {found.get('second')}"
