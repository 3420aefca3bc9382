"""Reply to each kind of question in the forms that Glossator's prompts ask for."""

import json
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from api.demo.fake_llm.asked import FencedText, ScriptedQuestion, Span, unescaped
from api.demo.fake_llm.readers import QuotedReader
from api.demo.fake_llm.texts import Odds, draw
from api.demo.fake_llm.writing import candidates, some_of
from interp.llm.prompt_text import CLOSE, OPEN

Form = Literal["json", "lines", "marker", "text"]

UNSURE = 0.01
LEVELS = 10
MARKER = "EXPLANATION:"
STRAY_KEY = "9999"
LEVELLED = re.compile(r"(.*)\t(\d+)")
# Fences of the explainers' prompts: tokens one per line, and texts repeated in another form.
LISTS = frozenset({"promoted"})
REPEATED = frozenset({"tokens", "firing", "following", "suppressed"})


@dataclass(frozen=True, slots=True)
class ScriptedAnswer:
    """A reply before formatting; `odds` are token probabilities of a value, by its key."""

    fields: dict[str, Any]
    odds: dict[str, Odds] = field(default_factory=dict)
    form: Form = "json"

    def rendered(self) -> tuple[str, dict[int, Odds]]:
        """Return the text, and the odds of tokens by their start in it."""
        if self.form in ("marker", "text"):
            thinking = [str(value) for name, value in self.fields.items() if name != "explanation"]
            said = str(self.fields.get("explanation", ""))
            return "\n\n".join([*thinking, f"{MARKER} {said}" if self.form == "marker" else said]), {}
        text, places = "" if self.form == "lines" else "{", dict[int, Odds]()
        for number, (key, value) in enumerate(self.fields.items()):
            text += f"{key}\t" if self.form == "lines" else f"{', ' if number else ''}{json.dumps(key)}: "
            shown = json.dumps(value, ensure_ascii=False)
            if key in self.odds:
                places[len(text) + shown.startswith('"')] = self.odds[key]
            text += shown + ("\n" if self.form == "lines" else "")
        return text + ("" if self.form == "lines" else "}"), places

    def with_fault(self, fault: str | None, number: int) -> "ScriptedAnswer":
        """Return the answer with one missing or extra verdict, chosen by the request's number."""
        if fault == "missing_verdicts" and self.fields:
            left_out = list(self.fields)[number % len(self.fields)]
            return replace(self, fields={key: value for key, value in self.fields.items() if key != left_out})
        if fault == "extra_verdicts" and self.fields:
            return replace(self, fields=self.fields | {STRAY_KEY: next(reversed(self.fields.values()))})
        return self


