"""What comes from outside reaches no terminal and no log as a control: not through any command, and not through a traceback."""

import ast
import io
import json
import logging
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text
from typer.testing import CliRunner

from api.cli import app, checks, connect, main
from api.cli.commands import access
from api.cli.output import progress, report
from api.cli.output.console import Terminal
from api.cli.registry import COMMANDS
from api.schemas.examples import EXAMPLES
from interp.config.settings import Settings
from interp.domain.cleaning import CONTROLS, escaped, lines, one_line, visible
from interp.domain.errors import GlossatorError
from interp.observability import logs
from tests.api.test_report import FIGURES

# A title, a cleared screen by either set of controls, text that runs the other way, a line of one's own, half a character, a link as rich writes it.
ATTACK = (
    "\x1b]0;title\x07\x1b[2J\x9b2J\x9d0;t\x9c\u202egnp\u2066\r\nerror: forged\x00\x7f\x08\u2028\ud800[link=file:///etc/passwd]x[/link][/nope] :bomb:"
)
# What our own program decides by: words of the API, and times.
WORDS = re.compile(r".*_at$|eta$")
KEPT = {
    "severity",
    "status",
    "stage",
    "kind",
    "split",
    "state",
    "unit",
    "scorer",
    "transport",
    "metric",
    "purpose",
    "method",
    "explainer",
    "event",
    "basis",
}
SGR = re.compile(r"\x1b\[[0-9;]*m")


def hostile(content: Any, name: str = "") -> Any:
    """An answer with the attack in every text that may come from outside."""
    if isinstance(content, dict):
        return {key: hostile(value, key) for key, value in content.items()}
    if isinstance(content, list):
        return [hostile(value, name) for value in content]
    return content + ATTACK if isinstance(content, str) and name not in KEPT and not WORDS.match(name) else content


def controls_in(shown: str) -> list[str]:
    return [found for found in CONTROLS.findall(shown) if found != "\n"]


def check(shown: str) -> None:
    """No control is in it, and what was in one line is in one line."""
    assert controls_in(shown) == []
    assert "file:///etc/passwd" in shown, "nothing of the attack was shown"
    assert "]8;" not in shown


class Outside:
    """A server, or a database, whose every text is an attack."""

    url = "http://hostile"

    def stream_features(self, _dictionary: str, _form: str, **_: Any) -> Iterator[bytes]:
        """A line of a table or of JSON, with controls as they are."""
        yield json.dumps(hostile(EXAMPLES["feature_page"]["items"][0]), ensure_ascii=False).encode("utf-8", "replace")
        yield b"\n"

    def __getattr__(self, name: str) -> Callable[..., Any]:
        answers: dict[str, Any] = {
            "list_jobs": EXAMPLES["job_page"]["items"],
            "list_dictionaries": EXAMPLES["dictionary_page"]["items"],
            "list_runs": EXAMPLES["run_page"]["items"],
            "list_features": EXAMPLES["feature_page"]["items"],
            "list_explanations": EXAMPLES["explanation_page"]["items"],
            "list_webhook_deliveries": EXAMPLES["delivery_page"]["items"],
            "list_job_calls": EXAMPLES["call_page"]["items"],
            "get_job_usage": EXAMPLES["usage"],
            "get_feature": EXAMPLES["feature"],
            "get_feature_provenance": EXAMPLES["provenance"],
            "get_dictionary": EXAMPLES["dictionary"],
            "get_run": EXAMPLES["run"],
            "pin_current_run": EXAMPLES["dictionary"],
            "estimate_job": EXAMPLES["estimate"],
            "submit_job": FAILED,
            "submit_check": EXAMPLES["check"],
            "get_check": EXAMPLES["check"],
            "get_dictionary_health": EXAMPLES["dictionary_health"],
            "get_dictionary_league": EXAMPLES["dictionary_league"],
            "get_dictionary_stability": EXAMPLES["dictionary_stability"],
            "search_labels": EXAMPLES["search_page"],
            "compute_activations": EXAMPLES["activations"],
            "steer_text": EXAMPLES["steered"],
            "get_review_queue": EXAMPLES["review_queue"],
            "create_review": EXAMPLES["review"],
            "list_reviews": EXAMPLES["review_page"]["items"],
            "get_agreement": EXAMPLES["agreement"],
            "list_batches": EXAMPLES["batch_page"]["items"],
            "put_batch_results": EXAMPLES["batch_results"],
            "list_feature_lists": EXAMPLES["list_page"]["items"],
            "get_feature_list": EXAMPLES["list"],
            "list_listed_features": EXAMPLES["listed_name_page"]["items"],
            "change_feature_list": EXAMPLES["list"],
            "delete_feature_list": EXAMPLES["list"],
        }
        content = hostile(answers.get(name, FAILED))
        return lambda *_, **__: iter(content) if isinstance(content, list) else content


class Stored:
    """What a read of the database gives, as JSON content."""

    def __init__(self, content: Any) -> None:
        self.content = content

    def model_dump(self, **_: Any) -> Any:
        return self.content


