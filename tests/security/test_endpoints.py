"""Endpoints that are not on the list are never asked, and hostile ones get neither prompts elsewhere, nor memory, nor time, nor a terminal."""

import asyncio
import gzip
import json
import socket
import time
import tracemalloc
import zlib
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from typing import Any

import httpx
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from api.app import create_app
from benches.in_process import InProcess
from benches.memory_call_store import MemoryCallStore
from interp.config.outgoing import Reach
from interp.config.settings import Settings
from interp.domain.errors import (
    AbilityMissingError,
    CallFailedError,
    EndpointRefusedError,
    EndpointUnreachableError,
    JobPausedError,
    ReplyTooLargeError,
    SettingsInvalidError,
    WebhookRefusedError,
)
from interp.domain.spec import ModelSpec
from interp.llm.client import LlmClient
from interp.llm.probe import models_now, probe
from interp.llm.transports.base import TransportError
from interp.llm.transports.endpoint import Endpoint
from interp.planning import model_requirements
from interp.security.addresses import find
from interp.store.queue.webhooks import Delivery
from tests import databases
from tests.llm.conftest import KEY, TAG, question
from tests.security.hostile import Answer, Hostile, hostile, says, streams
from workers.maintenance.webhooks import _send

SECRET = "the firing token is a password"
MIB = 2**20


def reply(content: str = '{"1": "yes"}', choices: int = 1, **more: Any) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    return json.dumps({"choices": [choice] * choices, "usage": {"prompt_tokens": 10, "completion_tokens": 5}} | more).encode()


async def asked(at: Hostile, patience: float = 0.2, **spec: Any) -> Any:
    """What one question comes to: a reply, or the error."""
    client = _client(at.base_url, llm_max_outage_seconds=patience)
    call_store = MemoryCallStore()
    try:
        model = client.model(ModelSpec(model="m", timeout_seconds=spec.pop("seconds", 20.0), **spec), call_store, TAG)
        return await model.ask(question(SECRET))
    except (CallFailedError, JobPausedError) as error:
        return error
    finally:
        await client.close()


def attacked(answer: Answer, **spec: Any) -> tuple[Any, Hostile]:
    async def work() -> tuple[Any, Hostile]:
        async with hostile(answer) as at:
            return await asked(at, **spec), at

    return asyncio.run(work())


def _client(base_url: str, **settings: Any) -> LlmClient:
    return LlmClient(Settings(llm_base_url=base_url, llm_api_key=KEY, **settings))


# Which URLs.


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/v1",
        "https://api.openai.com.evil.example/v1",
        "https://api.openai.com@evil.example/v1",
        "https://evil.example/https://api.openai.com/v1",
        "http://api.openai.com/v1",
        "https://api.openai.com:8443/v1",
        "https://api.openai.com/v2",
        "https://api.openai.com/v1beta",
        "https://api.openai.com/v1/../admin",
        "https://api.openai.com/v1/%2e%2e/admin",
        "https://api.openai.com\\@evil.example/v1",
        "https://api.openai.com\u2100evil.example/v1",
        "http://169.254.169.254/latest/meta-data",
        "http://127.0.0.1:6379",
        "http://2130706433/v1",
        "http://0x7f000001/v1",
        "http://127.1/v1",
        "http://[::1]/v1",
        "http://[::ffff:7f00:1]/v1",
        "http://[::1/v1",
        "http://localhost:99999/v1",
        "http:///v1",
    ],
)
def test_a_job_whose_model_is_on_no_list_is_refused_with_the_setting_that_opens_it(http: httpx.Client, body: dict[str, Any], url: str) -> None:
    for role in model_requirements.ROLES:
        for dry in (False, True):
            models = {"explainer": {"model": "m"}, role: {"model": "m", "base_url": url}}
            response = http.post("/v1/jobs/estimate" if dry else "/v1/jobs", json=body | {"models": models})
            problem = response.json()
            assert (response.status_code, problem["code"] in ("endpoint-refused", "endpoint-unreachable")) == (
                422,
                True,
            ) or "may hold a key" in problem["detail"], problem
            assert f"models.{role}.base_url" in problem["detail"]
            if problem["code"] == "endpoint-refused":
                assert "GLOSSATOR_LLM_ENDPOINTS" in problem["cure"]


