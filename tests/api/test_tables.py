"""At 80 columns every table keeps what matters whole; a job is told in words; messages name commands."""

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text
from sqlalchemy import Engine

from api.cli.commands import features, jobs, usage
from api.cli.output import report
from api.cli.output.tables import GAP, TableColumn, fitting, print_table
from api.server import Service
from interp.config.settings import Settings
from tests.api.synthetic import NAME
from tests.store import steps

ROOT = Path(__file__).parents[2]
ID = "0199f3a4-7c1e-7b3a-9d55-2f6f1f0c7a11"
ROWS: dict[str, tuple[tuple[TableColumn, ...], list[Any], tuple[str, ...]]] = {
    "jobs": (
        jobs.LISTED,
        [
            (
                ID,
                Text("completed"),
                Text("gpt2-small@8-res-jb-of-a-long-name"),
                "24,576/24,576",
                "2026-11-29 18:00:00",
                "12:40:11",
                "team-of-a-long-name",
            )
        ],
        ("job", "status", "dictionary", "features"),
    ),
    "features": (
        features.LISTED,
        [
            (
                "24575",
                Text("the token `self` and eleven others, in methods " * 3),
                "0.91",
                "0.88",
                "+0.41",
                "0.01",
                "12.30%",
                "112.03",
                "0.85",
                "active",
            )
        ],
        ("index", "label", "score", "lift", "q", "density", "state"),
    ),
    "usage": (
        usage.USED,
        [
            (
                "explain",
                Text("control-empty"),
                Text("gpt-5-mini-2026-01"),
                *["1,234,567"] * 3,
                "123,456,789",
                "12,345,678",
                "$1,234.56",
                "12.34",
                "45.67",
            )
        ],
        ("stage", "purpose", "calls", "unanswered", "tokens in", "tokens out", "cost"),
    ),
    "stages": (
        report.STAGES,
        [("summarise", "123,456,789,012/123,456,789,012 features", "1,234:40:11", "123,456,789 features/s")],
        ("stage", "done", "time"),
    ),
    "budget": (
        usage.BUDGET,
        [("tokens", "123,456,789,012,345", "123,456,789,012,345", "123,456,789,012,345", "123,456,789,012,345")],
        ("budget", "cap", "spent", "reserved"),
    ),
    "job": (
        report.SCORED,
        [("discrimination", "balanced_accuracy", "24,576", "1,234", "0.91", "+0.41", "20,123 of 24,576 (q <= 0.05)")],
        ("scorer", "scored", "median", "lift over null", "better than null"),
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_what_matters_stays_whole_at_80_columns(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    columns, rows, kept = ROWS[name]
    print_table(Console(width=80, highlight=False), columns, rows)
    told = capsys.readouterr()
    lines = told.out.splitlines()
    assert len(lines) == 1 + len(rows), "nothing is wrapped"
    assert all(len(line) <= 80 for line in lines)
    assert re.split(r" {2,}", lines[0].strip()) == list(kept)
    for column, cell in zip(columns, rows[0], strict=True):
        if column.name in kept and column.least is None:
            assert str(cell) in lines[1], column.name
    assert "left out for want of width" in told.err


def test_in_a_wide_window_nothing_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    for columns, rows, _ in ROWS.values():
        assert fitting(columns, rows, 300) == list(range(len(columns)))
    print_table(Console(width=300), *ROWS["jobs"][:2])
    assert capsys.readouterr().err == ""


def test_columns_go_by_rank_and_those_of_rank_0_stay() -> None:
    columns = (TableColumn("a"), TableColumn("b", 1), TableColumn("c", 2))
    rows = [("x" * 10, "y" * 10, "z" * 10)]
    assert [fitting(columns, rows, width) for width in (30 + 2 * GAP, 29 + 2 * GAP, 20 + GAP, 19 + GAP, 1)] == [[0, 1, 2], [0, 1], [0, 1], [0], [0]]


@pytest.fixture
def narrow(service_settings: Settings, store: Engine) -> Iterator[Any]:
    """Runs a command against a server, in a pipe that says how wide it is."""
    with Service(service_settings, "127.0.0.1", 0, workers=False) as service:

        def run(*arguments: str) -> str:
            environment = os.environ | {"GLOSSATOR_API_URL": service.url, "COLUMNS": "80"}
            command = [sys.executable, "-c", "from api.cli import main; main()", *arguments]
            return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

        yield run


def test_commands_keep_to_the_width_that_they_are_told(narrow: Any) -> None:
    listed = narrow("features", NAME)
    assert listed.splitlines()
    assert all(len(line) <= 80 for line in listed.splitlines())


def test_a_feature_shows_contexts_of_both_splits_labelled(narrow: Any) -> None:
    shown = narrow("feature", f"{NAME}:3", "--contexts", "1")
    assert "top, explain split" in shown
    assert ", test split" in shown
    assert ", test split" not in narrow("feature", f"{NAME}:3", "--split", "explain")


SUMMARY = {
    "features": {"asked": 1200, "explained": 1000, "rare": 100, "dead": 90, "failed": 10},
    "scores": {
        "detection": {
            "metric": "balanced_accuracy", "scored": 990, "undefined": 10, "median": 0.8, "median_lift": 0.3,
            "better_than_null": 700, "tested": 990, "significant_at": 0.05,
        }
    },
    "tokens": 1_000_000, "features_per_s": 12.5, "total_seconds": 96.0,
}  # fmt: skip


def test_a_job_is_told_in_words_and_json_is_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    report.print_summary(SUMMARY)
    told = capsys.readouterr().out
    assert "1,200 features: 1,000 explained, 100 too rare, 90 dead, 10 failed" in told
    assert "700 of 990" in told
    assert "{" not in told
    assert len(told.splitlines()) < 12
    assert json.dumps(SUMMARY)


def test_messages_that_name_a_rest_call_name_the_command_too() -> None:
    for path in sorted(path for folder in ("interp", "workers", "api") for path in (ROOT / folder).rglob("*.py")):
        if "scripted" in path.parts or "routes" in path.parts:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        cures = [
            keyword.value for node in ast.walk(tree) if isinstance(node, ast.Call) for keyword in node.keywords if keyword.arg in ("cure", "why")
        ]
        for cure in cures:
            text = "".join(str(part.value) for part in ast.walk(cure) if isinstance(part, ast.Constant))
            if "GET /" in text or "POST /" in text:
                assert "`glossator " in text, (path.name, text)


def test_a_job_that_is_not_there_is_told_with_both(store: Engine) -> None:
    from interp.domain.errors import NotFoundError
    from interp.store.db.engine import snapshot
    from interp.store.queue import jobs as stored

    with snapshot(store) as session, pytest.raises(NotFoundError) as told:
        stored.get(session, steps.__name__)
    assert "`glossator job list`" in told.value.cure
