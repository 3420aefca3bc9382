"""What a job's report says of how far to trust it."""

from typing import Any

import pytest

from api.cli.output import report

FIGURES: dict[str, Any] = {
    "metric": "balanced_accuracy",
    "ranking": {"features": 40, "reliability": 0.19, "worst": 20, "worst_found": 0.65},
    "baseline": {"features": 40, "median": 0.56, "median_lift": 0.03, "better": 25},
    "too_few": {
        "scores": 12,
        "needed": 5,
        "firing": 0,
        "silent": 12,
        "reason": "Fewer than 5 silent windows were answered.",
        "fits": "simulation",
    },
    "repeat": {"kappa": 0.8, "compared": 64, "agreement": 0.9},
    "gold": {
        "sensitivity": {"value": 0.9, "low": 0.8, "high": 0.95},
        "specificity": {"value": 0.8, "low": 0.7, "high": 0.9},
        "corrected_median": 0.71,
        "corrected_interval": [0.65, 0.8],
    },
}


def test_a_report_says_what_to_doubt(capsys: pytest.CaptureFixture[str]) -> None:
    spent = {"questions": 317, "attempts": 362, "prompt_tokens": 271_734, "completion_tokens": 24_640, "cost_usd": None}
    random = {"job": "r", "scores": {"detection": {"median": 0.52, "lift": 0.04}}}
    beside = {"median": 0.5, "difference": 0.07, "interval": [0.02, 0.12], "pairs": 31}
    directions = {"dictionaries": [{"dictionary": "gpt2@8-res", "scores": {"detection": beside}}]}
    report.print_caveats({"scores": {"detection": FIGURES}, "random_weights": random, "random_dictionary": directions, "language_models": spent})
    said = capsys.readouterr().out
    for part in (
        "19% of the spread between features is more than noise; of the 20 that look worst, 65% are expected to be",
        "lift over the pattern +0.03 (the pattern alone 0.56; better on 25 of 40)",
        "12 scores have no lift and are in no ranking by it. Fewer than 5 silent windows were answered. `simulation` fits features that are hardly",
        "asked again, the judge agrees with itself: kappa 0.80, 90% of 64 answers",
        "the judge says yes to 90% of known yes and no to 80% of known no; median without its misreadings 0.71 [0.65, 0.80]",
        "on random weights the median is 0.52 (lift over them +0.04)",
        "with random directions the median is 0.50; paired difference +0.07 on 31 features that both score [+0.02, +0.12]",
        "317 questions in 362 attempts, 271,734 + 24,640 tokens, cost unknown",
    ):
        assert part in said


def test_a_dictionary_without_any_score_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    nothing = {"metric": None, "scored": 0, "undefined": 0, "median": None, "median_lift": None, "tested": 0, "better_than_null": 0}
    report._print_scores({"detection": nothing | {"significant_at": 0.05}})
    assert "0 of 0" in capsys.readouterr().out


def test_a_report_of_rules_says_nothing_of_language_models(capsys: pytest.CaptureFixture[str]) -> None:
    report.print_caveats(
        {"scores": {"detection": {"metric": "balanced_accuracy", "ranking": {"features": 1, "reliability": None, "worst": 0, "worst_found": None}}}}
    )
    assert capsys.readouterr().out == ""