def test_what_is_configured_may_be_asked_and_what_lies_beneath_it() -> None:
    settings = Settings(
        llm_base_url="https://API.OpenAI.com:443/v1/",
        llm_keys={"https://openrouter.ai/api/v1": "k"},
        llm_endpoints=("http://127.0.0.1:11434", "http://[::1]:8000/v1"),
    )
    guard = settings.llm_guard()
    for url in ("https://api.openai.com/v1", "https://openrouter.ai/api/v1/", "http://127.0.0.1:11434/v1", "http://[0:0::1]:8000/v1"):
        assert guard.reach(url) is not None, url
    for url in ("https://openrouter.ai/api", "http://127.0.0.1:11435/v1", "http://[::1]:8000/v2", "http://localhost:11434/v1"):
        assert guard.reach(url) is None, url


def test_settings_that_cannot_be_read_are_named() -> None:
    for values, says_what in (
        ({"llm_endpoints": ("ftp://x",)}, "GLOSSATOR_LLM_ENDPOINTS"),
        ({"webhook_endpoints": ("http://[::1/",)}, "GLOSSATOR_WEBHOOK_ENDPOINTS"),
        ({"allowed_private_networks": ("10.0.0.1/8",)}, "GLOSSATOR_ALLOWED_PRIVATE_NETWORKS"),
    ):
        with pytest.raises(SettingsInvalidError, match=says_what):
            Settings(**values)


@pytest.mark.parametrize(
    "url", ["https://me:hunter2@models.example/v1", "https://models.example/v1?key=hunter2", "https://models.example/v1#hunter2"]
)
@pytest.mark.parametrize("name", ["llm_base_url", "llm_keys", "llm_endpoints"])
def test_a_base_url_with_a_secret_is_refused_and_not_shown(name: str, url: str) -> None:
    values: dict[str, Any] = {"llm_base_url": url, "llm_keys": {url: "k"}, "llm_endpoints": (url,)}
    with pytest.raises(SettingsInvalidError) as refused:
        Settings(**{name: values[name]})
    assert f"GLOSSATOR_{name.upper()}" in str(refused.value) and "hunter2" not in str(refused.value)


def test_children_are_given_the_same_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    given = Settings(llm_endpoints=("http://127.0.0.1:1/v1",), webhook_endpoints=("https://a.example/",), allowed_private_networks=("10.0.0.0/8",))
    for name, value in given.environment().items():
        monkeypatch.setenv(name, value)
    assert Settings() == given


def test_a_stored_job_pauses_where_its_endpoint_is_on_the_list_no_more() -> None:
    client = _client("https://api.openai.com/v1")
    with pytest.raises(EndpointRefusedError, match="GLOSSATOR_LLM_ENDPOINTS"):
        client.model(ModelSpec(model="m", base_url="http://127.0.0.1:9/v1"), MemoryCallStore(), TAG)


# At which addresses.


@pytest.mark.parametrize(
    ("host", "address", "is_allowed"),
    [
        ("models.example.com", "93.184.215.14", True),
        ("models.example.com", "127.0.0.1", False),
        ("models.example.com", "10.0.0.8", False),
        ("models.example.com", "169.254.169.254", False),
        ("models.example.com", "::ffff:10.0.0.8", False),
        ("models.example.com", "64:ff9b::7f00:1", False),
        ("models.example.com", "100.64.0.1", False),
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("169.254.1.1", "169.254.1.1", True),
        ("localhost", "::1", True),
        ("localhost", "10.0.0.8", False),
        ("vllm", "10.0.0.8", True),
        ("vllm.models.svc.cluster.local", "10.96.0.8", True),
        ("vllm", "169.254.169.254", False),
        ("vllm", "fd00:ec2::254", False),
        ("vllm", "0.0.0.0", False),
    ],
)
def test_private_addresses_are_reached_only_where_they_are_named(host: str, address: str, is_allowed: bool) -> None:
    assert Reach(host, is_named=True).allows(ip_address(address)) is is_allowed
    assert Reach(host, is_named=False).allows(ip_address(address)) is (address == "93.184.215.14")
    if address == "10.0.0.8":
        assert Reach(host, is_named=True, networks=(ip_network("10.0.0.0/8"),)).allows(ip_address(address))


class Turning(AbstractResolver):
    """A name whose address changes between two look-ups."""

    def __init__(self, *answers: str) -> None:
        self.answers, self.asked = list(answers), 0

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        address = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        return [ResolveResult(hostname=host, host=address, port=port, family=socket.AF_INET, proto=0, flags=socket.AI_NUMERICHOST)]

    async def close(self) -> None:
        """Nothing is open."""