PROBLEM = {"code": "x", "title": "A title", "detail": "what", "why": "because", "cure": "do"}
FAILED = EXAMPLES["job"] | {
    "status": "failed",
    "error": PROBLEM,
    "warnings": [{"code": "w", "detail": "a warning"}],
    "spec": {"webhook": {"url": "u"}},
}
JOB_FILE = """
subject: {model: m}
dictionary: {source: d}
corpus: {path: c}
"""
READING = {
    "job show": ["x"],
    "job list": [],
    "usage": ["x"],
    "dictionaries": [],
    "runs": ["a@b"],
    "features": ["a@b"],
    "feature": ["a@b:1"],
    "provenance": ["a@b:1"],
    "export": ["a@b"],
    "estimate": ["FILE"],
    "submit": ["FILE", "--dry-run"],
    "check": ["FILE"],
    "health": ["a@b"],
    "league": ["a@b"],
    "stability": ["a@b"],
    "doctor": [],
    "search": ["x"],
    "list show": [],
    "batches list": [],
    "batches import": ["FILE"],
    "review queue": ["a@b"],
    "review add": ["a@b:1", "accept"],
    "review show": [],
    "review agreement": ["a@b"],
    "list add": ["x", "a@b:1"],
    "list delete": ["x"],
    "activations": ["a@b", "x", "--feature", "1", "--against", "y"],
    "steer": ["a@b:1", "x"],
    "audit": [],
    "keys list": [],
    "keys show": ["x"],
}
# The others print nothing but their own words, and errors.
PLAIN = {"import", "config", "serve", "worker", "db", "fake-llm", "demo", "run"}


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., str]:
    """Runs a command against the hostile server, and gives all that it printed."""

    @contextmanager
    def outside() -> Iterator[Outside]:
        yield Outside()

    for name in ("reader", "server"):
        monkeypatch.setattr(connect, name, outside)
    for name, rows in {"audit_page": "audit_page", "key_page": "key_page", "usage_of_key": "key_usage"}.items():
        monkeypatch.setattr(f"api.reads.access.{name}", lambda *_, rows=rows: Stored(hostile(EXAMPLES[rows])))
    monkeypatch.setattr(access, "_database", lambda *_: nullcontext())
    monkeypatch.setattr(progress, "follow_or_detach", lambda *_: hostile(EXAMPLES["job"] | {"status": "completed", "error": None}))
    monkeypatch.setattr(checks, "run", lambda *_: [checks.Finding("a" + ATTACK, False, "b" + ATTACK, "c" + ATTACK)])
    monkeypatch.setenv("COLUMNS", "300")
    file = tmp_path / "job.yaml"
    file.write_text(JOB_FILE, encoding="utf-8")

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(app, [str(file) if word == "FILE" else word for word in arguments])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result.stdout + result.stderr

    return run


def test_every_command_is_here() -> None:
    assert {name.partition(" ")[0] for name in READING} | PLAIN == set(COMMANDS)


@pytest.mark.parametrize("name", READING)
def test_no_command_prints_a_control(command: Callable[..., str], name: str) -> None:
    check(command(*name.split(), *READING[name]))


@pytest.mark.parametrize(
    "name",
    [
        "job show",
        "job list",
        "usage",
        "dictionaries",
        "runs",
        "league",
        "stability",
        "features",
        "feature",
        "provenance",
        "export",
        "estimate",
        "doctor",
        "search",
        "list show",
        "batches list",
        "review queue",
        "review show",
        "review agreement",
        "audit",
        "keys list",
        "keys show",
    ],
)
def test_no_json_holds_a_control_and_all_of_it_is_kept(command: Callable[..., str], name: str) -> None:
    shown = command(*name.split(), *READING[name], *([] if name == "export" else ["--json"]))
    check(shown)
    # No stream of UTF-8 holds half a character.
    attack = ATTACK.replace("\ud800", "?") if name == "export" else ATTACK
    assert any(text.endswith(attack) for text in texts(json.loads(shown)))


def texts(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, dict | list):
        for value in content.values() if isinstance(content, dict) else content:
            yield from texts(value)


def test_tables_for_spreadsheets_hold_no_control(command: Callable[..., str]) -> None:
    check(command("export", "a@b", "--format", "csv"))


def test_a_job_that_is_followed_prints_no_control(capsys: pytest.CaptureFixture[str]) -> None:
    for job in (FAILED, FAILED | {"status": "paused", "pause_reason": PROBLEM}):
        with pytest.raises(GlossatorError) as error:
            progress.raise_unless_completed(hostile(job))
        main_with(error.value)
    report.print_caveats(hostile({"scores": {"detection" + ATTACK: FIGURES}, "random_weights": None, "language_models": None}))
    report._print_features(Outside(), hostile(FAILED), "lift", "best", "desc", 1)  # type: ignore[arg-type]
    shown = capsys.readouterr()
    check(shown.out + shown.err)


