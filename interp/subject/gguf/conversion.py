"""Conversion of a GGUF file to a folder in Hugging Face form.

    python -m interp.subject.gguf.conversion MODEL.gguf FOLDER

transformers reads the file, and the quantised numbers become float32: the model that is studied is the quantised one. Settings that GGUF has no
place for are those of the model's class. Run as a program it limits its own memory, by the numbers that the file holds.
"""

import json
import resource
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from interp.domain.errors import FileMissingError, GlossatorError, SubjectError, problem_of
from interp.files.atomic import disk_full
from interp.subject.gguf.header import numbers_in
from interp.subject.shape import ModelShape, check_described

# Bytes for the libraries and the file's header, and per number: as stored in float32, turned, copied into the model, and saved.
BASE_BYTES, NUMBER_BYTES = 4 << 30, 16


def convert(file: Path, folder: Path) -> None:
    """Write config, float32 weights and tokenizer; raises FileMissingError, SubjectError and DiskFullError."""
    if not file.is_file():
        raise FileMissingError(f"{file} is no file.", cure="Check the path.")
    if find_spec("gguf") is None:
        raise SubjectError(f"{file} cannot be read.", why="The package gguf is not installed.", cure="pip install 'glossator[gguf]'")
    try:
        # The libraries also read what lies beside a file: an adapter, say, that names another model.
        with tempfile.TemporaryDirectory() as alone:
            link = Path(alone) / "model.gguf"
            link.symlink_to(file.resolve())
            model, tokenizer = _read(link, numbers_in(link))
    except GlossatorError:
        raise
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
    with disk_full(folder):
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def _read(file: Path, numbers: int) -> tuple[Any, Any]:
    """Return model and tokenizer; raises SubjectError for a header that describes far more numbers."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    place: dict[str, Any] = {"gguf_file": file.name, "trust_remote_code": False}
    config: Any = AutoConfig.from_pretrained(file.parent, **place)
    check_described(ModelShape.from_config(config.to_dict()), numbers)
    _allow(NUMBER_BYTES * numbers)
    tokenizer: Any = AutoTokenizer.from_pretrained(file.parent, **place)
    model: Any = AutoModelForCausalLM.from_pretrained(file.parent, dtype=torch.float32, **place)
    return model, tokenizer


def _allow(nbytes: int) -> None:
    """Raise this process's limit on memory, if it has one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if soft != resource.RLIM_INFINITY:
        most = BASE_BYTES + nbytes
        resource.setrlimit(resource.RLIMIT_DATA, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def main() -> None:
    """Convert the file that the command line names; print an error as a problem document."""
    resource.setrlimit(resource.RLIMIT_DATA, (BASE_BYTES, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    try:
        convert(Path(sys.argv[1]), Path(sys.argv[2]))
    except GlossatorError as error:
        print(json.dumps(problem_of(error)))
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