def explain(question: ScriptedQuestion, reader: QuotedReader, variant: int) -> ScriptedAnswer:
    """Return a label of the marked texts; variants after the first use fewer, to differ."""
    texts = [as_marked(shown) for shown in question.all_texts if shown.kind not in REPEATED]
    marked = [shown for shown in texts if shown.marks]
    if variant and len(marked) > 1:
        marked = random.Random(f"{question.key}:{variant}").sample(marked, -(-len(marked) // 2))
    label = reader.writes([*marked, *(shown for shown in texts if not shown.marks)])
    thinking = {"thinking": "I look for what the marked places share."} if "thinking" in question.fields or "thinking" in question.system else {}
    in_text = question.schema is None and MARKER in question.system and "JSON" not in question.system
    return ScriptedAnswer(thinking | {"explanation": label}, form="marker" if in_text else "json")


def as_marked(shown: FencedText) -> FencedText:
    """Return the text with « » around list tokens, or active tokens of level lines."""
    lines = shown.shown.split("\n")
    if shown.kind in LISTS:
        return FencedText(shown.id, "\n".join(f"{OPEN}{line}{CLOSE}" for line in lines), shown.kind)
    rows = [LEVELLED.fullmatch(line) for line in lines]
    if not all(rows):
        return shown
    tokens = [(unescaped(row[1]), int(row[2])) for row in rows if row]
    return FencedText(shown.id, "".join(f"{OPEN}{token}{CLOSE}" if level else token for token, level in tokens), shown.kind)


def _verdicts(question: ScriptedQuestion, reader: QuotedReader, are_marks_asked: bool) -> ScriptedAnswer:
    fields, odds = dict[str, Any](), dict[str, Odds]()
    for context in question.contexts:
        yes = min(max(reader.says_yes(question.label, context, are_marks_asked), UNSURE), 1 - UNSURE)
        fields[context.id] = "yes" if yes > 0.5 else "no"
        odds[context.id] = (("yes", yes * (1 - UNSURE)), ("no", (1 - yes) * (1 - UNSURE)), ("unsure", UNSURE / 2))
    return ScriptedAnswer(fields, odds)


def detect(question: ScriptedQuestion, reader: QuotedReader, _: int) -> ScriptedAnswer:
    return _verdicts(question, reader, are_marks_asked=False)


def fuzz(question: ScriptedQuestion, reader: QuotedReader, _: int) -> ScriptedAnswer:
    return _verdicts(question, reader, are_marks_asked=True)


def simulate(question: ScriptedQuestion, reader: QuotedReader, _: int) -> ScriptedAnswer:
    """Return levels as JSON of those above 0, or as lines with probabilities."""
    if question.schema is not None or "JSON" in question.system:
        return ScriptedAnswer(
            {context.id: [list(pair) for pair in _levels(context, question.label, reader) if pair[1]] for context in question.contexts}
        )
    levels = {str(number): level for context in question.contexts for number, level in _levels(context, question.label, reader)}
    return ScriptedAnswer(levels, {number: _level_odds(level) for number, level in levels.items()}, form="lines")


def _levels(context: FencedText, label: str | None, reader: QuotedReader) -> list[tuple[int, int]]:
    """Return (number, level 0-10) of each numbered token, by its strongest overlapping span."""
    text, places = "", list[tuple[int, int, int]]()
    for number, token in context.lines:
        places.append((number, len(text), len(text) + len(token)))
        text += token
    spans = reader.strengths(label, text)
    # Number 0 is the left context, which has no level.
    return [(number, _strongest(spans, start, end)) for number, start, end in places if number]


def _strongest(spans: list[Span], start: int, end: int) -> int:
    return round(max((strength for left, right, strength in spans if left < end and start < right), default=0.0))


def _level_odds(level: int) -> Odds:
    """Return a high probability of the level itself, and low ones of its neighbours."""
    near = [place for place in (level - 1, level + 1) if 0 <= place <= LEVELS]
    return ((str(level), 0.9), *((str(place), 0.08 / len(near)) for place in near))


def select(question: ScriptedQuestion, reader: QuotedReader, _: int) -> ScriptedAnswer:
    fires = [context.id for context in question.contexts if reader.says_yes(question.label, context, False) > 0.5]
    return ScriptedAnswer({"fires": [_number(name) for name in fires]})


def discriminate(question: ScriptedQuestion, reader: QuotedReader, _: int) -> ScriptedAnswer:
    """Choose the group whose contexts fit the label best; ties by the question's hash."""
    return _best_group(question, question.contexts, reader, "group")


def output(question: ScriptedQuestion, reader: QuotedReader, _: int) -> ScriptedAnswer:
    """Choose the shift whose likelier tokens fit the label best, line by line."""
    likelier = [context for context in question.contexts if context.id.endswith(".1")]
    lines = [FencedText(context.id, unescaped(line)) for context in likelier for line in context.shown.split("\n")]
    return _best_group(question, lines, reader, "shift")


def _best_group(question: ScriptedQuestion, contexts: Sequence[FencedText], reader: QuotedReader, key: str) -> ScriptedAnswer:
    groups: dict[str, list[float]] = {}
    for context in contexts:
        chance = reader.says_yes(question.label, context, are_marks_asked=bool(context.marks))
        groups.setdefault(context.id.partition(".")[0], []).append(chance)
    means = {group: sum(chances) / len(chances) for group, chances in groups.items()}
    if not means:
        return ScriptedAnswer({key: 1})
    best = max(means, key=lambda group: (means[group], draw(question.key, group)))
    total = sum(means.values())
    return ScriptedAnswer({key: _number(best)}, {key: tuple((group, 0.98 * mean / total) for group, mean in means.items())})


def intrude(question: ScriptedQuestion, reader: QuotedReader, _: int) -> ScriptedAnswer:
    place = reader.odd_one_out(question.contexts) if question.contexts else 0
    return ScriptedAnswer({"intruder": _number(question.contexts[place].id) if question.contexts else 1})


COUNT = re.compile(r"First (\d+) texts")


def write(question: ScriptedQuestion, reader: QuotedReader, _: int) -> ScriptedAnswer:
    """Write texts in which the reader finds the label, and near ones."""
    asked = COUNT.search(question.system)
    count = int(asked[1]) if asked else 1
    texts = candidates(question.label or "", question.key)
    says = {text: reader.says_yes(question.label, FencedText("1", text), False) > 0.5 for text in texts}
    chosen = {kind: [text for text in texts if says[text] is fires] for kind, fires in (("fires", True), ("near", False))}
    # A label that fits every text, or none, gets some all the same, as of a model that does its best.
    return ScriptedAnswer({kind: some_of(found or texts, count) for kind, found in chosen.items()})


TEXTS = re.compile(r"write (\d+) texts")


def propose(question: ScriptedQuestion, reader: QuotedReader, _: int) -> ScriptedAnswer:
    """Return the marked texts' label as idea, and texts that fit it and do not."""
    label = str(explain(question, reader, 0).fields["explanation"])
    asked = TEXTS.search(question.system)
    count = int(asked[1]) if asked else 1
    texts = candidates(label, question.key)
    says = {text: reader.says_yes(label, FencedText("1", text), False) > 0.5 for text in texts}
    sides = {fires: some_of([text for text in texts if says[text] is fires] or texts, count) for fires in (True, False)}
    pairs = [{"idea": 1, "fires": fires, "text": sides[fires][place]} for place in range(count if texts else 0) for fires in (True, False)]
    return ScriptedAnswer({"ideas": [label], "texts": pairs[:count]})


def answer_by_schema(question: ScriptedQuestion, _: QuotedReader, variant: int) -> ScriptedAnswer:
    """Return any answer of the requested schema, for questions of an unknown kind."""
    del variant
    properties = question.schema.get("properties", {}) if question.schema else {}
    if not properties:
        return ScriptedAnswer({"explanation": "I am a scripted model, and this is no question that I was made for."}, form="text")
    return ScriptedAnswer({name: _example(schema) for name, schema in properties.items()})


def _example(schema: dict[str, Any]) -> Any:
    if schema.get("enum"):
        return schema["enum"][0]
    return {"string": "scripted", "integer": 1, "number": 1.0, "boolean": True, "array": [], "object": {}}.get(str(schema.get("type")))


def _number(name: str) -> int | str:
    return int(name) if name.isdigit() else name


ANSWERS: dict[str, Callable[[ScriptedQuestion, QuotedReader, int], ScriptedAnswer]] = {
    "explain": explain,
    "cluster": explain,
    "detect": detect,
    "fuzz": fuzz,
    "simulate": simulate,
    "select": select,
    "discriminate": discriminate,
    "intrude": intrude,
    "write": write,
    "propose": propose,
    "output": output,
}


def answer(question: ScriptedQuestion, reader: QuotedReader, variant: int = 0) -> ScriptedAnswer:
    """Return the answer; `variant` counts equal questions at a temperature above 0."""
    return ANSWERS.get(question.kind, answer_by_schema)(question, reader, variant)
