"""Print the report of a check: what was read, figures, and findings with their cures."""

from typing import Any

from rich.text import Text

from api.cli.output.console import figure, out, thousands
from api.cli.output.tables import Cell, TableColumn, print_table

FIGURES = (TableColumn("figure"), TableColumn("value"), TableColumn("standard error", 1), TableColumn("", 2))
NAMES = {
    "l0": "L0",
    "fvu": "FVU",
    "ce_clean": "CE",
    "ce_spliced": "CE, reconstruction spliced in",
    "ce_zero": "CE, zeros in its place",
    "ce_recovered": "CE recovered",
    "dead_share": "dead in the sample",
    "firing_share": "share of firing",
}
STYLES = {"fault": "bold red", "warning": "yellow"}
SHOWN_ALTERNATIVES = 3


def print_check(report: dict[str, Any]) -> None:
    """Print a report as a table, the best alternatives, and its findings."""
    of, subject = report["dictionary"], report["subject"]
    out.print(Text(f"\n{of['name']}", "bold") + Text(f"  {of['format']}, {of['architecture']}", "dim"))
    writes = "" if of["output_point"] == of["hook_point"] else f", writes {of['d_out']} at {of['output_point']}"
    out.print(f"{thousands(of['n_features'])} features, reads {of['d_in']} at {of['hook_point']}{writes}")
    bias = "decoder's bias taken off first" if of["has_pre_bias"] else "no bias before the encoder"
    k = f" (k = {of['k']})" if of["k"] else ""
    skip = ", skip connection" if of["has_skip"] else ""
    out.print(f"{of['activation']}{k}, input norm {of['input_norm']}, {bias}{skip}, rows with{'' if of['prepend_bos'] else 'out'} BOS")
    trained = f"{of['model'] or 'a model that the files do not name'}, rows of {of['context'] or 'unknown'} tokens"
    out.print(f"trained on {trained}; subject {subject['name']} ({subject['architecture']}, {subject['layers']} layers, {subject['backend']})")
    out.print(f"{thousands(report['tokens'])} tokens in {thousands(report['rows'])} rows\n")
    print_table(out, FIGURES, [_row(title, report["figures"][name]) for name, title in NAMES.items()])
    for tried in report["tried"][:SHOWN_ALTERNATIVES]:
        out.print(Text(f"  FVU {figure(tried['fvu']['value'], 3)}: {tried['change']}", "dim"))
    for finding in report["findings"]:
        out.print(Text(f"{finding['severity']}: ", STYLES[finding["severity"]]) + Text(finding["detail"]))
        out.print(Text("  cure: ", "dim") + Text(finding["cure"]))
    if not report["findings"]:
        out.print(Text("Nothing wrong was found.", "green"))


def _row(title: str, found: dict[str, Any]) -> tuple[Cell, ...]:
    return title, figure(found["value"], 3), figure(found["standard_error"], 3), found["why"] or ""
