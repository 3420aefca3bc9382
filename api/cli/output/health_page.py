"""Show a health report as one HTML file, without scripts and files of other hosts."""

import base64
import hashlib
from collections.abc import Iterator
from itertools import groupby
from typing import Any
from xml.etree.ElementTree import Element

from api.cli.output.health import comparison
from api.cli.output.health.figures import Report, at, folded, is_number, number, records, shown, table
from api.cli.output.health.sections import HEADLINE, SECTIONS, Section
from api.cli.output.health.style import STYLE
from glossator.drawing.markup import Node, document, element

# Headings of docs/health.md that define comparisons.
COMPARED, CONTROLS = "sparsity-against-quality", "controls"
# The verdict of figures that have no control.
NOT_COMPARED = "not compared"


def page(answer: dict[str, Any]) -> str:
    """Return the HTML page of a health report's answer, as `GET /v1/dictionaries/{d}/health` gives it.

    Sections and figures that this version does not know are in the last table, so that all of a later report is shown.
    """
    report = answer.get("report")
    report = report if isinstance(report, dict) else {}
    title = f"Health of {answer.get('dictionary')}"
    main = element(
        "main",
        _header(title, answer, report),
        _verdict(answer, report),
        _headline(report),
        _contents(),
        *[_section(section, report) for section in SECTIONS],
        _comparison(answer),
        _everything(answer, report),
    )
    return document(element("html", _head(title), element("body", main), lang="en"))


def _head(title: str) -> Element:
    # Nothing is loaded or run, whatever a text says: the style alone is allowed, by its hash.
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    style = Element("style")
    style.text = STYLE
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        style,
    )


def _header(title: str, answer: dict[str, Any], report: Report) -> Element:
    facts = [
        ("run", answer.get("run")),
        ("job", answer.get("job")),
        ("made", answer.get("created_at")),
        ("hook point", report.get("hook_point")),
        ("architecture", report.get("architecture")),
        ("features", _of(report.get("features"), report.get("n_features"))),
        ("tokens counted", _count(at(report, "activity.tokens"))),
        ("tokens spliced", _count(at(report, "reconstruction.seen.tokens"))),
    ]
    parts = [part for name, value in facts if value is not None for part in (element("dt", name), element("dd", str(value)))]
    return element("header", element("h1", title), element("dl", *parts, class_="facts"))


def _count(value: Any) -> str | None:
    return number(value) if is_number(value) else None


def _of(measured: Any, all_features: Any) -> str | None:
    if not (is_number(measured) and is_number(all_features)):
        return None
    return number(measured) if measured == all_features else f"{number(measured)} of {number(all_features)}"


def _verdict(answer: dict[str, Any], report: Report) -> Element | None:
    """Return the comparison with a control, where the answer has one."""
    lines = records(answer, "verdict") or records(report, "verdict")
    if not lines:
        return None
    told, untold = ([one for one in lines if (one.get("verdict") == NOT_COMPARED) is is_untold] for is_untold in (False, True))
    tables = [_verdict_table("Headline figures beside a control", told)] if told else []
    if untold:
        tables.append(folded(f"Not compared ({len(untold)})", _verdict_table("Headline figures that are not compared", untold)))
    return element("section", element("h2", "Verdict"), _definition(CONTROLS), *tables, id="verdict")


def _verdict_table(caption: str, lines: list[Report]) -> Element:
    rows: list[tuple[Node, ...]] = []
    for one in lines:
        values = [number(shown(one, key).value) for key in ("trained", "control")]
        difference = shown({"value": shown(one, "difference").value, "low": one.get("low"), "high": one.get("high")})
        says, verdict = one.get("sentence") or one.get("why") or "", element("strong", str(one.get("verdict")))
        shown_says = element("span", str(says), class_="note")
        rows.append((str(one.get("figure")), verdict, shown_says, *values, difference.text(number), difference.interval(number)))
    columns = ("figure", "verdict", "what it says", "trained", "control", "difference", "95% interval of it")
    return table(caption, columns, rows)


def _headline(report: Report) -> Element:
    parts = []
    for row in HEADLINE:
        figure, form = shown(report, row.path), row.form or number
        note = f"95%: {figure.interval(form)}" if figure.low is not None else figure.why
        parts.append(
            element(
                "div",
                element("dt", row.title),
                element("dd", figure.text(form), class_="value"),
                element("dd", row.says),
                element("dd", note, class_="why"),
            )
        )
    return element("section", element("h2", "In short"), element("dl", *parts, class_="tiles"), id="short")


def _contents() -> Element:
    links = [(section.key, section.title) for section in SECTIONS] + [("all", "All figures")]
    return element("nav", element("ul", *[element("li", element("a", title, href=f"#{key}")) for key, title in links]), aria_label="Sections")


def _section(section: Section, report: Report) -> Element:
    says = element("p", section.says(report), class_="says")
    body = [
        part
        for is_chart, parts in groupby(section.body(report), lambda part: part.tag == "figure")
        for part in ([element("div", *parts, class_="charts")] if is_chart else parts)
    ]
    return element("section", element("h2", section.title), says, _definition(section.anchor), *body, id=section.key)


def _comparison(answer: dict[str, Any]) -> Element | None:
    """Return the comparison with other dictionaries by L0 and quality, where the answer has one."""
    tables = comparison.tables(answer)
    says = "A denser dictionary reconstructs better, so that two are compared at matched L0 alone."
    title = "Sparsity against quality"
    return (
        element("section", element("h2", title), element("p", says, class_="says"), _definition(COMPARED), *tables, id="comparison")
        if tables
        else None
    )


def _definition(anchor: str) -> Element:
    return element("p", "Definitions: ", element("code", f"docs/health.md#{anchor}"), class_="definition")


def _everything(answer: dict[str, Any], report: Report) -> Element:
    """Return tables of every value in the answer, by its place."""
    beside = {name: value for name, value in answer.items() if name != "report" and isinstance(value, dict | list)}
    parts = [
        folded(name, table(f"All figures of {name}", ("place", "value"), [(place, value) for place, value in _leaves(name, value)]))
        for name, value in (beside | report).items()
    ]
    says = element("p", "Every value of the report, by its place in the JSON answer, with all digits.", class_="says")
    return element("section", element("h2", "All figures"), says, *parts, id="all")


def _leaves(place: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _leaves(f"{place}.{name}", inner)
    elif isinstance(value, list) and any(isinstance(one, dict | list) for one in value):
        for row, inner in enumerate(value):
            yield from _leaves(f"{place}[{row}]", inner)
    else:
        yield place, ", ".join(map(_exact, value)) if isinstance(value, list) else _exact(value)


def _exact(value: Any) -> str:
    return "–" if value is None else str(value)
