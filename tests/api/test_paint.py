"""What the terminal gets to see: colours by activation, and no control that came with the text."""

import io
import re
import unicodedata

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from api.cli.output import paint
from api.cli.output.report import around_peak


@given(st.text())
def test_no_control_reaches_the_terminal(text: str) -> None:
    shown = paint.visible(text)
    assert len(shown) == len(text)
    assert not [character for character in shown if unicodedata.category(character) == "Cc"]


def test_newlines_and_tabs_are_signs() -> None:
    assert paint.visible("a\n\tb\x1b[2J\x07") == "a↵→b␛[2J␇"


def painted(tokens: list[str], activations: list[float], strongest: float) -> str:
    buffer = io.StringIO()
    console = Console(file=buffer, force_terminal=True, color_system="truecolor", width=200)
    console.print(paint.context({"tokens": tokens, "activations": activations}, strongest, console), end="")
    return buffer.getvalue()


def test_background_is_deeper_the_stronger_the_activation_and_absent_without_one() -> None:
    shown = painted(["no", "weak", "strong"], [0.0, 0.1, 4.0], 4.0)
    backgrounds = [tuple(map(int, found)) for found in re.findall(r"48;2;(\d+);(\d+);(\d+)m", shown)]
    assert shown.startswith("no")
    assert len(backgrounds) == 2
    assert backgrounds[1] == paint.FULL
    assert backgrounds[0][1] < backgrounds[1][1]


def test_only_tokens_above_the_firing_level_are_marked() -> None:
    """Neurons are above 0 at a third of all tokens: marks there would say nothing."""
    found = {"tokens": ["no", " weak", " at", " fires"], "activations": [0.0, 0.1, 0.6, 0.7]}
    assert paint.marked(found, 0.6) == "no weak at« fires»"
    assert paint.context(found, 0.7, Console(file=io.StringIO(), color_system=None), 0.6).plain == "no weak at« fires»"
    assert paint.marked(found) == "no« weak»« at»« fires»"


def test_markup_in_a_context_is_text() -> None:
    assert "[red]x[/red]" in painted(["[red]x[/red]"], [0.0], 1.0)


@given(st.lists(st.integers(0, 10**9), max_size=96))
def test_a_sparkline_has_a_bar_a_bin_and_none_only_where_nothing_is(counts: list[int]) -> None:
    line = paint.sparkline(counts)
    assert len(line) == (len(counts) if any(counts) else 0)
    assert all((bar == " ") == (count == 0) for bar, count in zip(line, counts, strict=False))


@given(st.lists(st.tuples(st.text(max_size=6), st.floats(0, 10)), min_size=1, max_size=40), st.integers(1, 60))
def test_a_cut_context_keeps_its_peak_and_is_a_piece_of_the_whole(pairs: list[tuple[str, float]], characters: int) -> None:
    tokens, activations = [token for token, _ in pairs], [activation for _, activation in pairs]
    cut = around_peak({"tokens": tokens, "activations": activations}, characters)
    assert max(cut["activations"]) == max(activations)
    assert len(cut["tokens"]) == 1 or len("".join(cut["tokens"])) <= characters
    size = len(cut["tokens"])
    assert (cut["tokens"], cut["activations"]) in [(tokens[i : i + size], activations[i : i + size]) for i in range(len(tokens))]


def test_recall_of_all_firing_windows_stands_beside_a_score_with_its_interval() -> None:
    bounds = {f"recall_of_{name}_{end}": value for name in ("windows", "strength") for end, value in (("low", 0.2), ("high", 0.9))}
    metrics = {"recall_strong": 0.9, "recall_weak": None, "recall_of_windows": 0.5, "recall_of_strength": 0.75} | bounds
    score = {"judge": None, "shrunken_score": None, "controls": [], "details": {"metrics": metrics}}
    assert str(paint.score_details(score)) == "recall strong 0.90, of windows 0.50 [0.20, 0.90], of strength 0.75 [0.20, 0.90]"
    assert paint.score_details(score | {"details": {"metrics": {"recall_of_windows": None}}}) is None


def test_the_rank_correlation_stands_before_pearsons() -> None:
    null = dict.fromkeys(("value", "lift", "lift_interval", "lift_reason", "p_paired", "q_value"))
    score = {
        "scorer": "simulation",
        "value": 0.65,
        "interval": {"low": 0.1, "high": 0.95},
        "reason": None,
        "null": null,
        "lift_over_pattern": None,
        "answered": 60,
        "failed": 0,
        "abstained": 0,
        "details": {"metrics": {"spearman": 0.81, "spearman_low": 0.7, "spearman_high": 0.9}},
    }
    assert str(paint.score_line(score)).strip().startswith("simulation  spearman 0.81 [0.70, 0.90], pearson 0.65 [0.10, 0.95]")
    assert "spearman" not in str(paint.score_line(score | {"details": {}}))
