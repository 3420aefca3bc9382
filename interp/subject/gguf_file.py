"""Conversion of a GGUF file to a folder in Hugging Face form.

    python -m interp.subject.gguf_file MODEL.gguf FOLDER

transformers reads the file, and the quantised numbers become float32: the model that is studied is the quantised one. Settings that GGUF has no
place for are those of the model's class.
"""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from interp.domain.errors import FileMissingError, SubjectError


def convert(file: Path, folder: Path) -> None:
    """Write config, float32 weights and tokenizer; raises FileMissingError and SubjectError."""
    if not file.is_file():
        raise FileMissingError(f"{file} is no file.", cure="Check the path.")
    if find_spec("gguf") is None:
        raise SubjectError(f"{file} cannot be read.", why="The package gguf is not installed.", cure="pip install 'glossator[gguf]'")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place = {"gguf_file": file.name, "trust_remote_code": False}
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(file.parent, dtype=torch.float32, **place)
        tokenizer: Any = AutoTokenizer.from_pretrained(file.parent, **place)
    except Exception as cause:  # the parsers of a foreign file raise whatever their arithmetic raises
        raise SubjectError(
            f"transformers cannot read {file}.",
            why=str(cause).splitlines()[0][:300] if str(cause) else type(cause).__name__,
            cure="Use a GGUF file of an architecture that transformers knows, or the model's own Hugging Face folder.",
        ) from cause
    # The weights are plain numbers now: nothing is quantised any more.
    for owner, name in ((model, "hf_quantizer"), (model.config, "quantization_config")):
        if hasattr(owner, name):
            delattr(owner, name)
    model.config.glossator_name = file.stem
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
