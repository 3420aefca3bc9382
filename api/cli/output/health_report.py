"""Print a health report: one table of figures for each question, and features by kind."""

from collections.abc import Sequence
from typing import Any

from rich.text import Text

from api.cli.output.console import figure, out, thousands
from api.cli.output.tables import Cell, TableColumn, print_table

COLUMNS = (TableColumn("figure"), TableColumn("value"), TableColumn("standard error", 1), TableColumn("", 2, least=20))
DIGITS = 4
LISTED = 5

# Titles of figures by their place in the report.
RECONSTRUCTION = {
    ("splicing", "nats_lost"): "nats lost to the reconstruction",
    ("splicing", "score"): "loss recovered, against zeros",
    ("splicing", "score_mean"): "loss recovered, against the mean",
    ("splicing", "kl"): "KL(clean || reconstruction)",
    ("splicing", "ce_clean"): "CE clean",
    ("splicing", "ce_spliced"): "CE with the reconstruction",
    ("splicing", "ce_zero"): "CE with zeros",
    ("splicing", "ce_mean"): "CE with the mean",
    ("codes", "l0"): "L0 of all features",
    ("codes", "l1"): "L1",
    ("codes", "l1_scaled"): "L1 by decoder norms",
    ("error", "fvu"): "FVU",
    ("error", "cosine"): "cosine of the reconstruction",
    ("error", "norm_ratio"): "norm ratio",
    ("error", "bos"): "relative error at BOS",
    ("shrinkage", "gamma"): "gamma (1: not shrunk)",
    ("shrinkage", "gamma_centred"): "gamma about the mean",
    ("rescaled", "share_won"): "share of the nats won back by rescaling",
    ("direction", "random", "ratio"): "KL against a random error of the same size",
    ("direction", "norm", "ratio"): "KL against the norm alone",
}
ACTIVITY = {("l0",): "L0"}
KINDS = {"dead": "dead", "dense": "dense (above 10% of tokens)", "first_only": "at the first position alone", "bos_only": "at BOS alone"}


def print_health(found: dict[str, Any]) -> None:
    """Print an answer with a report, and its verdict where it has one."""
    report = found["report"]
    out.print(Text(f"\n{found['run']}", "bold") + Text(f"  {report.get('hook_point', '')} {report.get('architecture', '')}", "dim"))
    for line in found.get("verdict") or ():
        out.print(Text(f"{line['verdict']}: ", "bold") + Text(line["sentence"]))
    of = report.get("reconstruction") or {}
    if of.get("why"):
        out.print(Text(f"No reconstruction: {of['why']}"))
    else:
        seen = of.get("seen") or {}
        _print(f"reconstruction, {thousands(seen.get('tokens', 0))} tokens of {thousands(seen.get('documents', 0))} documents", of, RECONSTRUCTION)
    _print_activity(report.get("activity") or {})
    _print_geometry(report.get("geometry") or {})
    _print_cofiring(report.get("cofiring") or {})
    _print_concepts(report.get("concepts") or {})
    _print_context(report.get("context") or {})
    _print_matching(report.get("matching") or {})
    _print_comparison(found.get("comparison") or {})


def _print(title: str, of: dict[str, Any], titles: dict[tuple[str, ...], str]) -> None:
    rows = [_row(name, shown) for place, name in titles.items() if (shown := _at(of, place)) is not None]
    if rows:
        out.print(Text(f"\n{title}", "bold"))
        print_table(out, COLUMNS, rows)


def _at(of: Any, place: Sequence[str]) -> dict[str, Any] | None:
    """Return the figure at a place of the report, or None where there is none."""
    for name in place:
        of = of.get(name) if isinstance(of, dict) else None
    return of if isinstance(of, dict) and "value" in of else None


def _row(title: str, found: dict[str, Any]) -> tuple[Cell, ...]:
    return title, figure(found["value"], DIGITS), figure(found["standard_error"], DIGITS), Text(found["why"] or "")


def _print_activity(of: dict[str, Any]) -> None:
    rows: list[Sequence[Cell]] = [_row(name, shown) for place, name in ACTIVITY.items() if (shown := _at(of, place)) is not None]
    for kind, title in KINDS.items():
        if (found := of.get(kind)) is not None:
            rows.append((title, thousands(found["count"]), "", Text(_numbers(found["features"]))))
    if rows:
        out.print(Text(f"\nactivity, {thousands(of.get('tokens', 0))} tokens", "bold"))
        print_table(out, COLUMNS, rows)


def _numbers(features: Sequence[int]) -> str:
    more = ", ..." if len(features) > LISTED else ""
    return f"features {', '.join(map(str, features[:LISTED]))}{more}" if features else ""


