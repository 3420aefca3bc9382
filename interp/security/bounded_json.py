"""Reader of untrusted JSON, which checks bytes, values, depth and digits before parsing.

Parsed JSON takes up to a hundred times the bytes of the file (`[[],[],...`), so a bound on the file's size is not enough. Brackets, commas and colons
outside strings are counted first: memory after parsing is at most some hundred bytes for each.
"""

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from interp.domain.errors import FileMissingError, InputError, SubjectError
from interp.security.allowed_files import open_file


@dataclass(frozen=True, slots=True)
class JsonLimits:
    """Limits of a JSON text; `constants` permits NaN and Infinity, which are read as texts."""

    nbytes: int
    values: int
    depth: int = 64
    digits: int = 64
    constants: bool = False
    nul: bool = True


# A model's config.json may list quantised modules and labels; Mamba's has an Infinity.
MODEL_CONFIG = JsonLimits(nbytes=4 << 20, values=200_000, constants=True)
# A dictionary's config is stored in the database, which accepts neither NUL nor NaN.
DICTIONARY_CONFIG = JsonLimits(nbytes=1 << 20, values=20_000, nul=False)
# The largest tokenizers in use (262,144 pieces, 515,000 merges) have 33 MB and 2.2 million values.
TOKENIZER = JsonLimits(nbytes=40 << 20, values=2_500_000)
# The header of a safetensors file, with some 15 values per tensor; and that of a model's weights, of up to 50,000 tensors.
DICTIONARY_HEADER = JsonLimits(nbytes=1 << 20, values=60_000)
MODEL_HEADER = JsonLimits(nbytes=16 << 20, values=1_000_000)
# A line of a corpus, which may have a long text and other data.
LINE = JsonLimits(nbytes=1 << 40, values=2_500_000, depth=500, digits=4300)
SHORT_LINE = 1 << 18

# An unclosed string extends to the end of the text; possessive, so that it never backtracks.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_SURROGATE = re.compile(rb"\\u[dD][89abAB]")
_BLOCK = 1 << 20
# The change of depth per byte outside strings.
_STEPS = np.zeros(256, dtype=np.int8)
_STEPS[[ord("["), ord("{")]] = 1
_STEPS[[ord("]"), ord("}")]] = -1


def read_json(path: Path, error: type[InputError] = SubjectError, limits: JsonLimits = MODEL_CONFIG) -> dict[str, Any]:
    """Read a JSON object; raises FileMissingError, or `error` for invalid JSON and exceeded limits."""
    try:
        with open_file(path) as handle:
            content = parse_json(handle.read(limits.nbytes + 1), limits)
    except FileNotFoundError:
        raise FileMissingError(f"{path} does not exist.", cure="Give the folder that `save_pretrained` wrote.") from None
    except (ValueError, RecursionError, OSError) as cause:
        raise error(f"{path} cannot be read as JSON.", why=str(cause)[:300], cure="Save it again.") from cause
    if not isinstance(content, dict):
        raise error(f"{path} holds no JSON object.", cure="Save it again.")
    return content


def check_line(text: str) -> None:
    """Raise ValueError for a corpus line whose values take much more memory than its text."""
    if len(text) > SHORT_LINE:
        raw = text.encode("utf-8", "surrogatepass")
        check_structure(raw, LINE)


def parse_json(raw: bytes, limits: JsonLimits) -> Any:
    """Parse a JSON text; raises ValueError for invalid JSON and exceeded limits."""
    if len(raw) > limits.nbytes:
        raise ValueError(f"it is larger than {limits.nbytes >> 20} MiB")
    check_structure(raw, limits)
    if not limits.nul and b"\\u0000" in raw:
        raise ValueError("a text in it holds the character NUL")
    halves = _SURROGATE.search(raw) is not None
    text = raw.decode("utf-8")
    del raw
    content = json.loads(text, parse_float=_finite_or_text if limits.constants else _finite, parse_constant=str if limits.constants else _refuse)
    if halves:
        json.dumps(content, ensure_ascii=False).encode("utf-8")
    return content


def check_structure(raw: bytes, limits: JsonLimits) -> None:
    """Raise ValueError, before parsing, for too many or too deep values, or too long numbers."""
    if raw.count(b'"') - raw.count(b'\\"') > 2 * (limits.values + 1):
        raise ValueError(f"it has more than {limits.values} texts")
    bare = _STRING.sub(b"", raw).translate(None, delete=b" \t\r\n")
    values = sum(bare.count(sign) for sign in (b",", b":", b"[", b"{"))
    if values > limits.values:
        raise ValueError(f"it has {values} values, of {limits.values} at most")
    if re.search(rb"[0-9]{%d}" % (limits.digits + 1), bare):
        raise ValueError(f"a number in it has more than {limits.digits} digits")
    depth = 0
    signs = np.frombuffer(bare, dtype=np.uint8)
    for start in range(0, len(signs), _BLOCK):
        depths = depth + np.cumsum(_STEPS[signs[start : start + _BLOCK]], dtype=np.int32)
        if depths.max() > limits.depth:
            raise ValueError(f"it is nested more than {limits.depth} deep")
        depth = int(depths[-1])


def _finite_or_text(text: str) -> float | str:
    value = float(text)
    return value if math.isfinite(value) else text


def _finite(text: str) -> float:
    value = _finite_or_text(text)
    if isinstance(value, str):
        raise ValueError(f"the number {text[:40]} is beyond any float")
    return value


def _refuse(name: str) -> Any:
    raise ValueError(f"it holds {name}, which is no number of JSON")
