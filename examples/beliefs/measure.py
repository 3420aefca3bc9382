"""`python -m examples.beliefs.measure`: what a job says of the dictionary without knowing of beliefs, held against the beliefs.

Runs `job.yaml` on an embedded service, whose database is deleted afterwards: a label by rules for each feature, and the health report. Then the truth
of each feature on the job's text: how much of its activation a linear function of the optimal predictor's belief explains, one function a letter,
beyond the letter itself. And whether what needs no belief finds the features that track it. Without a dictionary in the folder it is trained first.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from examples.beliefs import process
from examples.beliefs.probing import Floats, Ints, activations, last_two, one_hot, r_squared, squares
from examples.beliefs.train import HERE, Sizes, run
from examples.jobs import results_of
from glossator import Client
from interp.dictionary.module import Dictionary, open_dictionary
from interp.domain.check_report import Figure
from interp.domain.spec import DictionarySpec, SubjectSpec
from interp.domain.vocabulary import Vocabulary
from interp.explain.pattern.rule import Rule
from interp.health.probes import area_figure
from interp.subject.base import open_subject

Mask = NDArray[np.bool_]
# A feature tracks belief where belief explains this share of what the current token leaves, and more of it than the last two tokens do.
TRACKS = 0.5


@dataclass(frozen=True)
class Truth:
    """What explains F features' activations; all float64 `[F]`, on sequences that the regressions were not fitted on.

    density     share of letters at which the feature fires
    token       R² of the current token
    belief      of what the token leaves, the share that a linear function of belief explains, one function a token
    others      the same with the beliefs of other sequences: what chance gives
    last_two    the same share by the last two tokens
    importance  mean square of what the token leaves, times |d|²: the part of the reconstruction that is not the token's. It needs no belief
    """

    density: Floats
    token: Floats
    belief: Floats
    others: Floats
    last_two: Floats
    importance: Floats

    @property
    def tracks(self) -> Mask:
        found: Mask = (self.belief >= TRACKS) & (self.belief > self.last_two)
        return found


def letters(target: Path) -> Ints:
    """The job's documents as tokens int64 `[N, L]`."""
    lines = (target / "text.jsonl").read_text(encoding="utf-8").splitlines()
    return np.array([[process.TOKENS.index(letter) for letter in json.loads(line)["text"]] for line in lines])


def by_token(sequences: Ints, beliefs: Floats) -> Floats:
    """A belief's first two coordinates and a one for each token, 0 at others, float64 `[N, L, 9]`: a linear function a token."""
    parts = np.concatenate([beliefs[..., :2], np.ones((*sequences.shape, 1))], axis=2)
    indicators = np.eye(len(process.TOKENS))[sequences]
    found: Floats = (indicators[..., None] * parts[..., None, :]).reshape(*sequences.shape, -1)
    return found


def truth_of(features: Floats, sequences: Ints, dictionary: Dictionary) -> Truth:
    """The truth of features' activations `[N, L, F]`; NaN for features that do not fire."""
    known = process.beliefs(process.mess3(), sequences)[0]
    left, total = squares(one_hot(sequences), features)
    designs = {
        "belief": by_token(sequences, known),
        "others": by_token(sequences, np.roll(known, 2, axis=0)),
        "last_two": one_hot(last_two(sequences)),
    }
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = {name: 1 - squares(design, features)[0].sum(axis=0) / left.sum(axis=0) for name, design in designs.items()}
        token = 1 - left.sum(axis=0) / total.sum(axis=0)
    norms = dictionary.W_dec.double().square().sum(1).numpy()
    return Truth((features > 0).mean(axis=(0, 1)), token, importance=left.mean(axis=0) * norms, **shares)


def predictions(rules: dict[int, dict[str, Any]], sequences: Ints, vocabulary: Vocabulary, count: int) -> Floats:
    """What the labels say, executed: predicted activations `[N, L, F]`, 0 for features without a rule."""
    size, length = sequences.shape
    lengths, starts = np.full(size, length, dtype=np.uint16), np.ones(size, dtype=np.uint16)
    found = np.zeros((*sequences.shape, count))
    for feature, rule in rules.items():
        found[..., feature] = Rule.from_json(rule).predict((sequences + 1).astype(np.uint32), lengths, starts, vocabulary)
    return found


def read(client: Client, dictionary: str) -> tuple[dict[int, dict[str, Any]], dict[str, Any]]:
    """Explanations by feature, and the health report."""
    return {one["index"]: one for one in client.list_explanations(dictionary=dictionary)}, client.get_dictionary_health(dictionary)["report"]


@dataclass(frozen=True)
class Comparison:
    """Numbers of features that fire and that track belief, and what finds these.

    named          of the features that track belief, those whose label says more than the current token: what it predicts varies at one token;
                   `named_others` of the rest that fires
    splits         pairs that the report calls splits; `splits_tracking` of two features that both track belief
    by_report      area under the ROC curve of the report's shares of what the token leaves, for tracking, features as the unit; `first` of the
                   report's first features, as many as track belief, do
    by_last_two    the same of its shares of what the last two tokens leave, and `first_last_two`
    by_importance  area under the ROC curve of `Truth.importance` for tracking, features as the unit
    beliefs        R² of belief by a linear probe of some features' activations, and of what the labels predict
    chance         the greatest share that beliefs of other sequences explain of any feature
    """

    features: int
    firing: int
    tracking: int
    named: int
    named_others: int
    splits: int
    splits_tracking: int
    by_report: Figure
    first: int
    by_last_two: Figure
    first_last_two: int
    by_importance: Figure
    beliefs: dict[str, Figure]
    chance: float


