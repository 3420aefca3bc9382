"""Name and read what write and probe chunks measured for scorers."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import TypeAdapter

from interp.domain.digests import digest_of
from interp.domain.explanation import ExplanationFamily
from interp.domain.spec import MOST_TRIALS, ExplainerSpec
from interp.domain.vocabulary import Vocabulary
from interp.explain import registry as explainers
from interp.explain.base import TokenChanges
from interp.explain.proposal import Proposal, TriedRound
from interp.judge.writing import WrittenTexts
from interp.planning.plan import Range, ranges_of
from interp.planning.settings_digest import PlannedScorer, baseline_family, family_of, planned_scorer
from interp.score.base import FeatureEffect, LlmScorer, ProbedTexts
from interp.store.db.engine import Session
from interp.store.results import measurements
from workers.runtime import Work

if TYPE_CHECKING:
    # Its module imports torch, which workers of language models do without.
    from interp.collect.measure.effects import Effect

# Names of measurements: texts that were written of labels, and what features do on them.
WRITTEN, READ = "texts", "texts/read"
# What adding a feature's direction does to the subject's predictions.
EFFECT = "effect"
# What it does to them in the mean, on explain documents, for explainers; and the digest of how that is measured.
CHANGES, CHANGES_DIGEST = "token_change", digest_of({"token_change": 1})
# What an explainer proposed in a round, and the round once the subject has read its texts.
PROPOSED, TRIED = "proposed/{}", "tried/{}"
PROPOSAL, ROUND = TypeAdapter(Proposal), TypeAdapter(TriedRound)
# Features whose measurements are in memory at once.
FEATURES_AT_ONCE = 1024


class Measured(NamedTuple):
    """The name and the digest of a measurement."""

    name: str
    digest: str


def families_of(work: Work) -> list[ExplanationFamily]:
    """Return the families of the job's explainers."""
    return [family_of(work.spec, spec, work.run_id, work.runtime.settings.llm_base_url) for spec in work.spec.explainers]


def written_families(work: Work) -> list[ExplanationFamily]:
    """Return the families that texts are written of, the baseline control's included."""
    baseline = baseline_family(work.spec, work.run_id)
    found = families_of(work)
    return found if baseline is None or baseline in found else [*found, baseline]


def writers_of(work: Work) -> list[tuple[PlannedScorer, LlmScorer]]:
    """Return the job's scorers that have texts written."""
    planned = [planned_scorer(work.spec, spec, work.runtime.settings.llm_base_url) for spec in work.spec.scorers]
    return [(one, one.scorer) for one in planned if isinstance(one.scorer, LlmScorer) and one.scorer.writes]


def steering_of(work: Work) -> list[PlannedScorer]:
    """Return the job's scorers that read what features do to predictions."""
    planned = [planned_scorer(work.spec, spec, work.runtime.settings.llm_base_url) for spec in work.spec.scorers]
    return [one for one in planned if isinstance(one.scorer, LlmScorer) and one.scorer.probes and not one.scorer.writes]


def trying_of(work: Work, turn: int) -> list[tuple[ExplanationFamily, ExplainerSpec]]:
    """Return the explainers that try texts in a round, from 1, with families."""
    pairs = zip(families_of(work), work.spec.explainers, strict=True)
    return [(family, spec) for family, spec in pairs if explainers.tries_texts(spec.name) and spec.rounds >= turn]


def proposals_of(session: Session, family: ExplanationFamily, turn: int, ranges: Sequence[Range]) -> dict[int, Proposal]:
    """Return what was proposed in a round, by feature."""
    found = measurements.load(session, family.run_id, PROPOSED.format(turn), family.settings_digest, ranges)
    return {feature: PROPOSAL.validate_python(content) for feature, content in found.items()}


def tried_rounds(session: Session, family: ExplanationFamily, rounds: int, ranges: Sequence[Range]) -> dict[int, tuple[TriedRound, ...]]:
    """Return the rounds up to the first that was not tried, by feature.

    A round of texts that were proposed anew since is missing.
    """
    found: dict[int, tuple[TriedRound, ...]] = {}
    for turn in range(1, rounds + 1):
        proposals = proposals_of(session, family, turn, ranges)
        tried = measurements.load(session, family.run_id, TRIED.format(turn), family.settings_digest, ranges)
        for feature, content in tried.items():
            made, before = ROUND.validate_python(content), found.get(feature, ())
            if len(before) == turn - 1 and made.proposal == proposals.get(feature):
                found[feature] = (*before, made)
    return found


