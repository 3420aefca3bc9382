"""A health report's page: whole, well-formed, safe whatever a report says, and readable without colours, scripts and network."""

import base64
import copy
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from api.cli.output.health.sections import SECTIONS
from api.cli.output.health_page import page
from api.cli.output.health_report import print_health
from glossator.drawing import svg

GOLDEN = Path(__file__).parent / "golden" / "health.json"
VOID = {"meta"}
HOSTILE = "</style><script>alert(1)</script>\"'><img src=x onerror=alert(1)>&lt;\x00\x1b[31m\u202e\ud800]]>--><svg onload=alert(1)>"
VERDICT = {
    "figure": "nats_lost",
    "trained": 0.1,
    "control": {"value": 0.5, "standard_error": 0.01, "why": None},
    "difference": -0.4,
    "low": -0.5,
    "high": -0.3,
    "verdict": "better",
    "sentence": "It loses less than its control.",
}


@dataclass
class Node:
    tag: str
    attributes: dict[str, str | None]
    children: "list[Node | str]" = field(default_factory=list)

    def all(self, *tags: str) -> "Iterator[Node]":
        for child in self.children:
            if isinstance(child, Node):
                if not tags or child.tag in tags:
                    yield child
                yield from child.all(*tags)

    @property
    def text(self) -> str:
        return "".join(child if isinstance(child, str) else child.text for child in self.children)


