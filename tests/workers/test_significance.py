"""What all scores together say: by the bit what the definition says; pooled p values are as often small as they should be, shrinkage draws the
uncertain in, controls add up."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from interp.analysis import significance as summary
from interp.analysis.score_table import Floats, is_within
from interp.analysis.updates import candidates, changed, in_order
from interp.domain.spec import ScorerSpec
from interp.score.best import BestSoFar, unscored
from interp.stats import pooled
from interp.store.llm.call_stats import UsageLine
from interp.store.results import dictionary_scores
from interp.store.results.dictionary_scores import AdjustedScore
from tests.workers import plain_figures as plain
from tests.workers.plain_figures import Figure, in_columns
from workers.tasks.summarise import named, over_random, usage_of

FEATURES = 120


def figure(feature: int, value: float | None = 0.7, half: float = 0.1, family: str = "a", **more: Any) -> Figure:
    ends = {} if value is None else {"low": value - half, "high": value + half}
    return Figure(feature + 1, feature, feature + 1, (family, "digest"), value=value, lift=0.1, **(ends | more))


def control(name: str, value: float | None, lift: float | None = None, **details: int) -> dict[str, Any]:
    return {"name": name, "value": value, "lift": lift, "details": details}


def rates(densities: Mapping[int, float]) -> Floats:
    """By feature; 0 where there is none."""
    found = np.zeros(max(densities, default=0) + FEATURES)
    found[list(densities)] = list(densities.values())
    return found


def concluded(figures: Sequence[Figure], densities: Mapping[int, float] | None) -> list[Figure]:
    """The figures with what a summary concludes, all of it taken from what it would write."""
    were = in_columns(figures)
    found = summary.adjusted(were, None if densities is None else rates(densities))
    new = {row.id: row for row in in_order([changed(were, found)])}
    return [adjusted(item, new[item.id]) if item.id in new else item for item in figures]


def adjusted(item: Figure, new: AdjustedScore) -> Figure:
    written = {name: getattr(new, name) for name in ("p_value", "p_method", "q_value", "shrunken_value", "null_reason")}
    assert replace(item, **written) != item
    return replace(item, **written)


def figures_of(figures: Sequence[Figure]) -> dict[str, Any]:
    found = in_columns(figures)
    return summary.summary_of(found, np.ones(len(found), np.bool_))


def ranking(figures: Sequence[Figure]) -> dict[str, Any]:
    found: dict[str, Any] = figures_of(figures)["ranking"]
    return found


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("judge", ["executable", "language model"])
def test_a_summary_says_to_the_bit_what_its_definition_says(seed: int, judge: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks are small and as large as they are in earnest: nothing hangs on them."""
    if seed % 2:
        monkeypatch.setattr(pooled, "BLOCK", 7)
    figures = plain.random_figures(seed, FEATURES if seed % 5 else seed % 4)
    asked = [(0, FEATURES)] if seed % 3 == 0 else [(3, 4), (10, 60), (70, 71), (90, FEATURES)]
    densities = None if judge == "executable" else plain.random_densities(seed, FEATURES)
    expected = plain.concluded(figures, densities)
    assert repr(concluded(figures, densities)) == repr(expected)
    were = in_columns(figures, asked, portion=1 + seed)
    found = summary.adjusted(were, None if densities is None else rates(densities))
    ours = [item for item in expected if plain.is_within(item.feature, asked)]
    assert json.dumps(summary.summary_of(found, is_within(found.features, asked))) == json.dumps(plain.figures_of(ours))
    random = np.random.default_rng(seed)
    labels = [(feature, 1_000 + feature, f"label {1_000 + feature}") for feature in range(FEATURES) if random.random() < 0.7]
    labels += [(item.feature, item.explanation_id, str(item.label)) for item in expected]
    known = {made: label for _, made, label in labels}
    running = BestSoFar()
    running.add(unscored([feature for feature, _, _ in labels], [made for _, made, _ in labels]))
    running.add(candidates("detection", found))
    shown = list(dictionary_scores.shown(running.best(), lambda ids: {number: known[number] for number in ids}))
    assert repr(shown) == repr(plain.best_of({"detection": expected}, labels))


def test_what_is_concluded_already_is_not_written_again() -> None:
    figures = plain.random_figures(0, FEATURES)
    densities = plain.random_densities(0, FEATURES)
    were = in_columns(concluded(figures, densities))
    assert list(in_order([changed(were, summary.adjusted(were, rates(densities)))])) == []


def test_scorers_are_written_together_by_id_each_with_its_own_reasons() -> None:
    parts = []
    for ids, reason in (((7, 3), "one"), ((5, 1), "two"), ((), "none")):
        rows = [replace(figure(place), id=row, null_reason=reason) for place, row in enumerate(ids)]
        were = in_columns(rows)
        parts.append(changed(were, summary.adjusted(were, None)))
    found = [(row.id, row.null_reason) for row in in_order(parts)]
    assert found == [(1, "two"), (3, "one"), (5, "two"), (7, "one")]
    assert list(in_order([])) == []


