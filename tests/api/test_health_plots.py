"""A health report's plots as files: all of the page's, with their numbers, whatever a report says, and cures for what is missing."""

import copy
import csv
import json
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, fromstring

import pytest

from api.cli.commands import health as command
from api.cli.output import png as module
from api.cli.output.health.figures import Z
from api.cli.output.health_page import page
from api.cli.output.health_plots import charts, write_plots
from glossator.drawing.files import file_name
from interp.domain.errors import InputError

pytest.importorskip("resvg_py", reason="resvg-py is not installed (it is in the extra plots)")
GOLDEN = Path(__file__).parent / "golden" / "health.json"
HOSTILE = "=cmd|'/c x'!A1<script>alert(1)</script>../../\x00\x1b[31m\u202e\ud800]]>"
SVG = "{http://www.w3.org/2000/svg}"
needs_font = pytest.mark.skipif(module.png(module.LETTER) == module.png(module.BLANK), reason="this machine has no font (Debian: fonts-dejavu-core)")


@pytest.fixture(scope="module")
def answer() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(GOLDEN.read_text())
    return found


@pytest.fixture(scope="module")
def folder(answer: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("plots") / "deeper" / "figures"
    assert write_plots(made, answer) == len(charts(answer))
    return made


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def drawing(path: Path) -> Element:
    return fromstring(path.read_text(encoding="utf-8"))


def pixels(content: bytes) -> tuple[int, int, bytes]:
    """Width, height and the decompressed rows of a PNG."""
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", content[16:24])
    parts, place = b"", 8
    while place < len(content):
        size, kind = struct.unpack(">I4s", content[place : place + 8])
        parts += content[place + 8 : place + 8 + size] if kind == b"IDAT" else b""
        place += size + 12
    return width, height, zlib.decompress(parts)


def test_every_plot_of_the_page_is_three_files(answer: dict[str, Any], folder: Path) -> None:
    shown = re.findall(r'<svg[^>]*aria-labelledby="(.+?)-title ', page(answer))
    assert len(shown) > 10
    assert sorted(path.name for path in folder.iterdir()) == sorted(f"{name}.{ending}" for name in shown for ending in ("svg", "png", "csv"))


def test_the_numbers_are_those_of_the_report_with_all_digits(answer: dict[str, Any], folder: Path) -> None:
    concepts = {one["name"]: one for one in answer["report"]["concepts"]["concepts"]}
    absorbed = [row for row in rows(folder / "absorption.csv") if row["series"] == "absorbed"]
    assert len(absorbed) > 3
    for row in absorbed:
        rate = concepts[row["name"]]["absorption"]["rate"]
        assert [float(row[key]) for key in ("value", "low", "high")] == [rate[key] for key in ("value", "low", "high")]
    (lost,) = [row for row in rows(folder / "loss.csv") if row["name"] == "reconstruction"]
    figure = answer["report"]["reconstruction"]["splicing"]["ce_spliced"]
    assert float(lost["value"]) == figure["value"] and float(lost["high"]) == figure["value"] + Z * figure["standard_error"]
    (l0,) = rows(folder / "l0.csv")
    assert [float(value) for value in [*l0.values()][1:]] == answer["report"]["activity"]["l0_quantiles"]
    density = answer["report"]["activity"]["density"]
    found = [[float(value) for value in row.values()] for row in rows(folder / "density.csv")]
    assert [row[2] for row in found] == density["counts"] and [row[0] for row in found] == density["edges"][:-1]
    pareto = {row["dictionary"]: float(row["fvu"]) for row in rows(folder / "pareto-fvu.csv")}
    assert pareto == {one["dictionary"]: one["fvu"]["value"] for one in answer["comparison"]["points"]}


def test_a_drawing_stands_alone(answer: dict[str, Any], folder: Path) -> None:
    for chart in charts(answer):
        path = folder / f"{chart.key}.svg"
        text, root = path.read_text(encoding="utf-8"), drawing(path)
        assert root.tag == f"{SVG}svg" and not re.search(r"url\(|@import|href|var\(|<script| on\w+=", text)
        assert text.count("http") == 1, "the namespace alone"
        assert [node.text for node in root.iter(f"{SVG}text") if node.get("class") == "title"] == [chart.title]
        assert " ".join(str(node.text) for node in root.iter(f"{SVG}text") if node.get("class") == "says") == chart.says
        left, top, width, height = (int(number) for number in str(root.get("viewBox")).split())
        assert (int(str(root.get("width"))), int(str(root.get("height")))) == (width, height)
        for node in root.iter():
            for name, low, high in (("x", left, left + width), ("cx", left, left + width), ("y", top, top + height), ("cy", top, top + height)):
                assert low <= float(node.get(name, low)) <= high


def test_a_png_has_the_size_of_its_drawing_and_is_not_blank(folder: Path) -> None:
    for path in folder.glob("*.svg"):
        root, (width, height, shown) = drawing(path), pixels(path.with_suffix(".png").read_bytes())
        assert (width, height) == (module.ZOOM * int(str(root.get("width"))), module.ZOOM * int(str(root.get("height"))))
        assert len(set(shown[4 : 4 * width])) < len(set(shown)), "the first row is blank, and the rest is not"


@needs_font
def test_a_png_shows_letters(folder: Path) -> None:
    module.require_png()
    (chart, *_) = folder.glob("loss.svg")
    without = re.sub(r"<text[^>]*>[^<]*</text>", "", chart.read_text(encoding="utf-8"))
    assert pixels(module.png(without)) != pixels(chart.with_suffix(".png").read_bytes()), "the letters are drawn"


def test_texts_from_outside_are_no_paths_formulas_or_markup(answer: dict[str, Any], tmp_path: Path) -> None:
    def replaced(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: replaced(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [replaced(inner) for inner in value]
        return HOSTILE if isinstance(value, str) else value

    found = replaced(copy.deepcopy(answer))
    for point in found["comparison"]["points"]:
        point[HOSTILE] = {"value": 0.5, "standard_error": 0.1}
    write_plots(tmp_path / "plots", found)
    assert [path.name for path in tmp_path.iterdir()] == ["plots"]
    for path in (tmp_path / "plots").iterdir():
        assert re.fullmatch(r"[a-z0-9_-]{1,64}\.(svg|png|csv)", path.name)
    for path in (tmp_path / "plots").glob("*.svg"):
        assert {node.tag.removeprefix(SVG) for node in drawing(path).iter()} <= {"svg", "style", "title", "desc", "rect", "text", "line", "circle"}
    for path in (tmp_path / "plots").glob("*.csv"):
        with path.open(newline="", encoding="utf-8") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        assert not any(cell.startswith(("=", "@")) or "\x1b" in cell or "\x00" in cell for cell in cells)


def test_the_client_alone_writes_them() -> None:
    """`pip install glossator` has no database driver and no arrays."""
    code = "import sys, api.cli.output.health_plots; print({'numpy', 'sqlalchemy', 'torch'} & {*sys.modules})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


@pytest.mark.parametrize(("key", "name"), [("nearest-0", "nearest-0"), ("../a b", "a-b"), ("/", "chart"), ("", "chart"), ("x" * 99, "x" * 64)])
def test_names_of_files_are_safe(key: str, name: str) -> None:
    assert file_name(key) == name


def test_what_is_missing_is_said_before_anything_is_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(command, "_known", lambda *_: pytest.fail("the report was asked for"))
    with monkeypatch.context() as patch:
        patch.setattr(module, "find_spec", lambda _: None)
        with pytest.raises(InputError) as error:
            command.health("tiny@1-res", plots=tmp_path / "plots")
        assert error.value.cure == "pip install 'glossator[plots]'"
    monkeypatch.setattr(module, "png", lambda _: b"blank")
    with pytest.raises(InputError, match="no letters") as error:
        command.health("tiny@1-res", plots=tmp_path / "plots")
    assert "fonts" in (error.value.cure or "") and not (tmp_path / "plots").exists()


@needs_font
def test_the_command_writes_them(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answer: dict[str, Any], tmp_path: Path) -> None:
    monkeypatch.setattr(command, "_known", lambda *_: answer)
    command.health("tiny@1-res", plots=tmp_path / "plots", as_json=True)
    shown = capsys.readouterr()
    assert json.loads(shown.out) == answer and f"{len(charts(answer))} plots are written" in " ".join(shown.err.split())
    assert (tmp_path / "plots" / "auroc.png").stat().st_size > 1000
