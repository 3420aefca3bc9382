"""Write the plots of a health report as SVG, PNG and CSV."""

import csv
import io
from pathlib import Path
from typing import Any

from api.cli.output.health import comparison
from api.cli.output.health.charts import Chart, Numbers
from api.cli.output.health.sections import SECTIONS
from api.cli.output.png import png
from glossator.drawing.files import file_name, svg_file
from interp.domain.cleaning import guarded
from interp.files.atomic import writing


def write_plots(folder: Path, answer: dict[str, Any]) -> int:
    """Write every plot of a report's answer into a folder, and return how many.

    Each is NAME.svg, NAME.png and NAME.csv. Raises DiskFullError; `require_png` says before whether PNG can be drawn.
    """
    found = {file_name(one.key): one for one in charts(answer)}
    folder.mkdir(parents=True, exist_ok=True)
    for name, chart in found.items():
        drawn = svg_file(chart.drawn, chart.title, chart.says)
        for ending, content in (("svg", drawn.encode()), ("png", png(drawn)), ("csv", csv_file(chart.exact).encode())):
            with writing(folder / f"{name}.{ending}") as file:
                file.write(content)
    return len(found)


def charts(answer: dict[str, Any]) -> list[Chart]:
    """Return the charts of an answer, in the order of the page."""
    report = answer.get("report")
    report = report if isinstance(report, dict) else {}
    parts = [part for section in SECTIONS for part in section.body(report)]
    return [part for part in (*parts, *comparison.tables(answer)) if isinstance(part, Chart)]


def csv_file(numbers: Numbers) -> str:
    """Return numbers as CSV with a header; what is undefined is empty."""
    written = io.StringIO()
    # Of texts no spreadsheet makes a formula.
    csv.writer(written).writerows([guarded(value) for value in row] for row in (numbers.header, *numbers.rows))
    return written.getvalue()
