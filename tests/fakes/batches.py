"""Serve files and batches as the OpenAI API: JSONL in, polling, JSONL out."""

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web

from api.demo.fake_llm.replies import OpenAIError, json_response

if TYPE_CHECKING:
    from tests.fakes.full_server import FullServer

MOST_LINES, MOST_BYTES = 50_000, 200 * 2**20
WINDOW_SECONDS = 24 * 3600
LINES_AT_ONCE = 50
PAGE = 20
# A line has no connection, so these are the only transport faults of lines; faults of replies in words apply, too.
LINE_ERRORS = {"server_error": 500, "rate_limited": 429, "rate_limited_silently": 429}


@dataclass(slots=True)
class File:
    id: str
    name: str
    purpose: str
    content: bytes
    created: int

    def as_json(self) -> dict[str, Any]:
        body = {"id": self.id, "object": "file", "bytes": len(self.content), "created_at": self.created, "filename": self.name}
        return body | {"purpose": self.purpose, "status": "processed"}


@dataclass(slots=True)
class ScriptedBatch:
    """A batch; `moments` has the times of its states by status."""

    id: str
    path: str
    input_file: str
    window: str
    metadata: dict[str, str] | None
    status: str = "validating"
    moments: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=lambda: {"total": 0, "completed": 0, "failed": 0})
    errors: list[dict[str, Any]] = field(default_factory=list)
    output_file: str | None = None
    error_file: str | None = None

    def enter(self, status: str) -> None:
        self.status = status
        self.moments[status] = int(time.time())

    def as_json(self) -> dict[str, Any]:
        created = self.moments["validating"]
        ends = {"completed_at": "completed", "failed_at": "failed", "expired_at": "expired", "cancelled_at": "cancelled"}
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": self.path,
            "errors": {"object": "list", "data": self.errors} if self.errors else None,
            "input_file_id": self.input_file,
            "completion_window": self.window,
            "status": self.status,
            "output_file_id": self.output_file,
            "error_file_id": self.error_file,
            "created_at": created,
            "in_progress_at": self.moments.get("in_progress"),
            "expires_at": created + WINDOW_SECONDS,
            "finalizing_at": self.moments.get("finalizing"),
            **{name: self.moments.get(status) for name, status in ends.items()},
            "cancelling_at": None,
            "request_counts": self.counts,
            "metadata": self.metadata,
        }