def save_rounds(session: Session, family: ExplanationFamily, name: str, turn: int, made: Mapping[int, Proposal | TriedRound]) -> None:
    """Write what was proposed or tried in a round.

    Later rounds of features with a new proposal are deleted: they answered to another one.
    """
    if name == PROPOSED:
        later = [stage.format(after) for after in range(turn + 1, MOST_TRIALS + 1) for stage in (PROPOSED, TRIED)]
        measurements.remove(session, family.run_id, later, family.settings_digest, list(made))
    measurements.save(session, family.run_id, name.format(turn), family.settings_digest, {feature: asdict(one) for feature, one in made.items()})


def changes_of(session: Session, run_id: int, ranges: Sequence[Range]) -> dict[int, TokenChanges]:
    """Return what adding features does to predictions in the mean, by feature."""
    found = measurements.load(session, run_id, CHANGES, CHANGES_DIGEST, ranges)
    return {feature: TokenChanges(tuple(content["up"]), tuple(content["down"]), content["why"]) for feature, content in found.items()}


def changes_content(effect: "Effect", vocabulary: Vocabulary) -> dict[str, Any]:
    """Return a feature's mean effect on predictions as JSON."""
    up, down = ([vocabulary.text(token) for token, _ in side] for side in (effect.mean.up, effect.mean.down))
    return {"up": up, "down": down, "why": effect.why}


def effect_content(effect: "Effect", vocabulary: Vocabulary) -> dict[str, Any]:
    """Return what a feature does to predictions as JSON, with the texts of the tokens."""
    text = vocabulary.text
    shifts = [[[text(token) for token, _ in side] for side in (shift.up, shift.down)] for shift in effect.shifts]
    return {"strength": effect.strength, "kl": effect.kl, "why": effect.why, "shifts": shifts}


def effect_of(feature: int, content: Mapping[str, Any]) -> FeatureEffect:
    """Return what a feature does to predictions of stored JSON."""
    shifts = tuple((tuple(up), tuple(down)) for up, down in content["shifts"])
    return FeatureEffect(feature, content["strength"], content["kl"], shifts, content["why"])


def usable_features(session: Session, run_id: int, measured: Measured, features: Sequence[int]) -> set[int]:
    """Return the features whose texts were written, or whose effect was found."""
    usable: set[int] = set()
    for start in range(0, len(features), FEATURES_AT_ONCE):
        found = measurements.load(session, run_id, *measured, ranges_of(features[start : start + FEATURES_AT_ONCE]))
        usable |= {feature for feature, content in found.items() if _is_usable(measured.name, content)}
    return usable


def _is_usable(name: str, content: Mapping[str, Any]) -> bool:
    return content["why"] is None if name == EFFECT else content["failure"] is None and len(content["fires"]) > 0


def as_content(written: WrittenTexts) -> dict[str, Any]:
    """Return written texts as JSON."""
    return {"fires": written.fires, "near": written.near, "failure": written.failure, "calls": written.calls}


def written_of(content: Mapping[str, Any]) -> WrittenTexts:
    """Return the written texts of stored JSON."""
    return WrittenTexts(tuple(content["fires"]), tuple(content["near"]), content["failure"], tuple(content["calls"]))


def read_content(
    level: float | None,
    firing_level: float,
    written: WrittenTexts,
    numbers: Mapping[str, Sequence[float]],
    others: Mapping[int, Sequence[float]],
    readings: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Return what a feature does on texts as JSON.

    `numbers` are those of `fires`, `near` and `baseline`.
    """
    return {
        "level": level,
        "firing_level": firing_level,
        **{name: list(found) for name, found in numbers.items()},
        "others": {str(feature): list(found) for feature, found in others.items()},
        "readings": list(readings),
        "failure": written.failure,
        "calls": list(written.calls),
    }


def probed_of(content: Mapping[str, Any]) -> ProbedTexts:
    """Return what a feature does on texts of stored JSON."""
    return ProbedTexts(
        level=content["level"],
        firing_level=content["firing_level"],
        fires=tuple(content["fires"]),
        near=tuple(content["near"]),
        others={int(feature): tuple(found) for feature, found in content["others"].items()},
        baseline=tuple(content["baseline"]),
        readings=tuple(content["readings"]),
        failure=content["failure"],
        calls=tuple(content["calls"]),
    )