def main_with(error: Exception) -> int:
    """What `glossator` prints of an error, and its status."""

    def fail() -> None:
        raise error

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("api.cli.app", fail)
        with pytest.raises(SystemExit) as ended:
            main()
    return int(str(ended.value.code))


@pytest.mark.parametrize(
    "error", [GlossatorError("what" + ATTACK, why="why" + ATTACK, cure="cure" + ATTACK), KeyError(ATTACK), OSError(2, ATTACK, ATTACK)]
)
def test_no_error_of_any_command_prints_a_control(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    """Those that are told, and those that nobody foresaw: a traceback ends with what the error says."""
    assert main_with(error) == 1
    check(capsys.readouterr().err)


@pytest.mark.parametrize("shape", ["text", "string", "table", "cell", "bars", "group", "plain"])
def test_whatever_is_printed_holds_no_control_but_colours(shape: str) -> None:
    buffer = io.StringIO()
    terminal = Terminal(file=buffer, force_terminal=True, color_system="truecolor", width=400)
    table = Table("a" + ATTACK)
    table.add_row(ATTACK)
    if shape == "bars":
        with progress.LiveBars(terminal) as bars:
            bars.show(
                {"stages": [{"stage": ATTACK, "unit": ATTACK, "done": 1, "total": 2, "seconds": 1.0, "eta_seconds": None, "finished_at": None}]}
            )
    else:
        said = {
            "text": Text(ATTACK, "red"),
            "string": ATTACK,
            "table": table,
            "cell": Text.assemble((ATTACK, "bold")),
            "group": [ATTACK],
            "plain": ATTACK,
        }
        terminal.print(said[shape], soft_wrap=shape == "plain")
    shown = buffer.getvalue()
    own = re.sub(r"\x1b\[(\?25[lh]|\d*[AK])|\r", "", SGR.sub("", shown)) if shape == "bars" else SGR.sub("", shown)
    assert controls_in(own) == []
    assert "]8;" not in shown


@given(st.text(st.characters(codec=None)))
def test_cleaning_takes_every_control_and_nothing_else(text: str) -> None:
    assert CONTROLS.search(visible(text)) is None
    assert len(visible(text)) == len(lines(text)) == len(text)
    assert controls_in(one_line(text)) == []
    assert [letter for letter in lines(text) if letter in "\n\t"] == [letter for letter in text if letter in "\n\t"]
    document = json.dumps({text: text}, ensure_ascii=False)
    assert controls_in(escaped(document)) == []
    assert json.loads(escaped(document)) == {text: text}


@contextmanager
def logged(monkeypatch: pytest.MonkeyPatch, kind: str) -> Iterator[Callable[[], str]]:
    """Sets up the log as a process does, and gives what it wrote.

    In the test itself, not in a fixture: pytest adds handlers of its own to each phase, and what they keep of half characters ends xdist's workers.
    """
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: "terminal" in kind)
    logs.configure(Settings(log_format="json" if kind == "json" else "console"), "w", stream)
    try:
        yield stream.getvalue
    finally:
        root.handlers[:] = before
        root.setLevel(level)


@pytest.mark.parametrize("kind", ["console", "terminal", "json"])
def test_no_line_of_the_log_holds_a_control(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    with logged(monkeypatch, kind) as log, structlog.contextvars.bound_contextvars(request=ATTACK):
        logs.get_logger("api.x").warning(
            "an event " + ATTACK, path=ATTACK, many=[ATTACK], of={ATTACK: ATTACK}, at=Path("/a" + ATTACK.replace("\0", ""))
        )
        logging.getLogger("some.library").error("%s and %s", ATTACK, {"a": ATTACK})
        try:
            raise KeyError(ATTACK) from ValueError(ATTACK)
        except KeyError:
            logs.get_logger("workers.x").exception("it failed")
            logging.getLogger("other.library").exception(ATTACK)
        written = SGR.sub("", log())
    check(written)
    assert [line for line in written.splitlines() if line.startswith("error: forged")] == []


def test_what_nothing_caught_goes_to_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    error = ValueError(ATTACK)
    with logged(monkeypatch, "console") as log:
        logs._uncaught(type(error), error, None)
        written = log()
    check(written)


def test_a_process_logs_what_nothing_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr("threading.excepthook", logs.threading.excepthook)
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    logs.configure(Settings(), "w")
    assert sys.excepthook is logs._uncaught
    root.handlers[:] = before
    root.setLevel(level)


def test_there_is_one_kind_of_console() -> None:
    """rich's own, or a bare print, would show what it is given."""
    for file in (Path(__file__).parents[2] / "api" / "cli").glob("*.py"):
        calls = [node.func for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
        names = {call.id for call in calls if isinstance(call, ast.Name)}
        assert not names & {"Console", "print"}, file.name
        # The program's own version is all that is echoed.
        assert sum(isinstance(call, ast.Attribute) and call.attr == "echo" for call in calls) == (file.name == "__init__.py"), file.name