class Batches:
    """Files and batches of an endpoint, which draws a line's fault and bills its reply."""

    def __init__(self, endpoint: "FullServer") -> None:
        self.endpoint = endpoint
        self.files: dict[str, File] = {}
        self.made: dict[str, ScriptedBatch] = {}
        self.tasks: set[asyncio.Task[None]] = set()

    async def routed(self, request: web.Request) -> web.Response:
        kind, _, rest = request.path.removeprefix("/v1/").partition("/")
        name, _, action = rest.partition("/")
        if kind == "files":
            return await self._files(request, name, action)
        if not name:
            return json_response(200, await self._make(request) if request.method == "POST" else self._listed())
        batch = self.made.get(name)
        if batch is None:
            raise OpenAIError(404, f"No batch found with id '{name}'.", "invalid_request_error")
        if action == "cancel" and batch.status in ("validating", "in_progress"):
            batch.enter("cancelled")
        return json_response(200, batch.as_json())

    async def _files(self, request: web.Request, name: str, action: str) -> web.Response:
        if request.method == "POST":
            return json_response(200, await self._upload(request))
        file = self.files.get(name)
        if file is None or action != "content":
            raise OpenAIError(404, f"No such File object: {name}", "invalid_request_error", None, "id")
        return web.Response(body=file.content, content_type="application/octet-stream")

    def _listed(self) -> dict[str, Any]:
        """Return a page of batches, newest first."""
        data = [batch.as_json() for batch in reversed(self.made.values())]
        return {"object": "list", "data": data[:PAGE], "has_more": len(data) > PAGE}

    async def _upload(self, request: web.Request) -> dict[str, Any]:
        parts = await request.post()
        file = parts.get("file")
        if not isinstance(file, web.FileField) or "purpose" not in parts:
            raise OpenAIError(400, "Missing required parameter: 'file' or 'purpose'.", "invalid_request_error", "missing_required_parameter", "file")
        return self._keep(file.filename, file.file.read(), str(parts["purpose"])).as_json()

    def _keep(self, name: str, content: bytes, purpose: str) -> File:
        file = File(f"file-{len(self.files) + 1}", name, purpose, content, int(time.time()))
        self.files[file.id] = file
        return file

    async def _make(self, request: web.Request) -> dict[str, Any]:
        body = json.loads(await request.read())
        source = self.files.get(str(body.get("input_file_id")))
        if source is None:
            raise OpenAIError(400, f"No such File object: {body.get('input_file_id')}", "invalid_request_error", None, "input_file_id")
        if body.get("completion_window") != "24h":
            raise OpenAIError(400, "The completion window is 24h.", "invalid_request_error", None, "completion_window")
        batch = ScriptedBatch(f"batch_{len(self.made) + 1}", str(body.get("endpoint")), source.id, "24h", body.get("metadata"))
        batch.enter("validating")
        self.made[batch.id] = batch
        self._start(batch, source)
        return batch.as_json()

    async def resume(self, _: web.Application) -> None:
        """Restart batches interrupted by a stop; their lines are answered and billed again."""
        for batch in self.made.values():
            if batch.status in ("validating", "in_progress"):
                self._start(batch, self.files[batch.input_file])

    async def interrupt(self, _: web.Application) -> None:
        """Stop working on batches."""
        for task in list(self.tasks):
            task.cancel()

    def _start(self, batch: ScriptedBatch, source: File) -> None:
        task = asyncio.get_running_loop().create_task(self._work(batch, source))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _work(self, batch: ScriptedBatch, source: File) -> None:
        pause = self.endpoint.batch_seconds
        fault = self.endpoint.lasting.of_batch(self.endpoint.seed, len(self.made))
        if fault:
            self.endpoint.totals.by_fault[fault] += 1
        await asyncio.sleep(pause)
        lines, batch.errors = validated(source.content, batch.path)
        if fault == "batch_failed" and not batch.errors:
            batch.errors = [{"code": "server_error", "message": "The batch could not be validated.", "param": None, "line": None}]
        if batch.errors:
            batch.enter("failed")
            return
        batch.counts["total"] = len(lines)
        batch.enter("in_progress")
        await asyncio.sleep(pause)
        await self._run(batch, lines, len(lines) // 2 if fault == "batch_expired" else len(lines))
        if batch.status == "in_progress":
            batch.enter("finalizing")
            batch.enter("expired" if fault == "batch_expired" else "completed")

    async def _run(self, batch: ScriptedBatch, lines: list[dict[str, Any]], until: int) -> None:
        """Answer lines up to `until`; the rest expire."""
        done, failed = list[str](), list[str]()
        for number, line in enumerate(lines):
            if batch.status != "in_progress":
                return
            if number >= until:
                failed.append(
                    self._line(
                        number,
                        line,
                        None,
                        {"code": "batch_expired", "message": "This request could not be executed in time."},
                    )
                )
                continue
            status, body = self._answered(batch, line)
            (done if status == 200 else failed).append(
                self._line(number, line, {"status_code": status, "request_id": f"req_{number}", "body": body}, None)
            )
            if number % LINES_AT_ONCE == 0:
                await asyncio.sleep(0)
        batch.counts |= {"completed": len(done), "failed": len(failed)}
        if done:
            batch.output_file = self._keep(f"{batch.id}_output.jsonl", "".join(done).encode("utf-8", "surrogatepass"), "batch_output").id
        if failed:
            batch.error_file = self._keep(f"{batch.id}_error.jsonl", "".join(failed).encode("utf-8", "surrogatepass"), "batch_output").id

    def _answered(self, batch: ScriptedBatch, line: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        fault = self.endpoint.drawn(batch.path)
        if fault in LINE_ERRORS:
            return LINE_ERRORS[fault], OpenAIError(LINE_ERRORS[fault], "The server had an error.", "server_error").body
        try:
            return 200, self.endpoint.generated(batch.path, line["body"], self.endpoint.admitted, fault)
        except OpenAIError as error:
            return error.status, error.body

    def _line(self, number: int, line: dict[str, Any], response: dict[str, Any] | None, error: dict[str, Any] | None) -> str:
        found = {"id": f"batch_req_{number}", "custom_id": line["custom_id"], "response": response, "error": error}
        return json.dumps(found, ensure_ascii=False) + "\n"


def validated(content: bytes, path: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the lines of an input file, and its errors."""
    lines, errors, seen = list[dict[str, Any]](), list[dict[str, Any]](), set[str]()
    if len(content) > MOST_BYTES:
        return [], [_wrong("file_too_large", "The file is larger than 200 MB.", None)]
    for number, text in enumerate(filter(None, content.split(b"\n")), start=1):
        try:
            line = json.loads(text)
            wanted = isinstance(line["custom_id"], str) and line["method"] == "POST" and isinstance(line["body"], dict)
        except (ValueError, TypeError, KeyError):
            errors.append(_wrong("invalid_json_line", "This line is no JSON object with custom_id, method, url and body.", number))
            continue
        if not wanted or line.get("url") != path:
            errors.append(_wrong("mismatched_endpoint", f"This line is no POST to {path}.", number))
        elif line["custom_id"] in seen:
            errors.append(_wrong("duplicate_custom_id", f"The custom_id {line['custom_id']} occurs twice.", number))
        else:
            seen.add(line["custom_id"])
            lines.append(line)
    if len(lines) > MOST_LINES:
        errors.append(_wrong("too_many_tasks", "The file has more than 50,000 lines.", None))
    if not lines and not errors:
        errors.append(_wrong("empty_file", "The file has no line.", None))
    return lines, errors


def _wrong(code: str, message: str, line: int | None) -> dict[str, Any]:
    return {"code": code, "message": message, "param": None, "line": line}
