"""Estimate a job by running its explainers and scorers with models that send nothing."""

import asyncio
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from pydantic import TypeAdapter

from api.jobs.estimate_sample import Drawn, Sample
from api.schemas.jobs import AmountAnswer, CorpusAnswer
from api.schemas.usage import EstimateAnswer, EstimateRow, EstimateTotal
from interp.domain.evidence import FeatureEvidence, Split
from interp.domain.explanation import Explanation
from interp.domain.job_warnings import JobWarning, merged
from interp.domain.lifecycle import Stage
from interp.domain.spec import ROLES, BudgetSpec, ExplainerSpec, JobSpec, ModelSpec, ModelsSpec, ScorerSpec
from interp.explain import registry as explainers
from interp.explain.agent import Agent, dry_reading
from interp.explain.base import ExplainContext, ExplainerInput, LlmExplainer, TokenChanges
from interp.explain.endpoint import DictionaryPlace, EndpointContext, EndpointExplainer
from interp.explain.proposal import TriedRound
from interp.llm.base import Ability, Prompt, Reply
from interp.llm.call_store import Tag
from interp.llm.estimate import DryEndpoint, DryModel, Estimate, EstimateLine
from interp.llm.label_endpoint import NAME as ENDPOINT
from interp.planning.preflight import Preflight, PreflightRequest
from interp.score import registry as scorers
from interp.score.base import OWN_CONTROLS, Distractor, FeatureEffect, ScoreContext, ScorerInput
from interp.score.local_embedder import is_local
from interp.score.scorers.output import DOWN, POOL, PROMPTS, UP
from interp.security import allowed_files
from interp.security.allowed_files import Allowance
from interp.security.sandbox import Task

T = TypeVar("T")

# As long as a typical rule: fitting rules would take longer than the rest of the estimate.
PLACEHOLDER = "the token ` self` at the start of a line or right before `.`, in 84% of cases; else ` cls`"
CACHE = "Answers kept from earlier jobs cost nothing and are not taken off here: a job like an earlier one costs less, the same one nothing."
SEQUENTIAL = "Sequential scorers are counted as if they asked everything; they stop earlier."
RETRIES = "Retries after faults, and repairs of replies that cannot be read, are not counted."
CONTROL = "The random-weights control is a second job of the same size on the same budget; it is in the total."


@dataclass(frozen=True, slots=True)
class SampleCount:
    """The calls of a sample: lines with roles, and longest prompt with reply by role."""

    lines: tuple[tuple[str, EstimateLine], ...]
    longest: dict[str, int]


@dataclass
class EstimateTally:
    """The calls of the sample, by role."""

    models: ModelsSpec
    by_role: dict[str, Estimate] = field(default_factory=dict)

    def model(self, role: str, stage: Stage, purpose: str) -> DryModel:
        """Return a model that sends nothing, for one purpose of one stage."""
        spec, tag = getattr(self.models, role), Tag("estimate", "estimate", stage, None, purpose)
        abilities = frozenset({Ability.LOGPROBS}) if spec.logprobs else frozenset[Ability]()
        return Distinct(spec, tag, self.by_role.setdefault(role, Estimate()), abilities=abilities)

    def label_endpoint(self, explainer: ExplainerSpec) -> DryEndpoint:
        """Return an endpoint that gets nothing, for an explainer."""
        tag = Tag("estimate", "estimate", Stage.EXPLAIN, None, explainer.name)
        return DryEndpoint(explainer, tag, self.by_role.setdefault(ENDPOINT, Estimate()))

    def counted(self) -> SampleCount:
        lines = tuple((role, line) for role in (*ROLES, ENDPOINT) if role in self.by_role for line in self.by_role[role].lines.values())
        return SampleCount(lines, {role: max(found.longest.values()) for role, found in self.by_role.items() if found.longest})


