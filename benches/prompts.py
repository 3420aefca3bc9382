"""Count the tokens of the parts of a detection prompt: `python -m benches.prompts`.

Windows are of the standard library, cut as in the example's corpus. Tokens are those of `api.demo.fake_llm.texts`: words, signs and digits, close
to the tokens of an English tokenizer.
"""

import argparse
import ast
import json
from pathlib import Path

from tokenizers import Tokenizer

from api.demo.fake_llm.texts import split
from interp.judge.prompts import explanation_part, template
from interp.judge.yes_no import prompt_of
from interp.llm.prompt_text import FENCE_RULE, nonce_of

TOKENIZER = Path(__file__).parent.parent / "examples" / "pystdlib" / "subject" / "tokenizer.json"
LABEL = "`.` or `._` right after `self`"
WINDOW, WINDOWS = 32, 10


def windows_of(text: str) -> list[str]:
    """The text's first windows of 32 of the example's tokens."""
    tokenizer = Tokenizer.from_file(str(TOKENIZER))
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    return [tokenizer.decode(ids[start : start + WINDOW]) for start in range(0, WINDOW * WINDOWS, WINDOW)]


def apart(texts: list[str]) -> str:
    """The windows as prompts showed them before: a pair of tags for each."""
    nonce = nonce_of([*texts, LABEL])
    return "\n".join(f"<context-{nonce} {number}>\n{text}\n</context-{nonce} {number}>" for number, text in enumerate(texts, start=1))


def shares(whole: str, texts: list[str]) -> dict[str, int]:
    """Tokens of a prompt: all, those of the windows, those of what stands around each window, the rest."""
    windows = sum(len(split(text)) for text in texts)
    wording = template("detect")
    empty = wording.messages(fence_rule=FENCE_RULE, explanation=explanation_part(LABEL, "0" * 8), contexts="")
    around = len(split("".join(message.content for message in empty)))
    total = len(split(whole))
    return {"tokens": total, "windows": windows, "tags": total - windows - around, "wording": around}


def measured() -> list[dict[str, str | int]]:
    """A line for each form."""
    texts = windows_of(Path(ast.__file__).read_text())
    now = "".join(message.content for message in prompt_of("detect", LABEL, texts).messages)
    wording = template("detect")
    nonce = nonce_of([*texts, LABEL])
    filled = wording.messages(fence_rule=FENCE_RULE, explanation=explanation_part(LABEL, nonce), contexts=apart(texts))
    before = "".join(message.content for message in filled)
    return [{"form": "a pair of tags for each window", **shares(before, texts)}, {"form": "one pair of tags", **shares(now, texts)}]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    arguments = parser.parse_args()
    for line in measured():
        if arguments.json:
            print(json.dumps(line))
        else:
            total = int(line["tokens"])
            parts = ", ".join(f"{name} {int(line[name]) / total:.0%}" for name in ("windows", "tags", "wording"))
            print(f"{line['form']}: {total} tokens; {parts}")


if __name__ == "__main__":
    main()