def test_a_name_that_turns_to_this_machine_is_not_asked_there() -> None:
    async def work() -> None:
        async with hostile(says(reply())) as at:
            endpoint = Endpoint(f"http://models.example.com:{at.port}/v1", KEY, resolver=Turning("127.0.0.1"))
            with pytest.raises(TransportError) as fault:
                await endpoint.post("/chat/completions", SECRET.encode(), 5.0)
            assert (fault.value.kind, fault.value.reached, fault.value.may_have_cost) == ("forbidden", False, False)
            with pytest.raises(TransportError, match="may not be asked"):
                await endpoint.models(5.0)
            assert at.heads == []
            await endpoint.close()

    asyncio.run(work())


def test_the_address_that_was_looked_at_is_the_one_that_is_asked() -> None:
    """A local name whose second answer is the metadata service of a cloud: the connection goes where the first one led, and calls look nothing up."""

    async def work() -> None:
        async with hostile(says(reply(), connection="keep-alive")) as at:
            turning = Turning("127.0.0.1", "169.254.169.254")
            endpoint = Endpoint(f"http://vllm:{at.port}/v1", KEY, resolver=turning)
            sent = await endpoint.post("/chat/completions", b"{}", 5.0)
            assert sent.body == reply() and len(at.heads) == 1 and turning.asked == 1
            assert f"host: vllm:{at.port}" in at.heads[0].lower()
            await endpoint.close()

    asyncio.run(work())


def test_an_endpoint_at_a_forbidden_address_refuses_the_job_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("interp.llm.transports.http.aiohttp.ThreadedResolver", lambda: Turning("10.1.2.3"))
    settings = Settings(llm_base_url="http://models.example.com/v1", llm_max_outage_seconds=1.0)
    client = LlmClient(settings)

    async def work() -> None:
        with pytest.raises(EndpointRefusedError, match="GLOSSATOR_ALLOWED_PRIVATE_NETWORKS"):
            await probe(client, ModelSpec(model="m"), frozenset(), 5.0)
        await client.close()

    asyncio.run(work())
    with pytest.raises(EndpointRefusedError):
        models_now(settings, settings.llm_base_url, 3.0)


# Where prompts and keys go.


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect"])
def test_a_redirect_carries_neither_prompt_nor_key_elsewhere(status: str) -> None:
    async def work() -> None:
        async with hostile(says(reply())) as other, hostile(says(b"", status, location=f"{other.base_url}/chat/completions?secret=1")) as at:
            error = await asked(at)
            assert isinstance(error, EndpointUnreachableError) and "redirect" in str(error) and other.base_url in str(error)
            assert "secret=1" not in str(error)
            client = _client(at.base_url)
            with pytest.raises((EndpointUnreachableError, AbilityMissingError)):
                await probe(client, ModelSpec(model="m"), frozenset(), 5.0)
            await client.close()
            endpoint = Endpoint(at.base_url, KEY)
            for step in (
                endpoint.models(5.0),
                endpoint.upload_batch_file(SECRET.encode()),
                endpoint.create_batch("f", "/v1/chat/completions"),
                endpoint.batch("b"),
                endpoint.batch_of_file("f"),
                endpoint.read_lines("f", MIB, MIB, lambda _: None),
            ):
                with pytest.raises(TransportError):
                    await step
            await endpoint.close()
            assert len(at.heads) > 6 and other.heads == [] and other.bodies == []

    asyncio.run(work())


def test_what_the_sdk_reads_from_the_environment_is_sent_to_no_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_WEBHOOK_SECRET"):
        monkeypatch.setenv(name, "of-the-operator")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Gateway: of-the-operator")

    async def run() -> list[str]:
        async with hostile(says(b'{"data": []}')) as at:
            for key in ("", "sk-mine"):
                endpoint = Endpoint(at.base_url, key)
                await endpoint.post("/chat/completions", b"{}", 5.0)
                await endpoint.models(5.0)
                await endpoint.close()
            return at.heads

    heads = asyncio.run(run())
    assert len(heads) == 4
    assert not [head for head in heads if "of-the-operator" in head]
    assert ["authorization: bearer sk-mine" in head.lower() for head in heads] == [False, False, True, True]