def test_swapped_explanations_get_small_pooled_p_values_no_more_often_than_named() -> None:
    random = np.random.default_rng(0)
    swapped = [
        figure(feature, float(own), null_values=tuple(map(float, nulls)))
        for feature, (own, *nulls) in enumerate(random.normal(0.5, 0.1, (4000, 3)) + random.normal(0, 0.1, (4000, 1)))
    ]
    densities = {feature: float(feature % 97) for feature in range(4000)}
    p_values = np.array([row.p_value for row in concluded(swapped, densities)], dtype=np.float64)
    assert 0.03 < (p_values <= 0.05).mean() < 0.06
    assert sum((row.q_value or 1) <= 0.05 for row in concluded(swapped, densities)) == 0


def test_a_real_effect_is_found_with_two_nulls_a_feature() -> None:
    random = np.random.default_rng(1)
    real = [figure(feature, 0.9, null_values=tuple(map(float, random.normal(0.5, 0.05, 2)))) for feature in range(200)]
    found = concluded(real, dict.fromkeys(range(200), 0.1))
    assert all(row.q_value is not None and row.q_value <= 0.05 for row in found)
    assert all(row.null_reason is None for row in found)


def test_p_values_by_rank_stay_whoever_judges() -> None:
    own = figure(0, null_values=(0.5,) * 20, p_value=0.01, p_method="rank")
    assert concluded([own], None)[0].p_value == 0.01
    many = concluded([own, figure(1, null_values=(0.5, 0.4))], {0: 0.1, 1: 0.1})
    assert (many[0].p_value, many[0].p_method) == (0.01, "rank")
    assert many[1].p_value is not None
    assert many[1].p_method == "pooled"


def test_a_job_of_few_features_is_significant_by_p_values_of_their_own() -> None:
    """Three features with two nulls each: from six null figures no p is below 1/7, however good the labels are."""
    few = [figure(feature, 0.9, null_values=(0.5, 0.5), p_paired=0.001, null_reason="few") for feature in range(3)]
    found = concluded(few, dict.fromkeys(range(3), 0.1))
    assert [(row.p_value, row.p_method, row.null_reason) for row in found] == [(0.001, "paired", None)] * 3
    assert all(row.q_value is not None and row.q_value <= 0.05 for row in found)
    without = concluded([replace(row, p_paired=None) for row in few], dict.fromkeys(range(3), 0.1))
    assert all(row.p_method == "pooled" and row.q_value is not None and row.q_value > 0.05 for row in without)


def test_nulls_of_earlier_jobs_join_the_pool() -> None:
    """What is concluded is concluded from all scores of the run that share scorer and explainer, whatever job made them."""
    earlier = [figure(feature, 0.9, null_values=(0.5, 0.55), p_paired=0.04) for feature in range(99)]
    later = [figure(feature, 0.9, null_values=(0.5, 0.55), p_paired=0.04) for feature in range(99, 102)]
    alone, together = concluded(later, {}), concluded([*earlier, *later], {})
    assert {row.p_method for row in alone} == {"paired"}
    assert {row.p_method for row in together} == {"pooled"}
    assert together[-1].p_value is not None
    assert together[-1].p_value <= 1 / 200


def test_what_is_undefined_stays_so_with_its_reason() -> None:
    rows = [figure(0, None, null_reason="why"), figure(1, null_values=(0.5, None)), figure(2, null_values=())]
    found = concluded(rows, {2: 0.1})
    assert (found[0].p_value, found[0].shrunken_value, found[0].null_reason) == (None, None, "why")
    assert figures_of(found)["undefined"] == 1


def test_with_one_null_a_feature_an_undefined_null_leaves_p_undefined_with_its_reason() -> None:
    why = "0 of 1 borrowed explanations have a defined figure on these items; 2 are needed."
    undefined = replace(figure(0, 0.99, null_values=(None,), null_reason=why), lift=None)
    rows = [undefined, *(figure(feature, 0.9, null_values=(0.5,)) for feature in range(1, 300))]
    found = concluded(rows, dict.fromkeys(range(300), 0.1))
    assert (found[0].p_value, found[0].p_method, found[0].q_value, found[0].null_reason) == (None, None, None, why)
    assert all(row.p_method == "pooled" for row in found[1:])