class Distinct(DryModel):
    """A dry model that writes another label for every prompt, as a real model would.

    A prompt that is sent twice counts once, and equal labels would make most prompts equal.
    """

    async def ask(self, prompt: Prompt) -> Reply:
        reply = await super().ask(prompt)
        try:
            content = json.loads(reply.text)
        except ValueError:
            return reply
        if not isinstance(content, dict) or not isinstance(content.get("explanation"), str):
            return reply
        distinct = content | {"explanation": f"{content['explanation']} {reply.key[:4]}"}
        return replace(reply, text=json.dumps(distinct, ensure_ascii=False))


@dataclass(frozen=True, slots=True)
class CountRequest:
    """A job, and the features that were drawn of each of its dictionaries."""

    asked: PreflightRequest
    drawn: tuple[Drawn, ...]


def count(spec: JobSpec, sample: Sample) -> SampleCount:
    """Run every explainer and scorer that calls a language model; raises what they raise."""
    tally = EstimateTally(spec.models)
    asyncio.run(_run(spec, sample, tally))
    return tally.counted()


def _count(given: CountRequest) -> tuple[SampleCount, ...]:
    """Count in a sandbox process, which reads tokenizer and texts."""
    asked = given.asked
    with allowed_files.within(asked.roots), allowed_files.allowing(Allowance(asked.seconds, asked.nbytes)):
        return tuple(count(spec, drawn.sample(spec)) for spec, drawn in zip(asked.spec.each, given.drawn, strict=True))


COUNT = Task("api.jobs.estimate:COUNT", _count, TypeAdapter(CountRequest), TypeAdapter(tuple[SampleCount, ...]))


def longest_of(counted: Iterable[SampleCount]) -> dict[str, int]:
    """Return the tokens of the longest prompt with its reply by role."""
    longest: dict[str, int] = {}
    for of in counted:
        longest |= {role: max(tokens, longest.get(role, 0)) for role, tokens in of.longest.items()}
    return longest


def answer(spec: JobSpec, drawn: Sequence[Drawn], counted: Sequence[SampleCount], facts: Preflight) -> EstimateAnswer:
    """Return the estimate of a job, with its basis."""
    rows = [_row(role, line) for (role, *_), line in _summed(drawn, counted).items()]
    twice = "random_weights" in spec.controls
    total = _total(rows, 2 if twice else 1)
    notes = [CACHE, RETRIES]
    if any(scorer.stop == "sequential" for scorer in spec.scorers):
        notes.append(SEQUENTIAL)
    if twice:
        notes.append(CONTROL)
    return EstimateAnswer(
        basis="evidence" if all(of.basis == "evidence" for of in drawn) else "settings",
        features=sum(of.asked for of in drawn),
        counted_features=sum(of.counted for of in drawn),
        sampled_features=sum(len(of.features) for of in drawn),
        rows=sorted(rows, key=lambda row: (row.stage, row.purpose, row.role)),
        total=total,
        includes_control=twice,
        budget=AmountAnswer.model_validate(spec.budget),
        within_budget=_within(total, spec.budget),
        longest_prompt_tokens=max(longest_of(counted).values(), default=0),
        context_windows={role: model.context_window for role in ROLES if (model := getattr(spec.models, role)) is not None},
        notes=notes,
        corpus=CorpusAnswer.model_validate(facts.corpus),
        warnings=[JobWarning(**warning) for warning in merged((), facts.warnings)],
    )


def _summed(drawn: Sequence[Drawn], counted: Sequence[SampleCount]) -> dict[tuple[str, str, str], EstimateLine]:
    """Return the calls of all dictionaries by role, stage and purpose."""
    sums: dict[tuple[str, str, str], EstimateLine] = {}
    for of, found in zip(drawn, counted, strict=True):
        for role, line in found.lines:
            key, all_of = (role, line.stage, line.purpose), line.times(of.counted / max(len(of.features), 1))
            sums[key] = sums[key].plus(all_of) if key in sums else all_of
    return sums


