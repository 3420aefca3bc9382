"""Real text in many documents: the standard library's own source, function by function."""

import json
import re
import sysconfig
from pathlib import Path

from interp.domain.spec import CorpusSpec

# Where a document begins; its least and most characters.
DEFINITION = re.compile(r"^(?=(?:async )?(?:def|class) )", re.MULTILINE)
SHORTEST, LONGEST = 300, 1200


def definitions(folder: Path, max_tokens: int) -> CorpusSpec:
    """One document a top-level function or class, its first 1,200 characters, written under the folder.

    Whole files would be some tens of documents, and intervals, which are by document, wide.
    """
    path = folder / "corpus.jsonl"
    if not path.exists():
        _write(path)
    return CorpusSpec(path=str(path), max_tokens=max_tokens)


def _write(path: Path) -> None:
    root = Path(sysconfig.get_paths()["stdlib"])
    with path.open("w") as lines:
        for file in sorted(root.rglob("*.py")):
            if {"site-packages", "dist-packages", "__pycache__", "lib2to3"} & set(file.relative_to(root).parts):
                continue
            try:
                text = file.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue
            for piece in DEFINITION.split(text)[1:]:
                if len(piece) >= SHORTEST:
                    lines.write(json.dumps({"text": piece[:LONGEST]}) + "\n")