def _print_geometry(of: dict[str, Any]) -> None:
    rows: list[Sequence[Cell]] = []
    for near in of.get("nearest") or ():
        value, chance = (figure(near[name]["value"], DIGITS) for name in ("mean", "random_mean"))
        rows.append((f"cosine to the nearest no. {near['rank']}", value, "", Text(f"random directions {chance}")))
    if (shown := _at(of, ("near_duplicates",))) is not None:
        rows.append(_row("near duplicates (cosine above .9)", shown))
    if rows:
        out.print(Text("\ngeometry", "bold"))
        print_table(out, COLUMNS, rows)


COUNTS = {"block_count": "blocks", "implied_count": "implied by another", "composite_count": "sums of two others"}


def _print_cofiring(of: dict[str, Any]) -> None:
    if not of:
        return
    found = [f"{thousands(of[name])} {title}" for name, title in COUNTS.items() if name in of]
    out.print(Text(f"\nfiring together: {', '.join(found)}", "bold") + Text(f"  {of.get('why') or ''}", "dim"))


CONCEPTS = (
    TableColumn("class"),
    TableColumn("tokens", 1),
    TableColumn("best feature"),
    TableColumn("by chance"),
    TableColumn("linear probe"),
    TableColumn("absorbed", 2),
)


def _print_concepts(of: dict[str, Any]) -> None:
    rows = [_concept(one) for one in of.get("concepts") or ()]
    if rows:
        out.print(Text("\nclasses of tokens: AUROC on other documents", "bold"))
        print_table(out, CONCEPTS, rows)


def _concept(of: dict[str, Any]) -> tuple[Cell, ...]:
    probes = {probe["probe"]: probe for probe in of["probes"]}
    name, tokens = Text(of["name"]), f"{of['share']:.1%}"
    if "single" not in probes:
        return name, tokens, Text(of["why"] or "–"), "", "", ""
    single, linear = probes["single"], probes.get("linear")
    best = f"{single['features'][0]}: {_with_error(single['auroc'])}" if single["features"] else "–"
    probed = "–" if linear is None else _with_error(linear["auroc"])
    return name, tokens, best, figure(single["null"]["mean"]["value"]), probed, _absorbed(of.get("absorption") or {})


def _absorbed(of: dict[str, Any]) -> str:
    """Return the absorbed share, its interval and chance's; old reports have none."""
    rate = of.get("rate") or {}
    if rate.get("value") is None:
        return "–"
    chance = of["random"]["mean"]["value"]
    return f"{rate['value']:.1%} ({rate['low']:.1%} to {rate['high']:.1%})" + ("" if chance is None else f", by chance {chance:.1%}")


def _with_error(of: dict[str, Any]) -> str:
    error = "" if of["standard_error"] is None else f" ± {figure(of['standard_error'])}"
    return f"{figure(of['value'])}{error}"


def _print_context(of: dict[str, Any]) -> None:
    if (left := _at(of, ("left",))) is not None:
        rows = [_row("share that the token leaves", left), _most(of)]
        if (both := _at(of, ("last_two", "left"))) is not None:
            rows += [_row("share that the last two leave", both), _most(of["last_two"])]
        out.print(Text("\nbeyond the current token", "bold"))
        print_table(out, COLUMNS, rows)


def _most(of: dict[str, Any]) -> tuple[Cell, ...]:
    return "most of it", "", "", Text(_numbers([one["feature"] for one in of.get("features") or ()]))


MATCHED = tuple(TableColumn(*column) for column in (("other dictionary",), ("mean greatest cosine",), ("back", 1), ("one to one", 2), ("random", 3)))


def _print_matching(of: dict[str, Any]) -> None:
    rows: list[Sequence[Cell]] = []
    for pair in of.get("pairs") or ():
        found, chance = pair["decoder"]["match"], pair["decoder"]["random"]
        cosines = (found["forward"]["mean"], found["backward"]["mean"], found["one_to_one"]["mean"], chance["forward"]["mean"])
        rows.append((Text(pair["other"]), *(figure(one["value"]) for one in cosines)))
    if rows:
        out.print(Text("\nfeatures shared with other dictionaries, by decoder", "bold"))
        print_table(out, MATCHED, rows)


COMPARED = (TableColumn("first"), TableColumn("second"), TableColumn("difference"), TableColumn("standard error", 1), TableColumn("", 2, least=20))


def _print_comparison(of: dict[str, Any]) -> None:
    for measure in of.get("measures") or ():
        front = ", ".join(one["dictionary"] for one in measure["front"] if one["on_front"])
        out.print(Text(f"\n{measure['measure']} against L0", "bold") + Text(f"  on the Pareto front: {front or 'none'}"))
        print_table(out, COMPARED, [_compared(one) for one in measure["comparisons"]])


def _compared(of: dict[str, Any]) -> tuple[Cell, ...]:
    return Text(of["first"]), *_row(of["second"], of["difference"])
