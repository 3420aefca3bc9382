"""Print a job's report: coverage, medians, speed, best and worst features with a context."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rich.text import Text

from api.cli.output import paint
from api.cli.output.console import dollars, duration, figure, out, print_warnings, thousands
from api.cli.output.progress import UNRATED
from api.cli.output.tables import Cell, TableColumn, print_table
from interp.domain.cleaning import visible

if TYPE_CHECKING:
    from api.cli.local import Local
    from glossator import Client

BEST, WORST = 20, 5
CONTEXT_CHARACTERS = 110


STAGES = (TableColumn("stage"), TableColumn("done"), TableColumn("time", 1), TableColumn("rate", 2))


def print_stages(found: dict[str, Any]) -> None:
    print_table(out, STAGES, [_stage_row(stage) for stage in found["stages"]])


def _stage_row(stage: dict[str, Any]) -> tuple[Cell, ...]:
    rate = stage["done"] / stage["seconds"] if stage["seconds"] and stage["unit"] not in UNRATED else None
    count = f"{thousands(stage['done'])}/{thousands(stage['total'])} {stage['unit']}"
    return stage["stage"], count, duration(stage["seconds"]), f"{thousands(rate)} {stage['unit']}/s" if rate else ""


def print_report(client: "Client | Local", job: dict[str, Any]) -> None:
    """Print a completed job's summary and each dictionary's best and worst features."""
    summary = job["summary"]
    for made, figures in zip(job["runs"], _by_dictionary(summary), strict=True):
        _print_heading(client.get_dictionary(made["dictionary"]))
        _print_counts(figures["features"])
        _print_scores(figures["scores"])
    print_caveats(summary)
    print_warnings(job)
    _print_speed(job, summary)
    for made, figures in zip(job["runs"], _by_dictionary(summary), strict=True):
        has_lift = any(of["median_lift"] is not None for of in figures["scores"].values())
        for name, order, count in (("best", "desc", BEST), ("worst", "asc", WORST)):
            _print_features(client, made, "lift" if has_lift else "shrunken_score", name, order, count)


def _by_dictionary(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the figures of each of the job's dictionaries."""
    found: list[dict[str, Any]] = summary.get("dictionaries") or [summary]
    return found


def _print_heading(dictionary: dict[str, Any]) -> None:
    where = f"  {dictionary['subject']} {dictionary['hook_point']} {dictionary['architecture']}"
    out.print(Text(f"\n{dictionary['name']}", "bold") + Text(where, "dim"))


WORDS = {"explained": "explained", "rare": "too rare", "dead": "dead", "failed": "failed"}


def _print_counts(counts: dict[str, int]) -> None:
    """Print the numbers of features, in all and by outcome (failures are the job's)."""
    asked = counts.get("asked", counts["active"] + counts["rare"] + counts["dead"])
    shares = [f"{thousands(counts[name])} ({counts[name] / max(asked, 1):.1%}) {word}" for name, word in WORDS.items() if name in counts]
    out.print(f"{thousands(asked)} features: {', '.join(shares)}\n")


SCORED = (
    TableColumn("scorer"),
    TableColumn("metric", 2),
    TableColumn("scored", 1),
    TableColumn("undefined", 3),
    TableColumn("median"),
    TableColumn("lift over null"),
    TableColumn("better than null"),
)


def print_summary(summary: dict[str, Any]) -> None:
    """Print the counts of a job's features, its scores, and their caveats."""
    counts = summary["features"]
    out.print(f"\n{thousands(counts['asked'])} features: {', '.join(f'{thousands(counts[name])} {word}' for name, word in WORDS.items())}")
    for figures in _by_dictionary(summary):
        if "dictionary" in figures:
            out.print(Text(f"\n{figures['dictionary']}", "bold"))
        if figures["scores"]:
            _print_scores(figures["scores"])
    print_caveats(summary)
    rate = f"{figure(summary['features_per_s'], 1)} features/s" if summary["features_per_s"] else "evidence reused"
    out.print(f"{thousands(summary['tokens'])} tokens, {rate}, {duration(summary['total_seconds'])} in all")


def _print_scores(scores: dict[str, dict[str, Any]]) -> None:
    """Print the medians over features, one row per scorer."""
    print_table(out, SCORED, [_score_row(scorer, figures) for scorer, figures in scores.items()])


def _score_row(scorer: str, figures: dict[str, Any]) -> tuple[Cell, ...]:
    better = f"{thousands(figures['better_than_null'])} of {thousands(figures['tested'])} (q <= {figures['significant_at']})"
    medians = figure(figures["median"]), figure(figures["median_lift"], signed=True)
    return scorer, figures["metric"] or "–", thousands(figures["scored"]), thousands(figures["undefined"]), *medians, better


def print_caveats(summary: dict[str, Any]) -> None:
    """Print ranking reliability, controls, the corrected median, random weights, and the spend."""
    for of in _by_dictionary(summary):
        for scorer, figures in of["scores"].items():
            for line in _caveats(figures):
                out.print(_scorer(of, scorer) + Text(line))
    for of in _by_dictionary(summary.get("random_weights") or {"scores": {}}):
        for scorer, figures in of["scores"].items():
            line = f"on random weights the median is {figure(figures['median'])} (lift over them {figure(figures['lift'], signed=True)})"
            out.print(_scorer(of, scorer) + Text(line))
    for of in _by_dictionary(summary.get("random_dictionary") or {"scores": {}}):
        for scorer, figures in of["scores"].items():
            bounds = figures["interval"]
            paired = f"{figure(figures['difference'], signed=True)} on {thousands(figures['pairs'])} features that both score"
            paired += f" [{figure(bounds[0], signed=True)}, {figure(bounds[1], signed=True)}]" if bounds else ""
            out.print(_scorer(of, scorer) + Text(f"with random directions the median is {figure(figures['median'])}; paired difference {paired}"))
    for name, what in (("without_map", "map"), ("without_health", "health report")):
        for missing in summary.get(name, ()):
            why = f"{missing['detail'] or 'It failed.'} `glossator job retry` makes it again."
            out.print(Text(f"  no {what} of {missing['dictionary']}: ", "dim") + Text(why))
    spent = summary.get("language_models")
    if spent:
        tokens = f"{thousands(spent['prompt_tokens'])} + {thousands(spent['completion_tokens'])} tokens"
        calls = f"{thousands(spent['questions'])} questions in {thousands(spent['attempts'])} attempts"
        out.print(Text("  language models: ", "dim") + Text(f"{calls}, {tokens}, cost {dollars(spent['cost_usd'])}"))