async def _run(spec: JobSpec, sample: Sample, tally: EstimateTally) -> None:
    for explainer in spec.explainers:
        made = await _explain(spec, explainer, sample, tally)
        for scorer in spec.scorers:
            if scorers.uses_llm(scorer, spec) and not _is_free(scorer, spec):
                await _score(spec, scorer.model_copy(update={"stop": "fixed"}), sample, made, tally)


async def _explain(spec: JobSpec, explainer: ExplainerSpec, sample: Sample, tally: EstimateTally) -> list[Explanation]:
    asking = explainers.get(explainer)
    if isinstance(asking, EndpointExplainer):
        at = EndpointContext(sample.vocabulary, spec.seed, _place(spec), tally.label_endpoint(explainer))
        return [await asking.explain(ExplainerInput.of(item, sample.vocabulary), at) for item in sample.features]
    if not isinstance(asking, LlmExplainer):
        return [Explanation(item.feature, explainer.name, f"{PLACEHOLDER} {item.feature}") for item in sample.features]
    model = _models(spec, tally, Stage.EXPLAIN, explainer.name)
    context = ExplainContext(sample.vocabulary, spec.seed, model["explainer"], model.get("judge", model["explainer"]), model.get("embedding"))
    inputs = [ExplainerInput.of(item, sample.vocabulary) for item in sample.features]
    if explainers.needs_changes(explainer):
        # Tokens of the usual size: those that the direction promotes.
        inputs = [replace(item, changes=TokenChanges(item.promoted or ("a",), item.suppressed)) for item in inputs]
    if isinstance(asking, Agent):
        proposing = replace(context, model=_models(spec, tally, Stage.PROPOSE, explainer.name)["explainer"])
        inputs = [await _tried(asking, item, proposing) for item in inputs]
    return [await asking.explain(item, context) for item in inputs]


async def _tried(asking: Agent, item: ExplainerInput, context: ExplainContext) -> ExplainerInput:
    """Return the input of a feature after all rounds, with readings of the usual size."""
    for _ in range(asking.spec.rounds):
        proposal = await asking.propose(item, context)
        item = replace(item, rounds=(*item.rounds, TriedRound(proposal, tuple(map(dry_reading, proposal.texts)))))
    return item


def _place(spec: JobSpec) -> DictionaryPlace:
    """Return a place of the usual size: nothing of it is sent."""
    return DictionaryPlace(
        spec.dictionary.name or spec.dictionary.source, 2**20, "positive", spec.subject.model, spec.dictionary.hook_point or "", 4096
    )


async def _score(spec: JobSpec, scorer: ScorerSpec, sample: Sample, made: Sequence[Explanation], tally: EstimateTally) -> None:
    asking = scorers.judged(scorer)
    if asking.writes:
        await _write(spec, scorer, sample, made, tally)
        return
    model = _models(spec, tally, Stage.SCORE, scorer.name)
    context = ScoreContext(
        sample.vocabulary,
        spec.seed,
        judge=model["judge"] if asking.asks_judge else model["embedding"],
        second_judge=model.get("second_judge"),
        embedder=model.get("embedding"),
        controls=OWN_CONTROLS & frozenset(spec.controls),
        control_share=spec.control_share,
        gold_items=spec.gold_items,
    )
    for place, (item, explanation) in enumerate(zip(sample.features, made, strict=True)):
        if explanation.text is None:
            continue
        nulls = _others([other for other in made if other.text is not None], place, scorers.nulls_of(scorer, spec))
        baseline = Explanation(item.feature, "pattern", f"{PLACEHOLDER} {item.feature}") if "baseline" in spec.controls else None
        others = _others(sample.features, place, scorer.foils) if asking.needs_distractors else []
        distractors = [Distractor(other.feature, other.contexts.of(Split.TEST)) for other in others]
        effects = [_effect(one, sample) for one in (item, *_others(sample.features, place, POOL))] if asking.probes else []
        await asking.score(ScorerInput.of(item, explanation, nulls, baseline, distractors, effects=effects), context)