class Reader(HTMLParser):
    """A tree of a document of which every element is closed, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = [Node("", {})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs)
        self.stack[-1].children.append(made := Node(tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(made)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop().tag == tag

    def handle_data(self, data: str) -> None:
        self.stack[-1].children.append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")


def read(document: str) -> Node:
    reader = Reader()
    reader.feed(document)
    reader.close()
    assert len(reader.stack) == 1, "every element is closed"
    return reader.stack[0]


@pytest.fixture(scope="module")
def answer() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(GOLDEN.read_text())
    return found


@pytest.fixture(scope="module")
def shown(answer: dict[str, Any]) -> Node:
    return read(page(answer))


def section(root: Node, key: str) -> Node:
    (found,) = [node for node in root.all("section") if node.attributes.get("id") == key]
    return found


def test_the_order_is_that_of_a_readers_questions(shown: Node) -> None:
    assert [node.text for node in shown.all("h1")] == ["Health of tiny@1-res"]
    assert [node.text for node in shown.all("h2")] == [
        "Verdict",
        "In short",
        "Reconstruction",
        "Shrinkage",
        "Direction of the errors",
        "Sparsity",
        "Geometry of the weights",
        "Firing together",
        "Classes of tokens",
        "Beyond the current token",
        "Shared with other dictionaries",
        "Sparsity against quality",
        "All figures",
    ]
    figures = {key: [node.attributes["aria-labelledby"] for node in section(shown, key).all("svg")] for key in ("reconstruction", "geometry")}
    assert figures["reconstruction"] == ["loss-title loss-desc", "position-title position-desc"]
    assert figures["geometry"][:2] == ["nearest-0-title nearest-0-desc", "nearest-1-title nearest-1-desc"]
    tiles = [next(part.text for part in tile.all("dt")) for tile in section(shown, "short").all("div")]
    assert tiles == ["nats lost", "CE recovered", "FVU", "L0", "dead", "dense"]


def test_readers_without_eyes_or_mouse(shown: Node) -> None:
    ids = [node.attributes["id"] for node in shown.all() if "id" in node.attributes]
    assert len(set(ids)) == len(ids)
    for link in shown.all("a"):
        assert str(link.attributes["href"]).removeprefix("#") in ids
    charts = list(shown.all("figure"))
    assert len(charts) > 10
    for chart in charts:
        (drawn,), (caption,) = chart.all("svg"), chart.all("figcaption")
        assert caption.text
        assert drawn.attributes["role"] == "img"
        names = {node.attributes["id"]: node for node in drawn.all("title", "desc")}
        assert [*names] == str(drawn.attributes["aria-labelledby"]).split()
        assert all(node.text for node in names.values())
        # The numbers behind it, in a table that opens.
        (behind,) = chart.all("details")
        assert len(list(behind.all("tr"))) > 1
    for table in shown.all("table"):
        assert [node.text for node in table.all("caption")] != [""]
        assert all(node.attributes["scope"] in ("col", "row") for node in table.all("th"))
        width = len(next(table.all("tr")).children)
        for row in table.all("tr"):
            assert sum(int(str(cell.attributes.get("colspan", 1))) for cell in row.all("th", "td")) == width
    assert next(shown.all("html")).attributes["lang"] == "en"


def test_nothing_is_loaded_or_run(answer: dict[str, Any], shown: Node) -> None:
    text = page(answer)
    assert not re.search(r"https?:|//|url\(|@import|javascript:", text)
    assert not {"script", "link", "iframe", "img", "object", "base", "form"} & {node.tag for node in shown.all()}
    assert not any(name in ("style", "src") or name.startswith("on") for node in shown.all() for name in node.attributes)
    (policy,) = [str(node.attributes["content"]) for node in shown.all("meta") if node.attributes.get("http-equiv") == "Content-Security-Policy"]
    (style,) = shown.all("style")
    digest = base64.b64encode(hashlib.sha256(style.text.encode()).digest()).decode()
    assert policy.split("; ") == ["default-src 'none'", f"style-src 'sha256-{digest}'", "base-uri 'none'", "form-action 'none'"]


def leaves(place: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Every number, text and null of a report, with its place; lists of numbers whole."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from leaves(f"{place}.{name}" if place else name, inner)
    elif isinstance(value, list) and value and not isinstance(value[0], int | float | str):
        for row, inner in enumerate(value):
            yield from leaves(f"{place}[{row}]", inner)
    else:
        yield place, value


def test_every_figure_is_shown(answer: dict[str, Any], shown: Node) -> None:
    rows = {row.children[0].text: row.children[1].text for row in section(shown, "all").all("tr")}  # type: ignore[union-attr]
    found = [*leaves("", answer["report"])]
    assert len(found) > 1000
    found += leaves("comparison", answer["comparison"])
    for place, value in found:
        expected = ", ".join("–" if one is None else str(one) for one in (value if isinstance(value, list) else [value]))
        assert rows[place] == expected


def test_figures_of_the_report_are_in_its_tables(answer: dict[str, Any]) -> None:
    """Each with a value of its own, all with an interval of one on either side."""
    found = copy.deepcopy(answer)
    figures = [*figures_of(found["report"]), *figures_of(found["comparison"])]
    assert len(figures) > 60
    # Ten apart, so that no end of an interval is another's value.
    values = range(1000, 1000 + 10 * len(figures), 10)
    for value, (_, figure) in zip(values, figures, strict=True):
        figure |= {"value": float(value), "low": value - 1.0, "high": value + 1.0, "why": None}
    text = page(found).partition('<section id="all"')[0]
    missing = [path for value, (path, _) in zip(values, figures, strict=True) if f">{value:,}.0" not in text and f">{value}00%" not in text]
    assert missing == []


def figures_of(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Every figure with its place."""
    if isinstance(value, dict) and "value" in value:
        yield path, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from figures_of(inner, (*path, name))
    elif isinstance(value, list):
        for row, inner in enumerate(value):
            yield from figures_of(inner, (*path, row))


