"""What a score is held against, beside its nulls: no explanation, the pattern's, the judge's own consistency."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from interp.domain.score import ControlResult
from interp.judge.outcome import AnswerStatus
from interp.judge.recorder import RecordingModel
from interp.judge.yes_no import Verdict
from interp.score.base import ScoreContext
from interp.stats.chance import cohens_kappa

NO_BASELINE = "The feature has no pattern explanation to be held against."
NO_SECOND = "The job names no second judge."
# Fewer answers cannot both agree and differ.
FEWEST = 2


def agreement(name: str, first: Sequence[Verdict], second: Sequence[Verdict], details: dict[str, Any] | None = None) -> ControlResult:
    """Cohen's kappa of two answers to the same questions. `details` counts pairs, so that those of many features add up to one table.

    Pairs of which one has no answer are left out and counted. Kappa is undefined where both sides say one thing throughout: then the counts speak.
    """
    pairs = [
        (one.says, other.says)
        for one, other in zip(first, second, strict=True)
        if one.outcome == AnswerStatus.ANSWERED and other.outcome == AnswerStatus.ANSWERED
    ]
    found = {
        "asked": len(first),
        "compared": len(pairs),
        "yes_yes": pairs.count((True, True)),
        "yes_no": pairs.count((True, False)),
        "no_yes": pairs.count((False, True)),
        "no_no": pairs.count((False, False)),
        **(details or {}),
    }
    if len(pairs) < FEWEST:
        return ControlResult(name, None, reason=f"{len(pairs)} of {len(first)} questions were answered both times.", details=found)
    kappa = cohens_kappa(np.array([one for one, _ in pairs]), np.array([other for _, other in pairs]))
    same = (found["yes_yes"] + found["no_no"]) / len(pairs)
    if kappa is None:
        return ControlResult(
            name, None, reason="Every answer was the same, so that agreement by chance is certain.", details=found | {"agreement": same}
        )
    return ControlResult(name, kappa, details=found | {"agreement": same})


def share_of_both(positive: NDArray[np.bool_], share: float, seed: int) -> NDArray[np.intp]:
    """Rows of `positive` [N]: a share of them and at least two, as many firing as silent ones as far as there are, drawn by seed, sorted."""
    random = np.random.default_rng(seed)
    count = min(len(positive), max(FEWEST, int(np.ceil(share * len(positive)))))
    firing, silent = random.permutation(np.flatnonzero(positive)), random.permutation(np.flatnonzero(~positive))
    half = max(min(len(firing), -(-count // 2)), count - len(silent))
    return np.sort(np.concatenate([firing[:half], silent[: count - half]])).astype(np.intp)


def second_model(model: RecordingModel, desk: ScoreContext, name: str) -> RecordingModel | None:
    """Whom `repeat` and `judge_swap` ask; None where the job does not want that control, or names no second judge."""
    if name not in desk.controls:
        return None
    if name == "repeat":
        return model.for_purpose(name)
    return None if desk.second_judge is None else model.also(desk.second_judge, name)