def test_cookies_of_an_endpoint_are_not_sent_back() -> None:
    async def work() -> None:
        async with hostile(says(reply(), set_cookie="who=me; Path=/")) as at:
            endpoint = Endpoint(at.base_url, KEY)
            for _ in range(2):
                await endpoint.post("/chat/completions", b"{}", 5.0)
            with pytest.raises(TransportError):
                await endpoint.batch("b")
            await endpoint.close()
            assert len(at.heads) == 3 and not any("cookie" in head.lower() for head in at.heads)

    asyncio.run(work())


# What a reply may hold.


def bomb(size: int) -> bytes:
    """Blanks in gzip coding: a thousandth of what they are, and a reply around them."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    parts = [packer.compress(b'{"choices": [], "padding": "')]
    parts += [packer.compress(bytes(MIB)) for _ in range(size // MIB)]
    return b"".join([*parts, packer.compress(b'"}'), packer.flush()])


@pytest.fixture
def peak() -> Iterator[list[int]]:
    """Python's own memory at its highest while the test ran, and at its end."""
    tracemalloc.start()
    found: list[int] = []
    yield found
    tracemalloc.stop()


def test_a_gzip_bomb_is_not_unpacked_and_memory_comes_back(peak: list[int]) -> None:
    body = bomb(200 * MIB)
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    error, at = attacked(says(body, content_encoding="gzip"))
    now, highest = tracemalloc.get_traced_memory()
    assert isinstance(error, ReplyTooLargeError) and "GLOSSATOR_LLM_MAX_REPLY_BYTES" in str(error)
    assert len(at.heads) == 1, "the same question would get the same reply"
    assert highest - before < 8 * MIB and now - before < MIB, (highest - before, now - before)


@pytest.mark.parametrize("coding", ["gzip, gzip", "br", "zstd", "deflate", "compress", "x" * 500])
def test_a_coding_that_was_not_asked_for_is_not_decoded(coding: str) -> None:
    error, at = attacked(says(gzip.compress(gzip.compress(reply())), content_encoding=coding))
    assert isinstance(error, EndpointUnreachableError) and "was not asked for" in str(error) and len(str(error)) < 1000
    assert "accept-encoding: gzip\r\n" in at.heads[0].lower()


def test_a_body_that_is_gzip_is_read() -> None:
    answered, _ = attacked(says(gzip.compress(reply()), content_encoding="gzip"))
    assert answered.text == '{"1": "yes"}'


@pytest.mark.parametrize("headers", [{}, {"content_length": str(2**40)}], ids=["without an end", "a terabyte announced"])
def test_a_body_without_end_is_not_read_to_it(peak: list[int], headers: dict[str, str]) -> None:
    tracemalloc.reset_peak()
    error, _ = attacked(streams(b" " * 65536, **headers))
    assert isinstance(error, ReplyTooLargeError)
    assert tracemalloc.get_traced_memory()[1] < 8 * MIB


def test_lists_files_and_states_of_batches_have_caps_too(peak: list[int]) -> None:
    async def work() -> None:
        async with hostile(says(bomb(50 * MIB), content_encoding="gzip")) as at:
            endpoint = Endpoint(at.base_url, KEY)
            taken: list[bytes] = []
            tracemalloc.reset_peak()
            steps = [endpoint.models(20.0), endpoint.batch("b"), endpoint.batch_of_file("f"), endpoint.upload_batch_file(b"{}")]
            for step in [*steps, endpoint.create_batch("f", "/v1/x"), endpoint.read_lines("f", 50 * MIB, MIB, taken.append)]:
                with pytest.raises(TransportError) as fault:
                    await step
                assert fault.value.kind == "oversized", fault.value
            await endpoint.close()
            assert taken == [] and tracemalloc.get_traced_memory()[1] < 64 * MIB

    asyncio.run(work())


def test_lines_of_a_file_that_nobody_asked_for_are_not_kept(peak: list[int]) -> None:
    """60 MB of lines, one at a time."""
    line = json.dumps({"custom_id": "x" * 1000, "response": {}}).encode() + b"\n"

    async def work() -> int:
        packer = zlib.compressobj(1, zlib.DEFLATED, 31)
        body = b"".join([packer.compress(line * 1000) for _ in range(60)] + [packer.flush()])
        async with hostile(says(body, content_encoding="gzip")) as at:
            endpoint, lengths = Endpoint(at.base_url, KEY), [0]

            def take(text: bytes) -> None:
                lengths[0] += len(text)

            tracemalloc.reset_peak()
            await endpoint.read_lines("f", 400 * MIB, MIB, take)
            await endpoint.close()
            return lengths[0]

    assert asyncio.run(work()) == 60_000 * (len(line) - 1)
    assert tracemalloc.get_traced_memory()[1] < 4 * MIB