def test_the_terminal_shows_absorption_beside_chance(
    answer: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    found = copy.deepcopy(answer)
    first, second, *_ = [one for one in found["report"]["concepts"]["concepts"] if one["probes"]]
    first["absorption"]["rate"], first["absorption"]["random"]["mean"]["value"] = {"value": 0.123, "low": 0.1, "high": 0.15}, 0.02
    # As reports of before have it.
    del second["absorption"]
    print_health(found)
    shown = capsys.readouterr().out
    assert "12.3% (10.0% to 15.0%), by chance 2.0%" in shown and "share that the last two leave" in shown and "L1 by decoder norms" in shown
    assert next(line for line in shown.splitlines() if line.startswith(f"{second['name']} ")).rstrip().endswith("–")


def test_an_interval_is_1_96_standard_errors_to_two_digits(answer: dict[str, Any]) -> None:
    report = trimmed(answer["report"])
    report["activity"]["l0"] = {"value": 12.3456, "standard_error": 0.05, "why": None}
    report["activity"]["dense"]["share"] = {"value": 0.123456, "standard_error": 0.005, "why": None}
    root = read(page(answer | {"report": report}))
    tiles = {next(tile.all("dt")).text: [part.text for part in tile.all("dd")] for tile in section(root, "short").all("div")}
    assert (tiles["L0"][0], tiles["L0"][-1]) == ("12.346", "95%: 12.248 to 12.444")
    assert (tiles["dense"][0], tiles["dense"][-1]) == ("12.35%", "95%: 11.37% to 13.33%")


def test_a_null_figure_says_why(answer: dict[str, Any], shown: Node) -> None:
    splicing = answer["report"]["reconstruction"]["splicing"]["score"]
    assert splicing["value"] is None
    for key in ("short", "reconstruction"):
        assert splicing["why"] in section(shown, key).text
    thresholds = answer["report"]["geometry"]["thresholds"]["why"]
    assert thresholds in section(shown, "geometry").text
    assert next(one["why"] for one in answer["report"]["concepts"]["concepts"] if one["why"]) in section(shown, "concepts").text


def test_without_reconstruction_each_section_says_why(answer: dict[str, Any]) -> None:
    why = "Neurons reconstruct nothing."
    nothing = dict.fromkeys(("splicing", "error", "shrinkage", "rescaled", "direction"))
    root = read(page(answer | {"report": answer["report"] | {"reconstruction": {"why": why, "seen": {}} | nothing}}))
    for key in ("short", "reconstruction", "shrinkage", "direction"):
        assert why in section(root, key).text, key


def test_rows_without_bos_have_no_features_of_it(answer: dict[str, Any]) -> None:
    report = answer["report"] | {"activity": answer["report"]["activity"] | {"bos_only": None}}
    assert "rows have no BOS" in section(read(page(answer | {"report": report})), "sparsity").text


def test_texts_from_outside_stay_texts(answer: dict[str, Any]) -> None:
    def replaced(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: replaced(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [replaced(inner) for inner in value]
        return HOSTILE if isinstance(value, str) else value

    hostile = replaced(answer | {"verdict": [VERDICT]})
    hostile["report"][HOSTILE] = {HOSTILE: [HOSTILE, {"value": HOSTILE}]}
    document = page(hostile)
    document.encode()
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\ud800-\udfff]", document)
    root = read(document)
    known = {node.tag for node in read(page(answer | {"verdict": [VERDICT]})).all()}
    assert {node.tag for node in root.all()} <= known
    assert not any(name.startswith("on") for node in root.all() for name in node.attributes)
    assert "<script>alert(1)</script>" in section(root, "concepts").text, "it is shown as it is"


def test_a_later_report_is_shown_too(answer: dict[str, Any]) -> None:
    report = trimmed(answer["report"])
    later = answer | {"report": report | {"version": 9, "steering": {"effect": {"value": 0.25, "standard_error": 0.01}, "rows": [[1, {"a": []}]]}}}
    text = section(read(page(later)), "all").text
    for part in ("steering.effect.value0.25", "steering.rows[0][0]1", "steering.rows[0][1].a"):
        assert part in text
    for key in [*report, "report"]:
        shorter = {name: value for name, value in report.items() if name != key}
        root = read(page(answer | {"report": None if key == "report" else shorter}))
        assert {str(node.attributes.get("id")) for node in root.all("section")} >= {one.key for one in SECTIONS}


def test_the_verdict_comes_first(answer: dict[str, Any]) -> None:
    root = read(page(answer | {"verdict": [VERDICT | {"verdict": "not compared", "control": None}, VERDICT]}))
    assert [node.text for node in section(root, "verdict").all("summary")] == ["Not compared (1)"]
    assert next(root.all("h2")).text == "Verdict"
    cells = [cell.text for cell in next(root.all("tbody")).all("th", "td")]
    assert cells == ["nats_lost", "better", "It loses less than its control.", "0.100", "0.500", "-0.40", "-0.50 to -0.30"]


JUNK: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.text(max_size=5)
    | st.floats()
    | st.integers()
    | st.lists(st.floats() | st.text(max_size=3), max_size=8)
    | st.just({})
)


def trimmed(value: Any) -> Any:
    """An answer with one record of each list."""
    if isinstance(value, dict):
        return {name: trimmed(inner) for name, inner in value.items()}
    return [trimmed(value[-1])] if isinstance(value, list) and value and isinstance(value[0], dict) else value


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_whatever_a_server_answers_a_page_is_made(answer: dict[str, Any], data: st.DataObject) -> None:
    found = trimmed(copy.deepcopy(answer))
    for _ in range(6):
        place = found
        while True:
            name = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
            if not isinstance(place[name], dict | list) or not place[name] or data.draw(st.integers(0, 3)) == 0:
                place[name] = data.draw(JUNK)
                break
            place = place[name]
        if not isinstance(found.get("report"), dict):
            break
    read(page(found)).text.encode()


finite = st.floats(-1e99, 1e99)


@example([5e-324], True, False)
@example([5e-324], False, True)
@example([2.3e-308, 2.2e-308], False, False)
@given(st.lists(finite, min_size=1, max_size=4), st.booleans(), st.booleans())
def test_marks_are_within_the_chart(values: list[float], bars: bool, log: bool) -> None:
    across = svg.scale(values, zero=bars, log=log)
    assert all(svg.LEFT <= across.at(value) <= svg.RIGHT for value in values)
    places = [across.at(value) for value in sorted(values)]
    assert places == sorted(places)
    ticks = [value for value, _ in across.ticks()]
    assert len(ticks) < 25
    assert all(svg.LEFT <= across.at(value) <= svg.RIGHT for value in ticks)
    drawn = svg.marks("k", "t", "d", [("row", [svg.Mark(value, value, value) for value in values])], "unit", bars=bars)
    assert all(0 <= float(node.get(name, "0")) <= svg.WIDTH for node in drawn.iter() for name in ("x", "cx", "x1", "x2", "width"))


def test_ticks_are_round_and_differ() -> None:
    assert [label for _, label in svg.scale([0.0, 10.0]).ticks()] == ["0", "2", "4", "6", "8", "10"]
    assert [label for _, label in svg.scale([0.9999, 1.0001]).ticks()] == ["0.99990", "0.99995", "1.00000", "1.00005", "1.00010"]
    assert [label for _, label in svg.scale([0.2, 1.5], log=True).ticks()] == ["0.2", "0.5", "1"]
    assert [label for _, label in svg.scale([1e-12, 2.0, 0.0], log=True).ticks()] == ["1e-05", "0.0001", "0.001", "0.01", "0.1", "1"]


def test_a_histogram_beside_its_control_has_one_scale() -> None:
    drawn = svg.histograms("k", "t", "d", [0.0, 1.0, 2.0, 3.0], [("own", [0, 2, 2]), ("control", [0, 0, 8])], "unit")
    bars = [(node.get("class"), float(node.get("x", "")), float(node.get("height", ""))) for node in drawn.iter("rect")]
    (_, _, first), (_, own, second), (kind, control, third) = bars
    assert own == control
    assert kind == "bar s1"
    assert first == second == third / 2, "shares of each, not counts"
