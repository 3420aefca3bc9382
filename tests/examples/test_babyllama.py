"""The sample of labels shows a reader the strongest and some random test contexts."""

from examples.babyllama.sample import SHOWN, contexts_of


def test_the_strongest_top_contexts_come_first_and_explain_contexts_never():
    kinds = [("top", "test"), ("uniform", "test"), ("top", "explain"), ("inactive", "test")]
    contexts = [{"kind": kind, "split": split, "max_activation": float(rank)} for rank in range(8) for kind, split in kinds]
    shown = contexts_of({"contexts": contexts})
    assert [context["max_activation"] for context in shown[: SHOWN["top"]]] == [7, 6, 5, 4]
    assert [context["kind"] for context in shown] == ["top"] * SHOWN["top"] + ["uniform"] * SHOWN["uniform"]
    assert {context["split"] for context in shown} == {"test"}