def _effect(of: FeatureEvidence, sample: Sample) -> FeatureEffect:
    """Return shifts of the usual size, of tokens that the feature promotes."""
    tokens = [effect.token for effect in of.promoted] or of.contexts.tokens.ravel()[:UP].tolist()
    texts = [sample.vocabulary.text(tokens[place % len(tokens)]) for place in range(UP)] if tokens else ["a"] * UP
    shifts = tuple((tuple(texts[prompt % UP :] + texts[: prompt % UP]), tuple(texts[:DOWN])) for prompt in range(PROMPTS))
    return FeatureEffect(of.feature, 1.0, 0.5, shifts)


async def _write(spec: JobSpec, scorer: ScorerSpec, sample: Sample, made: Sequence[Explanation], tally: EstimateTally) -> None:
    """Count the texts that are written of labels; scoring them asks nothing."""
    asking, model = scorers.judged(scorer), _models(spec, tally, Stage.WRITE, scorer.name)
    context = ScoreContext(sample.vocabulary, spec.seed, judge=model["judge"])
    labels = list(zip(sample.features, made, strict=True))
    if "baseline" in spec.controls:
        labels += [(item, Explanation(item.feature, "pattern", f"{PLACEHOLDER} {item.feature}")) for item in sample.features]
    for item, explanation in labels:
        await asking.write(ScorerInput.of(item, explanation, ()), context)


def _is_free(scorer: ScorerSpec, spec: JobSpec) -> bool:
    """Return whether the scorer calls no endpoint: the installed embedder serves it."""
    return not scorers.judged(scorer).asks_judge and is_local(spec)


def _models(spec: JobSpec, tally: EstimateTally, stage: Stage, purpose: str) -> dict[str, DryModel]:
    return {role: tally.model(role, stage, purpose) for role in ROLES if getattr(spec.models, role) is not None}


def _others(found: Sequence[T], place: int, wanted: int) -> list[T]:
    """Return `wanted` items after a place, cyclically; only their sizes count."""
    return [found[(place + 1 + number) % len(found)] for number in range(wanted)] if found else []


def _row(role: str, line: EstimateLine) -> EstimateRow:
    model, cost = line.model, line.cost("")
    return EstimateRow(
        stage=Stage(line.stage),
        purpose=line.purpose,
        role=role,
        model=model.model,
        calls=line.calls,
        prompt_tokens=line.prompt_tokens,
        completion_tokens=line.completion_tokens,
        cost_usd=cost,
        why=None if cost is not None else _unpriced(role, model),
    )


def _unpriced(role: str, model: ModelSpec) -> str:
    if role == ENDPOINT:
        return f"the price of a call to {model.model} is unknown; set the explainer's price"
    return f"the price of {model.model} at {model.endpoint('')} is unknown; set models.{role}.price"


def _total(rows: Sequence[EstimateRow], times: int) -> EstimateTotal:
    sums = {name: times * sum(getattr(row, name) for row in rows) for name in ("calls", "prompt_tokens", "completion_tokens")}
    unknown = next((row.why for row in rows if row.cost_usd is None), None)
    return EstimateTotal(
        **sums,
        tokens=sums["prompt_tokens"] + sums["completion_tokens"],
        cost_usd=None if unknown else times * sum(row.cost_usd or 0.0 for row in rows),
        why=unknown,
    )


def _within(total: EstimateTotal, caps: BudgetSpec) -> bool | None:
    """Return whether the total fits every cap; None without caps, or for an unknown price."""
    pairs = [(total.calls, caps.calls), (total.tokens, caps.tokens), (total.cost_usd, caps.usd)]
    fits = [amount <= cap for amount, cap in pairs if amount is not None and cap is not None]
    if not all(fits):
        return False
    return True if fits and not (caps.usd is not None and total.cost_usd is None) else None
