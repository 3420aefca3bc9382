"""Which figures notice that half of a label is missing, and which that it is twice too broad; docs/scores.md has the table."""

from benches.truth import sanity


def test_missing_labels_are_noticed_by_all_that_count_hits_and_extra_ones_only_where_the_feature_is_frequent():
    found = {line["figure"]: line for line in sanity.lines(60)}
    for name in (
        "detection: balanced_accuracy",
        "detection: f1",
        "detection: auc",
        "simulation: pearson",
        "simulation: spearman",
        "fuzz: balanced_accuracy",
    ):
        assert found[name]["falls_missing_0.001"] > 0.9
    for name in ("detection: specificity", "detection: precision", "detection: precision_at_rate"):
        assert found[name]["falls_missing_0.1"] == 0
    for name in ("detection: precision_at_rate", "detection: balanced_accuracy", "simulation: pearson"):
        assert found[name]["falls_extra_0.1"] > 0.7
        assert found[name]["falls_extra_0.001"] < 0.1
    # Texts are drawn from the label: a too broad one shows at any rate, and a too narrow one does not show at all.
    for rate in ("0.1", "0.001"):
        assert found["generation: firing"][f"falls_extra_{rate}"] > 0.9
        assert found["generation: firing"][f"falls_missing_{rate}"] == 0
