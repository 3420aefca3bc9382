"""The dashboard and every other file that names a metric name those that exist, with labels that they have."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from api.http import metrics

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "deploy" / "grafana" / "glossator.json"
LABELS = {
    **{metric.name: set(metric.labels) for metric in metrics.METRICS},
    metrics.DATABASE_UP[0]: set(),
    metrics.READ_SECONDS[0]: set(),
    **{f"{metrics.REQUESTS[0]}{end}": {*metrics.REQUESTS[2], *more} for end, more in (("_bucket", {"le"}), ("_count", set()), ("_sum", set()))},
}
# What Prometheus itself adds.
OWN = {"instance", "job"}
NAME = re.compile(r"\bglossator_(?!test_)[a-z_]+\b")
USED = re.compile(r"(glossator_[a-z_]+)(?:\{([^}]*)\})?")
FILES = [
    *sorted(ROOT.glob("deploy/**/*.yaml")),
    *sorted(ROOT.glob("deploy/**/*.json")),
    ROOT / "docs" / "metrics.md",
    ROOT / "docs" / "deploy.md",
    ROOT / "docs" / "observability.md",
]


@pytest.fixture(scope="module")
def panels() -> list[dict[str, Any]]:
    return list(json.loads(DASHBOARD.read_text())["panels"])


def expressions(panels: list[dict[str, Any]]) -> list[str]:
    return [target["expr"] for panel in panels for target in panel.get("targets", ())]


def test_every_metric_is_on_the_dashboard(panels: list[dict[str, Any]]) -> None:
    shown = set(NAME.findall(" ".join(expressions(panels))))
    assert {metric.name for metric in metrics.METRICS} <= shown
    assert {metrics.DATABASE_UP[0], metrics.READ_SECONDS[0], f"{metrics.REQUESTS[0]}_bucket"} <= shown


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_metric_that_is_named_exists_and_has_these_labels(path: Path) -> None:
    text = path.read_text().replace('\\"', '"')
    assert set(NAME.findall(text)) <= {*LABELS, metrics.REQUESTS[0]}
    for name, selector in USED.findall(text):
        assert {part.split("=")[0].rstrip("!~ ").strip() for part in selector.split(",") if part} <= LABELS.get(name, set()), selector


def test_what_is_grouped_by_is_a_label(panels: list[dict[str, Any]]) -> None:
    for expression in expressions(panels):
        labels = {label for name in NAME.findall(expression) for label in LABELS[name]} | OWN
        grouped = {label.strip() for group in re.findall(r"by \(([^)]*)\)", expression) for label in group.split(",")}
        assert grouped <= labels, expression
        assert expression.count("(") == expression.count(")")


def test_legends_name_labels_of_their_expressions(panels: list[dict[str, Any]]) -> None:
    for target in (target for panel in panels for target in panel.get("targets", ())):
        labels = {label for name in NAME.findall(target["expr"]) for label in LABELS[name]} | OWN
        assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= labels


def test_panels_have_a_place_of_their_own(panels: list[dict[str, Any]]) -> None:
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
