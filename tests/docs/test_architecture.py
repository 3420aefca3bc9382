"""The drawing of the architecture names the folders that are there, all of them and no other."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DRAWING = ROOT / "docs" / "architecture.svg"
PACKAGES = ("api", "interp", "workers")


def drawn() -> list[str]:
    return re.findall(r'<text class="name"[^>]*>([^<]+)</text>', DRAWING.read_text(encoding="utf-8"))


def folders() -> set[str]:
    return {f"{package}/{path.parent.name}" for package in PACKAGES for path in (ROOT / package).glob("*/__init__.py")}


def test_the_drawing_names_every_folder_once_and_no_other() -> None:
    names = drawn()
    assert len(names) == len(set(names))
    assert {name for name in names if "/" in name} == folders()
    assert all((ROOT / name).is_dir() for name in names)


def test_the_steps_of_a_feature_are_numbered_alike_in_drawing_and_text() -> None:
    numbers = sorted(int(number) for number in re.findall(r'<text class="number"[^>]*>(\d+)</text>', DRAWING.read_text(encoding="utf-8")))
    rows = re.findall(r"^\| (\d+) \| `([^`]+)`", (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert numbers == [int(number) for number, _ in rows] == list(range(1, len(numbers) + 1))
    assert {folder for _, folder in rows} <= folders()


@pytest.mark.parametrize("package", PACKAGES)
def test_no_folder_holds_more_than_18_files(package: str) -> None:
    counts = {folder: len(list(folder.glob("*.py"))) for folder in [ROOT / package, *(ROOT / package).rglob("*/")]}
    assert {str(folder): count for folder, count in counts.items() if count > 18} == {}
