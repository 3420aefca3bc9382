"""A runner of batch files without a server, as `vllm run-batch -i FILE -o FILE --model NAME`, whose answers are scripted.

Its lines have the form of vLLM's (vllm/entrypoints/openai/run_batch.py, `BatchRequestOutput`).
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from api.demo.fake_llm.endpoint import ScriptedEndpoint
from api.demo.fake_llm.replies import OpenAIError


def run_batch(requests: bytes, endpoint: ScriptedEndpoint | None = None) -> list[dict[str, Any]]:
    """Returns a result for each request line, in order."""
    asked = ScriptedEndpoint(models=()) if endpoint is None else endpoint
    return [_result(number, json.loads(line), asked) for number, line in enumerate(requests.splitlines()) if line.strip()]


def _result(number: int, line: dict[str, Any], endpoint: ScriptedEndpoint) -> dict[str, Any]:
    assert (line["method"], line["url"]) == ("POST", "/v1/chat/completions")
    response: dict[str, Any] = {"status_code": 200, "request_id": f"vllm-batch-{number}", "body": None}
    error = None
    try:
        response["body"] = endpoint.generated(line["url"], line["body"], number, None)
    except OpenAIError as fault:
        response["status_code"], error = fault.status, fault.body
    return {"id": f"vllm-{number}", "custom_id": line["custom_id"], "response": response, "error": error}


def lines_of(results: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(result).encode() + b"\n" for result in results)


def failed(result: dict[str, Any], status: int, error: object) -> dict[str, Any]:
    """The same line as vLLM writes it of a request that failed."""
    return result | {"response": {"status_code": status, "request_id": "vllm-batch-x", "body": None}, "error": error}


Change = Callable[[list[dict[str, Any]]], list[dict[str, Any]]]

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("-i", "--input-file", type=Path, required=True)
    parser.add_argument("-o", "--output-file", type=Path, required=True)
    parser.add_argument("--model", required=True)
    given = parser.parse_args()
    given.output_file.write_bytes(lines_of(run_batch(given.input_file.read_bytes())))
