"""Read the results that a runner wrote of a batch: line by line, bounded, typed.

A line is that of OpenAI's output and error files, and of `vllm run-batch` (vllm/entrypoints/openai/run_batch.py, `BatchRequestOutput`):
`{"id", "custom_id", "response": {"status_code", "request_id", "body"}, "error"}`. Where a request failed, vLLM leaves `body` out and
says why in `error`.
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from interp.domain.errors import UploadTooLargeError
from interp.llm.transports import payloads
from interp.llm.transports.base import TransportError

MAX_LINE_BYTES = 16 << 20  # a reply of 2,500 tokens with 20 alternatives each
MAX_RESULT_BYTES = 1 << 30


@dataclass
class ResultCounts:
    """Lines of results by what became of them.

    `answered` and `failed` count questions. `missing` have neither, and are asked again. `unknown` lines name no question of the batch, `unreadable`
    ones are no result line or too long; both are dropped.
    """

    questions: int
    lines: int = 0
    answered: int = 0
    failed: int = 0
    duplicated: int = 0
    unknown: int = 0
    unreadable: int = 0

    @property
    def missing(self) -> int:
        return self.questions - self.answered - self.failed


@dataclass
class ResultFilter:
    """A filter that writes a batch's own result lines in one form.

    Of each question it keeps the first answer, and the first error before that.
    """

    keys: Collection[str]
    write: Callable[[bytes], object]
    counts: ResultCounts = field(init=False)
    _answered: set[str] = field(default_factory=set)
    _failed: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.counts = ResultCounts(len(self.keys))

    def read(self, blocks: Iterable[bytes]) -> ResultCounts:
        """Filter all lines; raises UploadTooLargeError past MAX_RESULT_BYTES."""
        for line in _lines(blocks):
            self.counts.lines += 1
            if line is None or not self._take(line):
                self.counts.unreadable += 1
        self.counts.answered, self.counts.failed = len(self._answered), len(self._failed - self._answered)
        return self.counts

    def _take(self, text: bytes) -> bool:
        """Write a line that is wanted; return whether it was readable."""
        parsed = payloads.parse_batch_line(text)
        if parsed is None:
            return False
        key, line = parsed
        if key not in self.keys:
            self.counts.unknown += 1
            return True
        found = _answer(key, line)
        if found is None:
            return False
        written, is_answer = found
        if key in self._answered or (key in self._failed and not is_answer):
            self.counts.duplicated += 1
            return True
        (self._answered if is_answer else self._failed).add(key)
        # Of two lines with one key the reader takes the last: an answer after its question's error.
        self.write(written + b"\n")
        return True


def _answer(key: str, line: dict[str, Any]) -> tuple[bytes, bool] | None:
    """Return a line in our form and whether it is an answer, or None."""
    response, error = line.get("response"), line.get("error")
    try:
        if isinstance(response, dict) and response.get("status_code") == 200 and isinstance(response.get("body"), dict):
            return _written(key, 200, response["body"]), True
        if not isinstance(response, dict) and error is None:
            return None
        if payloads.batch_reply(line) is not None:
            return None
    except TransportError as fault:
        said = {"message": fault.message, "code": fault.code, "param": fault.param}
        return _written(key, fault.status or 500, {"error": said}), False
    except (ValueError, RecursionError):  # NaN, infinity, JSON too deep
        return None
    return json.dumps({"custom_id": key, "response": None, "error": {"code": payloads.EXPIRED}}).encode(), False


def _written(key: str, status: int, body: dict[str, Any]) -> bytes:
    """Return a line of ASCII characters; raises ValueError for numbers that are not finite."""
    return json.dumps({"custom_id": key, "response": {"status_code": status, "body": body}, "error": None}, allow_nan=False).encode()


def _lines(blocks: Iterable[bytes]) -> Iterator[bytes | None]:
    """Yield lines that are not blank, None for one that is too long; raises UploadTooLargeError."""
    size, rest, is_skipping = 0, b"", False
    for block in blocks:
        size += len(block)
        if size > MAX_RESULT_BYTES:
            raise UploadTooLargeError(
                f"The results have more than {MAX_RESULT_BYTES:,} bytes.", cure="Import the results of each batch by themselves."
            )
        first, *others = block.split(b"\n")
        rest += b"" if is_skipping else first
        if len(rest) > MAX_LINE_BYTES:
            rest, is_skipping = b"", True
        for other in others:
            if is_skipping:
                yield None
            elif rest.strip():
                yield rest
            rest, is_skipping = other, len(other) > MAX_LINE_BYTES
    if is_skipping:
        yield None
    elif rest.strip():
        yield rest
