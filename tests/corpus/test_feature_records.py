"""Activation records of other tools: what becomes evidence, what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from interp.corpus import feature_records
from interp.domain.errors import FileMissingError, InputError
from interp.domain.evidence import ContextKind, Split
from interp.security.allowed_files import Roots, within

SPECIAL = feature_records.SPECIAL


def record(feature: int, word: str, documents: int = 16, layer: int = 2) -> dict[str, Any]:
    """A feature that fires at `word`: in documents of two windows, of which the second is silent."""
    contexts = []
    for number in range(documents):
        tokens = [SPECIAL, f" {number}", " a", " sentence", " about", word, *[" and", " more"] * 20]
        contexts.append([tokens, [1.0 + number / 10 if token in (word, SPECIAL) else 0.0 for token in tokens]])
    component = {"submodule_type": "resid", "layer_idx": layer, "feature_idx": feature, "training_run_name": "10_64", "set_name": "any"}
    return {"component": component, "top_contexts": contexts, "top_logit_diff": [[" x", 0.5]]}


LABELS = [
    {"Component": "resid", "Layer": "2", "Feature": "3", "Name": "resid_2/3", "Annotation": "the word cat", "Notes": "", "Author": "Ada"},
    {"Name": "resid_2/9", "Annotation": "of no context\u001b[31m"},
    {"Component": "embed", "Layer": "", "Feature": "7", "Annotation": "a token"},
    {"Component": "Component", "Layer": "", "Feature": "", "Annotation": "a heading"},
    {"Name": "resid_2/9", "Annotation": "another of the same"},
]


def written(folder: Path, records: list[dict[str, Any]] | None = None, labels: list[dict[str, Any]] | None = None) -> Path:
    records = [record(3, " cat"), record(5, " dog"), record(1, " emu")] if records is None else records
    (folder / "some_contexts.json").write_text(json.dumps({str(number): item for number, item in enumerate(records)}))
    (folder / "annotations.jsonl").write_text("".join(json.dumps(label) + "\n" for label in (LABELS if labels is None else labels)) + "not JSON\n")
    return folder


def read(folder: Path) -> feature_records.FeatureRecords:
    with within(Roots((str(folder.resolve()),))):
        return feature_records.read(folder.resolve())


def test_windows_splits_and_labels(tmp_path: Path) -> None:
    found = read(written(tmp_path))
    embed, resid = found.dictionaries
    assert (resid.hook_point, resid.short_name, resid.n_features) == ("blocks.2.hook_resid_post", "2-resid", 64)
    assert (embed.hook_point, embed.short_name) == ("blocks.0.hook_resid_pre", "embed")
    assert [(label.feature, label.text, label.author) for label in resid.labels] == [(3, "the word cat", "Ada"), (9, "of no context␛[31m", None)]
    assert found.unread == 3, "a heading, a second label, and a line that is no JSON"

    assert [item.feature for item in resid.evidence] == [1, 3, 5, 9]
    cat, labelled_alone = resid.evidence[1], resid.evidence[3]
    fires = cat.contexts.fires()
    text = ["".join(found.vocabulary.texts(row[:length].tolist())) for row, length in zip(cat.contexts.tokens, cat.contexts.lengths, strict=True)]
    assert fires.tolist() == [" cat" in one for one in text], "never at a special token, whatever the record says"
    assert cat.statistics.max_activation == pytest.approx(2.5, rel=1e-3)
    assert (cat.statistics.tokens_seen, cat.statistics.tokens_active, sum(cat.statistics.windows_active)) == (0, 16, 16)
    for split in Split:
        peaks = cat.contexts.of(split, ContextKind.UNIFORM).maxima()
        top = cat.contexts.of(split, ContextKind.TOP).maxima()
        np.testing.assert_array_equal(top, np.sort(peaks)[::-1][:10])
        assert not cat.contexts.of(split, ContextKind.INACTIVE).fires().any()
    documents = {int(document): set(cat.contexts.splits[cat.contexts.documents == document].tolist()) for document in cat.contexts.documents}
    assert len(documents) == 16
    assert all(len(splits) == 1 for splits in documents.values()), "a document is in one split"
    assert not labelled_alone.statistics.is_dead, "nothing is known of its activations"
    assert (len(labelled_alone.contexts), labelled_alone.statistics.state) == (0, "rare")
    assert read(tmp_path).digest == found.digest


def changed(change: Callable[[dict[str, Any]], None]) -> list[dict[str, Any]]:
    item = record(3, " cat")
    change(item)
    return [item]


@pytest.mark.parametrize(
    ("records", "says"),
    [
        (changed(lambda item: item["component"].update(submodule_type="router")), "submodule_type"),
        (changed(lambda item: item["component"].update(feature_idx=-1)), "feature_idx"),
        (changed(lambda item: item["component"].update(training_run_name="a\nb")), "training_run_name"),
        (changed(lambda item: item["top_contexts"][0][1].pop()), "46 tokens and 45 activations"),
        (changed(lambda item: item["top_contexts"][0][1].__setitem__(0, -1.0)), "top_contexts"),
        (changed(lambda item: item["top_contexts"][0][1].__setitem__(0, float("nan"))), "NaN"),
        (changed(lambda item: item["top_contexts"][0][0].__setitem__(0, "x" * 401)), "top_contexts"),
        (changed(lambda item: item.pop("component")), "component"),
        ([["no object"]], "component"),
    ],
)
def test_records_that_do_not_fit_are_refused(records: list[Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        read(written(tmp_path, records))
    assert says in str(refused.value)


def test_a_folder_without_records_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileMissingError, match="no activation records"):
        read(tmp_path)
