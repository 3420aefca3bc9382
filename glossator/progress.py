"""Show a job's progress, in a notebook or a terminal."""

import sys
from collections.abc import Callable, Mapping
from html import escape
from typing import Any

WIDTH = 24
Display = Callable[[Mapping[str, Any]], None]


def follow_display(show: bool | None) -> Display:
    """Return what shows a job's progress; nothing where nobody looks, or without `show`."""
    if show is False:
        return lambda _: None
    if _is_notebook():
        return _notebook_bar()
    if show or sys.stderr.isatty():
        return _print_line
    return lambda _: None


def share(progress: Mapping[str, Any]) -> tuple[str, float]:
    """Return the running stage and its share that is done."""
    stages = progress["stages"]
    if progress["finished_at"] or not stages:
        return str(progress["status"]), 1.0 if progress["status"] == "completed" else 0.0
    running = next((stage for stage in stages if not stage["finished_at"]), stages[-1])
    return str(running["stage"]), running["done"] / running["total"] if running["total"] else 0.0


def _is_notebook() -> bool:
    """Return whether a kernel of Jupyter runs this, without importing IPython."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and hasattr(shell, "kernel")


def _notebook_bar() -> Display:
    from IPython.display import HTML, display

    handle = display(HTML(""), display_id=True)

    def show(progress: Mapping[str, Any]) -> None:
        stage, done = share(progress)
        handle.update(HTML(f'<progress max="1" value="{done:.3f}"></progress> {escape(stage)} {done:.0%}'))

    return show


def _print_line(progress: Mapping[str, Any]) -> None:
    stage, done = share(progress)
    bar = "#" * round(WIDTH * done)
    end = "\n" if progress["finished_at"] else ""
    sys.stderr.write(f"\r[{bar:<{WIDTH}}] {done:4.0%} {stage[:WIDTH]:<12}{end}")
    sys.stderr.flush()