def _scorer(of: dict[str, Any], scorer: str) -> Text:
    """Return a scorer's name, after that of its dictionary where there are several."""
    return Text(f"  {of['dictionary']} {scorer}: " if "dictionary" in of else f"  {scorer}: ", "dim")


def _caveats(figures: dict[str, Any]) -> Iterator[str]:
    """Yield a sentence for each figure of one scorer's summary other than its medians."""
    few = figures.get("too_few")
    if few:
        cure = f" `{few['fits']}` fits features that are hardly ever silent." if few["fits"] else ""
        yield f"{thousands(few['scores'])} scores have no lift and are in no ranking by it. {few['reason']}{cure}"
    ranking = figures.get("ranking") or {}
    if ranking.get("reliability") is not None:
        line = f"{ranking['reliability']:.0%} of the spread between features is more than noise"
        found = ranking.get("worst_found")
        yield line if found is None else f"{line}; of the {ranking['worst']} that look worst, {found:.0%} are expected to be"
    for name, what in (("baseline", "the pattern"), ("empty", "no explanation")):
        control = figures.get(name)
        if control:
            better = f"better on {thousands(control['better'])} of {thousands(control['features'])}"
            yield f"lift over {what} {figure(control['median_lift'], signed=True)} ({what} alone {figure(control['median'])}; {better})"
    for name, what in (("repeat", "asked again, the judge agrees with itself"), ("judge_swap", "a second judge agrees")):
        control = figures.get(name)
        if control and control.get("kappa") is not None:
            yield f"{what}: kappa {figure(control['kappa'])}, {control['agreement']:.0%} of {thousands(control['compared'])} answers"
    yield from _of_gold(figures.get("gold"))


def _of_gold(gold: dict[str, Any] | None) -> Iterator[str]:
    if not gold or not gold["sensitivity"] or not gold["specificity"]:
        return
    rates = f"the judge says yes to {gold['sensitivity']['value']:.0%} of known yes and no to {gold['specificity']['value']:.0%} of known no"
    corrected, bounds = gold["corrected_median"], gold.get("corrected_interval")
    if corrected is None:
        yield f"{rates}; no corrected median{': ' + gold['corrected_reason'] if gold.get('corrected_reason') else ''}"
    else:
        yield f"{rates}; median without its misreadings {figure(corrected)}" + (f" [{figure(bounds[0])}, {figure(bounds[1])}]" if bounds else "")


def _print_speed(job: dict[str, Any], summary: dict[str, Any]) -> None:
    out.print()
    print_stages(job)
    collected = f"{thousands(summary['tokens_per_s'])} tokens/s collected" if summary["tokens_per_s"] else "evidence reused"
    rate = figure(summary["features_per_s"], 1)
    out.print(f"{thousands(summary['tokens'])} tokens, {collected}; {rate} features/s over the whole job, {duration(summary['total_seconds'])}")


def _print_features(client: "Client | Local", made: dict[str, str], by: str, name: str, order: str, count: int) -> None:
    out.print(Text(f"\n{count} of the {name}", "bold") + Text(f" by {'lift over null' if by == 'lift' else 'shrunken score'}", "dim"))
    # A bound excludes features without a value, in either order.
    bound = {"min_lift": -10} if by == "lift" else {"min_score": -10}
    filters: dict[str, Any] = {"sort": by, "order": order, "state": "active"} | bound
    dictionary, run = made["dictionary"], made["run"]
    for item in client.list_features(dictionary, count, run=run, **filters):
        head = Text(f"{item['name'].rpartition(':')[2]:>6}  {figure(item['score'])}  {figure(item[by], signed=by == 'lift')}  ", "dim")
        out.print(head + Text(visible(item["label"] or "–")))
        found = client.get_feature(dictionary, item["index"], run=run)
        shown = next((context for context in found["contexts"] if context["kind"] == "top" and context["split"] == "test"), None)
        if shown:
            strongest, level = found["statistics"]["max_activation"], found["statistics"]["firing_level"]
            out.print(Text(" " * 8) + paint.context(around_peak(shown, CONTEXT_CHARACTERS), strongest, out, level))


def around_peak(context: dict[str, Any], characters: int) -> dict[str, Any]:
    """Return at most `characters` of a context around its strongest token."""
    tokens, activations = context["tokens"], context["activations"]
    first = last = max(range(len(tokens)), key=activations.__getitem__)
    length = len(tokens[first])
    while True:
        grown = False
        for candidate in (first - 1, last + 1):
            if 0 <= candidate < len(tokens) and length + len(tokens[candidate]) <= characters:
                first, last, length, grown = min(first, candidate), max(last, candidate), length + len(tokens[candidate]), True
        if not grown:
            return context | {"tokens": tokens[first : last + 1], "activations": activations[first : last + 1]}
