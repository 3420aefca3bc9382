"""The scripts of the English example, without its model: the text that they write, and a dictionary that opens as it was trained."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from examples.smollm2 import prepare, train
from interp.dictionary.module import open_dictionary
from interp.domain.spec import DictionarySpec

WIDTH, FEATURES, K = 16, 32, 3


def test_the_text_is_prose_by_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prose = "The quick brown fox jumps over the lazy dog. " * 6
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "left_out.py").write_text(f'"""{prose}"""')
    (tmp_path / "broken.py").write_text("def (")
    (tmp_path / "one.py").write_text(f'"""{prose}\n>>> fox()\n... again\n"""\ndef f():\n    """short"""\ndef g():\n    """G. {prose}"""\n')
    monkeypatch.setattr(prepare, "roots", lambda: [tmp_path])
    assert prepare.write_text(tmp_path / "text.jsonl") == 1
    [line] = (tmp_path / "text.jsonl").read_text().splitlines()
    text = json.loads(line)["text"]
    assert text.count("quick") == 12
    assert ">>>" not in text
    assert "short" not in text


def test_a_dictionary_opens_as_it_was_trained(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    directions = random.normal(size=(24, WIDTH))
    codes = random.exponential(size=(4096, 24)) * (random.random((4096, 24)) < 0.1)
    x = torch.from_numpy(5.0 + codes @ directions).bfloat16()
    recipe = train.Recipe(layer=3, features=FEATURES, k=K, tokens=len(x), steps=150, batch=512, rate=1e-2, seed=0)
    autoencoder, scale = train.train(recipe, x)
    train.save(autoencoder, scale, recipe, "toy", tmp_path)
    opened = open_dictionary(DictionarySpec(source=str(tmp_path)))
    assert (opened.hook_point, opened.n_features, opened.k) == ("blocks.3.hook_resid_post", FEATURES, K)
    sample = x[:256].float()
    with torch.no_grad():
        values, indices = autoencoder.pre_activations(sample * scale).topk(K, dim=1)
        ours = (autoencoder.decode(values, indices) + autoencoder.b_dec) / scale
    theirs = opened.decode(opened.encode(sample))
    torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-4)
    unexplained = float((sample - theirs).pow(2).sum() / (sample - sample.mean(0)).pow(2).sum())
    assert unexplained < 0.3
    metadata = json.loads((tmp_path / "cfg.json").read_text())["metadata"]
    assert (metadata["prepend_bos"], metadata["context_size"], metadata["training"]["k"]) == (True, train.CONTEXT, K)