def test_scores_of_too_few_windows_have_no_p_and_no_q_value() -> None:
    why = "20 firing and 1 silent windows were answered; a lift needs 5 of each."
    rows = [figure(0, 0.99, null_reason=why), *(figure(feature, 0.9, null_values=(0.5,)) for feature in range(1, 300))]
    first, second, *_ = concluded(rows, {299: 0.1})
    assert (first.p_value, first.q_value, first.p_method, first.null_reason) == (None, None, None, why)
    assert second.q_value is not None
    told_of = figures_of(concluded(rows, {299: 0.1}))
    few = told_of["too_few"]
    assert (told_of["tested"], told_of["scored"], few["silent"], few["fits"]) == (299, 300, 1, "simulation")


def test_shrinkage_moves_the_uncertain_more_and_keeps_families_apart() -> None:
    wide = [figure(0, 0.4, half=0.3), figure(1, 0.4, half=0.05), *(figure(feature, 0.7 + 0.02 * (feature % 5), half=0.1) for feature in range(2, 40))]
    found = concluded(wide, None)
    assert found[0].shrunken_value is not None
    assert found[1].shrunken_value is not None
    assert found[0].shrunken_value > found[1].shrunken_value > 0.4
    apart = concluded([*wide, *(figure(100 + feature, 0.1, family="b") for feature in range(10))], None)
    assert apart[0].shrunken_value == found[0].shrunken_value


def test_ranking_says_how_much_is_noise() -> None:
    random = np.random.default_rng(2)
    noise = ranking([figure(feature, float(random.normal(0.7, 0.05)), half=0.098) for feature in range(300)])
    signal = ranking([figure(feature, float(random.normal(0.7, 0.2)), half=0.02) for feature in range(300)])
    assert noise["reliability"] < 0.2 < 0.95 < signal["reliability"]
    assert noise["worst"] == signal["worst"] == 100
    assert noise["worst_found"] < signal["worst_found"]
    assert ranking([])["reliability"] is None


def test_controls_of_many_features_add_up() -> None:
    agreeing = control("repeat", None, yes_yes=3, no_no=3, yes_no=1, no_yes=1)
    gold = control("gold", 0.9, tp=9, fn=1, tn=8, fp=2)
    rows = [figure(feature, 0.7, controls=(agreeing, gold, control("baseline", 0.6, 0.1), control("empty", 0.5, -0.1))) for feature in range(20)]
    found = figures_of(rows)
    assert (found["repeat"]["kappa"], found["repeat"]["compared"], found["repeat"]["agreement"]) == (0.5, 160, 0.75)
    assert (found["baseline"]["median_lift"], found["baseline"]["better"], found["empty"]["better"]) == (0.1, 20, 0)
    assert (found["gold"]["sensitivity"]["value"], found["gold"]["specificity"]["value"]) == (0.9, 0.8)
    # (1 + (2 * 0.7 - 1) / (0.9 + 0.8 - 1)) / 2
    assert np.isclose(found["gold"]["corrected_median"], (1 + 0.4 / 0.7) / 2)
    low, high = found["gold"]["corrected_interval"]
    assert low < found["gold"]["corrected_median"] < high
    assert "judge_swap" not in found


def test_a_judge_that_says_yes_to_everything_cannot_be_corrected_and_shows_no_agreement() -> None:
    yes = (control("gold", 0.5, tp=5, fp=5), control("repeat", None, yes_yes=9), control("judge_swap", None))
    found = figures_of([figure(feature, 0.5, controls=yes) for feature in range(5)])
    assert found["gold"]["corrected_median"] is None
    assert "no better than chance" in found["gold"]["corrected_reason"]
    assert found["repeat"]["kappa"] is None
    assert found["judge_swap"] == {"kappa": None, "median": None, "compared": 0}


def test_two_scorers_of_one_name_keep_their_figures_apart() -> None:
    specs = [ScorerSpec(name="detection"), ScorerSpec(name="fuzz"), ScorerSpec(name="detection", nulls=3)]
    assert list(named(specs)) == ["detection", "fuzz", "detection#2"]


def test_a_price_that_is_unknown_in_part_is_unknown_in_all() -> None:
    lines = [UsageLine("explain", "contexts", "m", "u", "live", 2, 1, 3, 10, 5, 0, True, 0.5, 0.5, 1.0)]
    assert usage_of(lines)["cost_usd"] == 0.5
    lines.append(UsageLine("score", "fuzz", "m", "u", "live", 1, 1, 1, 10, 5, 0, False, None, 0.0, 1.0))
    found = usage_of(lines)
    assert (found["cost_usd"], found["questions"], found["attempts"], found["tokens_known"]) == (None, 3, 4, False)


def test_lift_over_random_weights_is_that_of_the_medians() -> None:
    own = {"scores": {"detection": {"median": 0.8}, "fuzz": {"median": None}}}
    found = over_random(own, {"scores": {"detection": {"median": 0.5}}}, "other")
    assert found["job"] == "other"
    assert np.isclose(found["scores"]["detection"]["lift"], 0.3)
    assert found["scores"]["fuzz"] == {"median": None, "lift": None}