def test_ten_thousand_choices_are_no_answer_and_are_not_kept() -> None:
    async def work() -> None:
        async with hostile(says(json.dumps({"choices": [{"message": {"content": "y"}}] * 10_000}).encode())) as at:
            client, call_store = _client(at.base_url), MemoryCallStore()
            found = await client.model(ModelSpec(model="m"), call_store, TAG).ask(question())
            await client.close()
            assert found.finish == "invalid" and "10,000 choices" in found.reason
            assert len(call_store.calls[0].raw or "") < 1000

    asyncio.run(work())


def test_a_job_cannot_raise_the_cap_by_its_own_settings() -> None:
    error, _ = attacked(streams(b" " * MIB), max_tokens=1_000_000)
    assert isinstance(error, ReplyTooLargeError) and f"{65 * MIB:,}" in str(error)


def test_ids_and_counts_of_batches_are_held_to_their_types() -> None:
    batch = {"id": "b", "object": "batch", "endpoint": "/", "input_file_id": "f", "completion_window": "24h", "created_at": 1, "status": "completed"}

    async def work() -> None:
        for body in (batch | {"id": "x" * MIB}, batch | {"id": 3}, batch | {"output_file_id": "../\x1b[2J"}, batch | {"id": ""}):
            async with hostile(says(json.dumps(body).encode(), content_type="application/json")) as at:
                endpoint = Endpoint(at.base_url, KEY)
                with pytest.raises(TransportError) as fault:
                    await endpoint.batch("b")
                assert fault.value.kind == "garbage" and len(str(fault.value)) < 1001 and str(fault.value).isprintable()
                await endpoint.close()
        async with hostile(says(json.dumps(batch | {"request_counts": {"completed": "many"}}).encode(), content_type="application/json")) as at:
            endpoint = Endpoint(at.base_url, KEY)
            assert (await endpoint.batch("b")).completed == 0
            await endpoint.close()

    asyncio.run(work())


# How long it may take.


