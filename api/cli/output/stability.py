"""Print how stable a dictionary's scores are."""

from typing import Any

from rich.text import Text

from api.cli.output.console import out
from api.cli.output.tables import TableColumn, print_table
from interp.domain.cleaning import visible

COLUMNS = (TableColumn("variance of", least=12), TableColumn("deviation"), TableColumn("95%", 2), TableColumn("share", 3), TableColumn("", 4))


def print_stability(found: dict[str, Any]) -> None:
    """Print the components of each explainer by each scorer, with reliability and design."""
    for study in found["studies"]:
        title = f"\n{visible(study['explainer'])} by {visible(study['scorer'])}, {visible(study['metric'])}: "
        out.print(Text(f"{title}{study['features']} features under {study['conditions']} conditions, mean {study['mean']:.3f}", "bold"))
        total = sum(component["estimate"] for component in study["components"])
        print_table(out, COLUMNS, [_row(one, total) for one in study["components"]] + [_row(one, None) for one in study["condition_components"]])
        for line in _lines(study):
            out.print(Text(f"   {line}", "dim"))


def _row(component: dict[str, Any], total: float | None) -> list[str]:
    """Return a component as standard deviations, in units of the score."""
    low, high = component["low"], component["high"]
    share = "-" if not total else f"{component['estimate'] / total:.0%}"
    interval = "-" if low is None else f"{low**0.5:.3f} to {high**0.5:.3f}"
    note = "estimate below 0" if component["truncated"] else "shared by all features" if total is None else ""
    return [visible(component["name"]), f"{component['estimate'] ** 0.5:.3f}", interval, share, note]


def _lines(study: dict[str, Any]) -> list[str]:
    design = study["design"]
    share = [] if design["item_share"] is None else [f"by their intervals the draw of items is {design['item_share']:.0%} of the variance of scores"]
    items = (
        "no number of items suffices"
        if design["items_factor"] is None
        else f"{design['items_factor']:.1f} times the items suffice, with as many features"
    )
    return [
        *(f"{visible(one['name'])}: {', '.join(map(visible, one['levels']))}" for one in study["factors"] if len(one["levels"]) > 1),
        *(f"without {visible(one['name'])}: {visible(one['why'])}" for one in study["left_out"]),
        *(f"reliability of {_scorings(one['scorings'])}: {_figure(one, 2)}" for one in study["reliability"]),
        *share,
        f"to tell {design['difference']:g}: {_figure(design['features_unpaired'], 0)} features each, "
        f"{_figure(design['features_paired'], 0)} if both score the same ones",
        f"with {study['features']} features: two dictionaries {design['difference']:g} apart are in the right order in {design['chance_right']:.0%}",
        items,
    ]


def _scorings(count: int) -> str:
    return "one scoring" if count == 1 else f"a mean of {count}"


def _figure(one: dict[str, Any], digits: int) -> str:
    value = f"{one['value']:,.{digits}f}"
    return value if one["low"] is None else f"{value} ({one['low']:,.{digits}f} to {one['high']:,.{digits}f})"
