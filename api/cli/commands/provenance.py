"""`glossator provenance`: print prompts, replies and items of a feature's explanations and scores."""

import json
from typing import Annotated, Any

import typer
from rich.text import Text

from api.cli import connect
from api.cli.commands.features import RUN, parse_reference
from api.cli.output import paint
from api.cli.output.console import dollars, figure, out, print_json, probability, thousands
from interp.domain.cleaning import visible

LONGEST = 1500
LONGEST_CONTEXT = 160


def provenance(
    reference: Annotated[str, typer.Argument(metavar="DICT:INDEX", help="pystdlib@1-res:123 or pystdlib/1-res/123.")],
    run: Annotated[str | None, typer.Option(help=RUN)] = None,
    full: Annotated[bool, typer.Option("--full", help="Print prompts and replies whole.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Show where everything said of a feature comes from: prompts, replies, items, verdicts, seeds, costs."""
    dictionary, index = parse_reference(reference)
    with connect.reader() as client:
        found = client.get_feature_provenance(dictionary, index, run)
    if as_json:
        print_json(found)
        return
    out.print(Text(found["name"], "bold") + Text(f"  {found['state']}  run {found['run']}  corpus {found['corpus']}", "dim"))
    texts = _texts(found)
    for explained in found["explanations"]:
        _print_explanation(explained, texts, None if full else LONGEST)
    out.print(Text(f"\nall of it: {_spend(found['spend'])}", "bold"))


def _texts(found: dict[str, Any]) -> dict[str, str]:
    """Return each context's text by id, on one line, with active tokens marked."""
    # All explanations are of one run, which has one firing level.
    level = max((explained["explanation"]["firing_level"] or 0.0 for explained in found["explanations"]), default=0.0)
    shown = [context for explained in found["explanations"] for context in explained["contexts"]] + found["contexts"]
    return {context["id"]: paint.marked(context, level) for context in shown}


def _print_explanation(explained: dict[str, Any], texts: dict[str, str], longest: int | None) -> None:
    explanation = explained["explanation"]
    label = visible(explanation["text"] or f"no label: {explanation['failure']}")
    out.print(Text(f"\n{explanation['explainer']}  ", "dim") + Text(label, "bold"))
    if explained["whole_text"] not in (None, explanation["text"]):
        out.print(Text(f"  whole: {visible(explained['whole_text'])}"))
    facts = {
        "settings": explanation["settings_digest"][:8],
        "template": explained["template"],
        "prompt": (explained["prompt_digest"] or "")[:16] or None,
        "seed": explained["seed"],
        "job": explanation["job"],
    }
    out.print("  " + "  ".join(f"{name} {value}" for name, value in facts.items() if value is not None), style="dim")
    out.print(f"  {len(explained['contexts'])} contexts shown; {_spend(explained['spend'])}", style="dim")
    for context in explained["contexts"]:
        _print_context(context["id"], texts, longest)
    for call in explained["calls"]:
        _print_call(call, longest)
    for scored in explained["scores"]:
        _print_score(scored, texts, longest)


def _print_context(name: str, texts: dict[str, str], longest: int | None) -> None:
    if name in texts:
        width = None if longest is None else LONGEST_CONTEXT
        text = texts[name] if width is None or len(texts[name]) <= width else f"{texts[name][:width]}…"
        out.print(Text(f"    {name}  {text}"))


def _print_score(scored: dict[str, Any], texts: dict[str, str], longest: int | None) -> None:
    score = scored["score"]
    out.print(Text("\n  ") + paint.score_line(score))
    out.print(f"    judge {score['judge'] or '–'}; {_spend(scored['spend'])}", style="dim")
    _print_nulls(scored)
    for item in score["items"] or ():
        said = "–" if item["prediction"] is None else f"{item['prediction']:g}"
        why = f"  {visible(item['failure'])}" if item["failure"] else ""
        truth = "–" if item["truth"] is None else f"{item['truth']:g}"
        out.print(f"    {item['context']:<28} {item['kind']:<20} truth {truth:<6} said {said}{why}")
        _print_context(item["context"], texts, longest)
    for call in scored["calls"]:
        _print_call(call, longest)


def _print_nulls(scored: dict[str, Any]) -> None:
    """Print the nulls' mean, the features left out, and each borrowed explanation's figure."""
    null, bound = scored["score"]["null"], scored["null_exclusion"]
    if scored["nulls"]:
        figures = {"p": null["p_value"], "paired p": null["p_paired"], "q": null["q_value"]}
        parts = [f"mean {figure(null['value'])}", *(f"{name} {probability(value)}" for name, value in figures.items() if value is not None)]
        out.print(f"    {len(scored['nulls'])} nulls: {', '.join(parts)}")
        if null["reason"]:
            out.print(f"    {null['reason']}", style="dim")
    if bound:
        excluded = ", ".join(map(str, bound["indices"])) or "none here"
        out.print(f"    no nulls: features of decoder cosine {bound['min_cosine']:.2f} or more ({excluded})", style="dim")
    for one in scored["nulls"]:
        out.print(f"    {_null(one)}")


def _null(null: dict[str, Any]) -> str:
    value = "undefined" if null["value"] is None else figure(null["value"])
    return f"null of {visible(null['name'].rpartition(':')[2])}: {value}  {visible(null['text'] or 'its explanation is no longer kept')}"


def _print_call(call: dict[str, Any], longest: int | None) -> None:
    tokens = _tokens(call)
    attempts = f"{call['attempts']} attempts, " if call["attempts"] else ""
    parts = (call["purpose"], call["model"] or "–", call["template"] or "–", f"{attempts}{tokens}, {dollars(call['cost_usd'])}", call["key"][:16])
    head = "    " + "  ".join(parts)
    out.print(Text(head, "cyan"))
    for name in ("prompt", "reply"):
        if call[name] is not None:
            out.print(Text(f"      {name}: {_text(call[name], longest)}"))
    if call["error"]:
        out.print(Text(f"      {visible(call['error'])}", "yellow"))


def _text(value: Any, longest: int | None) -> str:
    """Return the value as JSON on one line, cut to `longest` characters."""
    text = visible(json.dumps(value, ensure_ascii=False))
    return text if longest is None or len(text) <= longest else f"{text[:longest]}… ({thousands(len(text))} characters; --full prints all)"


def _spend(spend: dict[str, Any]) -> str:
    return f"{thousands(spend['calls'])} calls, {_tokens(spend)}, {dollars(spend['cost_usd'])}"


def _tokens(found: dict[str, Any]) -> str:
    return f"{thousands(found['prompt_tokens'] or 0)} + {thousands(found['completion_tokens'] or 0)} tokens"