def found_by(left: dict[str, Any], tracks: Mask, fires: Mask) -> tuple[Figure, int]:
    """How the report's shares of what is left find tracking features: their AUROC, and how many of the first, as many as track, do."""
    listed, shares = left["features"], np.zeros(len(fires))
    shares[[one["feature"] for one in listed]] = [one["share"] for one in listed]
    area = area_figure(shares[fires], tracks[fires], np.arange(int(fires.sum())))
    return area, sum(bool(tracks[one["feature"]]) for one in listed[: int(tracks.sum())])


def compare(truth: Truth, features: Floats, predicted: Floats, sequences: Ints, report: dict[str, Any]) -> Comparison:
    fires = truth.density > 0
    tracks = truth.tracks & fires
    varies = squares(one_hot(sequences), predicted)[0].sum(axis=0) > 1e-6 * (predicted**2).sum(axis=(0, 1))
    splits, count = report["cofiring"]["splits"], int(tracks.sum())
    by_report, first = found_by(report["context"], tracks, fires)
    by_last_two, first_last_two = found_by(report["context"]["last_two"], tracks, fires)
    known = process.beliefs(process.mess3(), sequences)[0]
    sources = {"all features": features, "those that track belief": features[..., tracks], "the others": features[..., fires & ~tracks]}
    return Comparison(
        features=len(fires),
        firing=int(fires.sum()),
        tracking=count,
        named=int((tracks & varies).sum()),
        named_others=int((fires & ~tracks & varies).sum()),
        splits=splits["count"],
        splits_tracking=sum(bool(tracks[pair["first"]] and tracks[pair["second"]]) for pair in splits["splits"]),
        by_report=by_report,
        first=first,
        by_last_two=by_last_two,
        first_last_two=first_last_two,
        by_importance=area_figure(truth.importance[fires], tracks[fires], np.arange(int(fires.sum()))),
        beliefs={name: r_squared(source, known) for name, source in (sources | {"what the labels predict": predicted}).items()},
        chance=float(np.nanmax(truth.others[fires])),
    )


@torch.inference_mode()
def measure(target: Path) -> tuple[Comparison, Truth, dict[int, dict[str, Any]], dict[str, Any]]:
    """Run the job on the target's files; return the comparison, the truth, explanations and the report."""
    explanations, report = results_of(HERE / "job.yaml", target, read)
    dictionary, sequences = open_dictionary(DictionarySpec(source=str(target / "dictionary"))), letters(target)
    subject = open_subject(SubjectSpec(model=str(target / "subject"), device="cpu"), dictionary.hook_point)
    x = torch.from_numpy(activations(subject, sequences))
    features = dictionary.encode(x.flatten(0, 1)).reshape(*sequences.shape, -1).double().numpy()
    rules = {feature: one["rule"] for feature, one in explanations.items() if one["rule"]}
    predicted = predictions(rules, sequences, subject.vocabulary, dictionary.n_features)
    truth = truth_of(features, sequences, dictionary)
    return compare(truth, features, predicted, sequences, report), truth, explanations, report


def shown(figure: Figure | dict[str, Any], digits: int = 4) -> str:
    value, error = (figure.value, figure.standard_error) if isinstance(figure, Figure) else (figure["value"], figure["standard_error"])
    return "undefined" if value is None else f"{value:.{digits}f}" + ("" if error is None else f" ± {error:.{digits}f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", type=Path, default=HERE, help="the folder that the training wrote")
    target = parser.parse_args().target
    if not (target / "dictionary").exists():
        run(Sizes(), target)
    found, truth, explanations, report = measure(target)
    passes = report["reconstruction"]
    print(f"report: L0 {shown(report['activity']['l0'])}, FVU {shown(passes['error']['fvu'])}, nats lost {shown(passes['splicing']['nats_lost'], 6)}")
    for probe in next(concept["probes"] for concept in report["concepts"]["concepts"] if concept["name"] == "own")[:2]:
        print(f"report: the token A by features {probe['features']}: AUROC {shown(probe['auroc'])}")
    print(f"features: {found.features}, of which {found.firing} fire and {found.tracking} track belief (chance explains {found.chance:.4f} at most)")
    for name, figure in found.beliefs.items():
        print(f"R2 of belief from {name}: {shown(figure)}")
    print(f"labels that say more than the current token: {found.named} of {found.tracking} that track belief, {found.named_others} of the others")
    print(f"splits in the report: {found.splits}, of two that track belief {found.splits_tracking}")
    print(
        f"report: of the first {found.tracking} features beyond the token, {found.first} track belief; AUROC of its shares {shown(found.by_report)}"
    )
    print(
        f"report: of the first {found.tracking} features beyond the last two tokens, {found.first_last_two} track belief; "
        f"AUROC of its shares {shown(found.by_last_two)}"
    )
    print(f"these features: {', '.join(str(one['feature']) for one in report['context']['last_two']['features'][: found.tracking])}")
    print(f"AUROC of the reconstruction beyond the token on all text, for tracking belief: {shown(found.by_importance)}")
    order = sorted(np.flatnonzero(truth.density > 0).tolist(), key=lambda feature: -truth.belief[feature])
    print("feature  density  token  belief  last two  tracks  label")
    for feature in order:
        row = [getattr(truth, name)[feature] for name in ("density", "token", "belief", "last_two")]
        label = explanations.get(feature, {}).get("text") or "none"
        print(f"{feature:7d}  " + "  ".join(f"{value:.3f}" for value in row) + f"  {'yes' if truth.tracks[feature] else '-':>4}  {label}")


if __name__ == "__main__":
    main()
