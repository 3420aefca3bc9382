"""The training text: the standard library of the running interpreter, cut into train and held-out files."""

import hashlib
import re
import sysconfig
import tokenize
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

HERE = Path(__file__).parent
BOS = "<|bos|>"
SKIPPED_FOLDERS = {"site-packages", "dist-packages", "__pycache__", "idle_test"}
HELD_OUT_SHARE = 0.1
# The pattern by which the subject's tokenizer cuts a text into pieces, as it reads ASCII.
PIECES = re.compile(r" ?[A-Za-z]+|[0-9]{1,3}| ?[^\sA-Za-z0-9]+|[\r\n]+[ \t]*|[ \t]+(?!\S)|\s", re.ASCII)


def stdlib() -> Path:
    return Path(sysconfig.get_paths()["stdlib"])


def is_held_out(relative_path: str) -> bool:
    """The split of a file, by a hash of its path: the same on every machine."""
    digest = hashlib.sha256(f"pystdlib:{relative_path}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < HELD_OUT_SHARE


def files(held_out: bool) -> Iterator[tuple[str, str]]:
    """(relative path, text) of each file of a split, in path order; files that Python itself cannot decode are left out."""
    root = stdlib()
    for path in sorted(root.rglob("*.py")):
        relative = path.relative_to(root).as_posix()
        if SKIPPED_FOLDERS & set(path.relative_to(root).parts) or is_held_out(relative) != held_out:
            continue
        try:
            with tokenize.open(path) as handle:
                text = handle.read()
        except (SyntaxError, UnicodeDecodeError):
            continue
        if text.strip():
            yield relative, text


def token_stream(tokenizer: Tokenizer, held_out: bool) -> np.ndarray:
    """uint16 `[tokens]`: every file of a split, each led by BOS, one after the other."""
    bos = tokenizer.token_to_id(BOS)
    known: dict[str, list[int]] = {}
    return np.concatenate([np.fromiter((bos, *_ids(tokenizer, text, known)), dtype=np.uint16) for _, text in files(held_out)])


def _ids(tokenizer: Tokenizer, text: str, known: dict[str, list[int]]) -> Iterator[int]:
    """The ids of a text. BPE merges within a piece alone, so each distinct piece is encoded once and kept in `known`: a third of the time."""
    # Which other letters and digits a pattern knows is a matter of the Unicode version, and a special token is found before the pieces are cut.
    if not text.isascii() or BOS in text:
        return iter(tokenizer.encode(text, add_special_tokens=False).ids)
    found = PIECES.findall(text)
    new = list(set(found) - known.keys())
    known |= zip(new, (item.ids for item in tokenizer.encode_batch_fast(new, add_special_tokens=False)), strict=True)
    return chain.from_iterable(map(known.__getitem__, found))


def rows(stream: np.ndarray, length: int, offset: int = 0, bos: int = 0) -> np.ndarray:
    """int64 `[rows, length]`: the stream cut into rows of `length - 1` tokens, each led by BOS as rows are at collection."""
    body = length - 1
    usable = stream[offset : offset + (len(stream) - offset) // body * body]
    cut = usable.reshape(-1, body).astype(np.int64)
    return np.concatenate([np.full((len(cut), 1), bos, dtype=np.int64), cut], axis=1)