@pytest.mark.parametrize("answer", ["drips", "is silent", "never ends its head"])
def test_a_slow_endpoint_gets_the_time_of_one_attempt_and_no_more(answer: str) -> None:
    async def silent(writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async def heads(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" if answer == "continue" else b"x-more: 1\r\n")
            await writer.drain()
            await asyncio.sleep(0.01)

    began = time.monotonic()
    error, _ = attacked({"drips": streams(b" ", 0.01), "is silent": silent, "never ends its head": heads}[answer], seconds=0.3)
    assert isinstance(error, EndpointUnreachableError)
    assert time.monotonic() - began < 15.0


def test_lists_files_and_states_of_batches_have_a_time_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("interp.llm.transports.endpoint.FILE_SECONDS", 0.3)
    monkeypatch.setattr("interp.llm.transports.endpoint.PAGE_SECONDS", 0.3)

    async def work() -> None:
        async with hostile(streams(b" ", 0.01)) as at:
            endpoint = Endpoint(at.base_url, KEY)
            steps = [endpoint.models(0.3), endpoint.batch("b"), endpoint.batch_of_file("f"), endpoint.upload_batch_file(b"{}")]
            for step in [*steps, endpoint.create_batch("f", "/v1/x"), endpoint.read_lines("f", MIB, MIB, lambda _: None)]:
                with pytest.raises(TransportError) as fault:
                    await asyncio.wait_for(step, 10.0)
                assert fault.value.kind == "timeout", fault.value
            await endpoint.close()

    asyncio.run(work())


# What it says of itself.

LOUD = "\x1b[2J\x1b]0;owned\x07\x1b]8;;http://evil.example\x1b\\ \u202e\u2066 \x00\x9b31m \r\n" + f"key {KEY} " + "A" * MIB


@pytest.mark.parametrize("status", ["400 Bad Request", "401 Unauthorized", "402 Pay", "403 No", "404 No", "413 Large", "418 Tea", "200 OK"])
@pytest.mark.parametrize("shape", ["text", "json", "code"])
def test_an_error_is_one_short_clean_line(status: str, shape: str) -> None:
    said = {
        "text": LOUD,
        "json": json.dumps({"error": {"message": LOUD}}),
        "code": json.dumps({"error": {"message": "no", "code": LOUD, "param": LOUD}}),
    }
    error, _ = attacked(says(said[shape].encode("utf-8", "replace"), status))
    whole = " ".join([str(error), json.dumps(error.details)]) if isinstance(error, Exception) else error.reason
    assert isinstance(error, CallFailedError | JobPausedError) or error.finish == "invalid"
    assert whole.isprintable() and len(whole) < 3000 and KEY not in whole and "owned" not in whole, whole[:300]


def test_bytes_that_are_no_http_are_told_cleanly() -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x1b[2J\x1b]0;owned\x07" + b"A" * 5000 + b"\r\n\r\n")
        await writer.drain()

    error, _ = attacked(answer)
    assert isinstance(error, EndpointUnreachableError) and str(error).isprintable() and len(str(error)) < 2000


def test_names_of_models_are_shown_cut_and_clean() -> None:
    listed = [{"id": "ok", "object": "model"}, {"id": "\x1b[2Jm", "object": "model"}, {"id": "m" * MIB, "object": "model"}, {"id": 3}]

    async def work() -> None:
        async with hostile(says(json.dumps({"object": "list", "data": listed}).encode(), content_type="application/json")) as at:
            endpoint = Endpoint(at.base_url, KEY)
            assert [model["id"] for model in await endpoint.models(5.0)] == ["ok"]
            await endpoint.close()

    asyncio.run(work())


# Webhooks.


@pytest.mark.parametrize(
    ("url", "settings", "is_taken"),
    [
        ("http://127.0.0.1:1/", {}, False),
        ("http://127.0.0.1:1/", {"allowed_private_networks": ("127.0.0.0/8",)}, True),
        ("http://127.0.0.1:1/hook/7?token=x", {"webhook_endpoints": ("http://127.0.0.1:1/hook",)}, True),
        ("http://127.0.0.1:2/hook", {"webhook_endpoints": ("http://127.0.0.1:1/hook",)}, False),
        ("http://127.0.0.1:1/hooks", {"webhook_endpoints": ("http://127.0.0.1:1/hook",)}, False),
        ("http://93.184.215.14/", {}, True),
        ("http://93.184.215.14/", {"webhook_endpoints": ("https://a.example/",)}, False),
        ("http://127.0.0.1:1/hook/../admin", {"webhook_endpoints": ("http://127.0.0.1:1/hook",)}, False),
        ("http://[::1", {}, False),
    ],
)
def test_webhooks_go_where_the_settings_let_them(url: str, settings: dict[str, Any], is_taken: bool) -> None:
    guard = Settings(**settings).webhook_guard()
    if is_taken:
        assert find(url, guard).addresses
    else:
        with pytest.raises(WebhookRefusedError):
            find(url, guard)


def test_a_receiver_whose_name_turns_to_this_machine_is_asked_at_its_first_address(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["93.184.215.14", "127.0.0.1"])

    def turning(host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

    monkeypatch.setattr(socket, "getaddrinfo", turning)
    guard = Settings().webhook_guard()
    assert [str(address) for address in find("http://hooks.example.com/", guard).addresses] == ["93.184.215.14"]
    with pytest.raises(WebhookRefusedError, match="private network"):
        find("http://hooks.example.com/", guard)


def test_what_a_receiver_says_is_kept_as_a_short_clean_line() -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x1b[2J\x1b]0;owned\x07" + b"A" * 5000 + b"\r\n\r\n")
        await writer.drain()

    async def work() -> str | None:
        async with hostile(answer) as at:
            settings = Settings(webhook_allow_private_networks=True, webhook_timeout_seconds=5.0)
            async with httpx.AsyncClient(trust_env=False) as client:
                return (await _send(client, Delivery("id", at.base_url, {}, 1), settings)).reason

    reason = asyncio.run(work())
    assert reason is not None and reason.isprintable() and len(reason) <= 300, reason


# Submission.


@pytest.fixture(scope="module")
def body() -> dict[str, Any]:
    """A job whose files need not be there: endpoints are looked at first."""
    return {"subject": {"model": "m"}, "dictionary": {"source": "d"}, "corpus": {"path": "c"}, "features": "0", "explainers": ["contexts"]}


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    settings = Settings(home=tmp_path_factory.mktemp("home"))
    databases.upgrade(settings.database_url)
    with httpx.Client(transport=InProcess(create_app(settings)), base_url="http://test") as client:
        yield client
