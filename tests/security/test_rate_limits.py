"""No key or address takes more than its rate, without Redis too."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import httpx
import pytest
from fastapi.routing import APIRoute

from api.app import ROUTERS, create_app
from api.http.edge import counters
from api.http.edge.counters import MOST_COUNTERS, Counters
from api.http.edge.rate_limits import EXPENSIVE, PROBES, Limit
from api.pages import install as pages
from benches.in_process import InProcess
from interp.config.settings import Settings
from interp.domain.access import Scope
from interp.domain.errors import SettingsInvalidError
from interp.store.access import keys
from interp.store.db.engine import make_engine, transaction
from tests import databases

HERE, THERE = {"X-Forwarded-For": "203.0.113.7"}, {"X-Forwarded-For": "198.51.100.9"}
WRITE, READ, SEARCH = ("POST", "/v1/jobs/none/cancel"), ("GET", "/v1/jobs"), ("GET", "/v1/explanations")
WRONG_KEY = f"gl_{'0' * 8}_{'0' * 64}"
# A port where nothing listens.
NO_REDIS = "redis://127.0.0.1:1/0"


@contextmanager
def serving(home: Path, **values: Any) -> Iterator[httpx.Client]:
    settings = Settings(home=home, trusted_proxies="127.0.0.0/8", **values)
    databases.upgrade(settings.database_url)
    with httpx.Client(transport=InProcess(create_app(settings)), base_url="http://localhost") as client:
        yield client


def statuses(client: httpx.Client, request: tuple[str, str], headers: dict[str, str], times: int) -> list[int]:
    return [client.request(*request, headers=headers).status_code for _ in range(times)]


def new_key(home: Path, name: str = "alice") -> dict[str, str]:
    engine = make_engine(Settings(home=home).database_url)
    with transaction(engine) as session:
        text = keys.create(session, name, [Scope.ADMIN], "test").text
    engine.dispose()
    return {"Authorization": f"Bearer {text}"}


def test_each_kind_of_request_has_a_rate_of_its_own(tmp_path: Path) -> None:
    with serving(tmp_path, rate_reads="3/hour", rate_writes="2/hour", rate_expensive="1/hour") as client:
        assert statuses(client, READ, HERE, 4) == [200, 200, 200, 429]
        assert statuses(client, WRITE, HERE, 3) == [404, 404, 429]
        assert statuses(client, SEARCH, HERE, 2) == [200, 429]
        assert statuses(client, READ, THERE, 1) == [200], "of another address"


def test_a_refusal_says_what_when_and_whom_to_ask(tmp_path: Path) -> None:
    with serving(tmp_path, rate_reads="2/minute;100/day") as client:
        first = client.request(*READ, headers=HERE)
        assert first.headers["ratelimit-policy"] == '"reads-60s";q=2;w=60, "reads-86400s";q=100;w=86400'
        assert first.headers["ratelimit"].startswith('"reads-60s";r=1;t=')
        client.request(*READ, headers=HERE)
        refused = client.request(*READ, headers=HERE)
    assert refused.status_code == 429
    assert refused.headers["content-type"] == "application/problem+json"
    problem = refused.json()
    assert (problem["code"], problem["details"]["limit"]) == ("rate-limited", "reads")
    assert "GLOSSATOR_RATE_READS" in problem["cure"] and "203.0.113.7" in problem["detail"]
    seconds = int(refused.headers["retry-after"])
    assert 1 <= seconds == problem["details"]["seconds"] <= 60
    assert refused.headers["ratelimit"] == f'"reads-60s";r=0;t={seconds}'


def test_one_rate_has_the_name_of_its_kind(tmp_path: Path) -> None:
    with serving(tmp_path, rate_reads="10/minute") as client:
        answer = client.request(*READ, headers=HERE)
    assert answer.headers["ratelimit-policy"] == '"reads";q=10;w=60'
    assert answer.headers["ratelimit"].startswith('"reads";r=9;t=')


def test_probes_and_this_machine_without_keys_have_no_rate(tmp_path: Path) -> None:
    with serving(tmp_path, rate_reads="1/hour") as client:
        assert statuses(client, ("GET", "/healthz"), HERE, 5) == [200] * 5
        assert statuses(client, READ, {}, 5) == [200] * 5
        assert "ratelimit" not in client.request(*READ).headers


def test_a_key_has_its_rate_wherever_it_comes_from(tmp_path: Path) -> None:
    with serving(tmp_path, rate_reads="2/hour") as client:
        alice, bob = new_key(tmp_path), new_key(tmp_path, "bob")
        assert statuses(client, READ, alice | HERE, 1) + statuses(client, READ, alice | THERE, 2) == [200, 200, 429]
        assert statuses(client, READ, bob | HERE, 1) == [200]
        assert statuses(client, READ, bob, 2) == [200, 429], "of this machine, too, once there are keys"


def test_wrong_keys_are_not_looked_up_beyond_their_rate(tmp_path: Path) -> None:
    """A key that was accepted before goes on, beside a neighbour's revoked one."""
    with serving(tmp_path, rate_failed_logins="3/hour") as client:
        good, wrong = new_key(tmp_path), {"x-api-key": WRONG_KEY}
        assert statuses(client, READ, HERE | good, 1) == [200]
        assert statuses(client, READ, HERE | wrong, 4) == [401, 401, 401, 429]
        assert statuses(client, READ, HERE | good, 1) == [200]
        assert statuses(client, READ, HERE | new_key(tmp_path, "late"), 1) == [429], "never seen, and so not looked up"
        assert statuses(client, READ, THERE | wrong, 1) == [401]
        refused = client.request(*READ, headers=HERE | wrong)
        assert refused.json()["details"]["limit"] == "failed_logins"


def test_addresses_of_one_ipv6_network_are_one_client(tmp_path: Path) -> None:
    with serving(tmp_path, rate_reads="2/hour") as client:
        found = [client.request(*READ, headers={"X-Forwarded-For": f"2001:db8:0:1::{number}"}).status_code for number in range(1, 4)]
        assert found == [200, 200, 429]
        assert statuses(client, READ, {"X-Forwarded-For": "2001:db8:0:2::1"}, 1) == [200]


def test_nothing_is_limited_where_the_settings_say_so(tmp_path: Path) -> None:
    with serving(tmp_path, rate_reads="") as client:
        answer = client.request(*READ, headers=HERE)
    assert (answer.status_code, "ratelimit" in answer.headers) == (200, False)


def test_without_redis_each_process_counts_and_says_so_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Mock()
    monkeypatch.setattr(counters, "log", log)
    with serving(tmp_path, rate_reads="2/hour", broker_url=NO_REDIS) as client:
        assert statuses(client, READ, HERE, 3) == [200, 200, 429]
    assert log.warning.call_count == 1


def test_a_redis_that_comes_back_is_used_again(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Mock()
    monkeypatch.setattr(counters, "log", log)
    monkeypatch.setattr(counters, "AWAY_SECONDS", 0.0)

    async def scenario() -> None:
        limit = Limit.of(settings, "reads")
        found = Counters(settings)
        healthy = found._shared
        found._shared = Counters(Settings(broker_url=NO_REDIS))._shared
        assert (await found.hit(limit.rates, "key", "a")).is_allowed
        assert (await found.hit(limit.rates, "key", "a")).is_allowed
        found._shared = healthy
        assert (await found.hit(limit.rates, "key", "a")).remaining == 1, "what was counted elsewhere meanwhile is not in Redis"
        await found.close()

    settings = Settings(broker_url=redis_url, rate_reads="2/hour")
    asyncio.run(scenario())
    assert (log.warning.call_count, log.info.call_count) == (1, 1)


def test_processes_with_one_redis_count_together(redis_url: str) -> None:
    """Of requests at the same moment in two processes, the rate's number passes."""
    settings = Settings(broker_url=redis_url, rate_writes="20/hour")
    rates = Limit.of(settings, "writes").rates

    async def scenario() -> int:
        both = [Counters(settings), Counters(settings)]
        try:
            standings = await asyncio.gather(*(one.hit(rates, "key", "a", "writes") for one in both for _ in range(30)))
        finally:
            for one in both:
                await one.close()
        return sum(standing.is_allowed for standing in standings)

    assert asyncio.run(scenario()) == 20


def test_memory_is_bounded_however_many_addresses_ask() -> None:
    settings = Settings(rate_reads="5/hour")
    rates = Limit.of(settings, "reads").rates

    async def scenario() -> list[bool]:
        found = Counters(settings)
        for number in range(MOST_COUNTERS):
            found._memory.storage[f"filler-{number}"] = 1
            found._memory.expirations[f"filler-{number}"] = float("inf")
        standings = [await found.hit(rates, "address", str(number)) for number in range(8)]
        assert len(found._memory.storage) <= MOST_COUNTERS + 2
        assert (await found.hit(rates, "key", "a")).is_allowed, "keys are few, and keep their own"
        return [standing.is_allowed for standing in standings]

    assert asyncio.run(scenario()) == [True] * 5 + [False] * 3


def test_operations_of_the_tables_exist() -> None:
    names = {route.name for router in (*ROUTERS, *pages.ROUTERS) for route in router.routes if isinstance(route, APIRoute)}
    assert names >= EXPENSIVE | PROBES


@pytest.mark.parametrize("wrong", ["10", "0/minute", "10/fortnight", "10/minute;", ";", "a lot", "10 per minute", "9999999999/day"])
def test_the_settings_take_rates_alone(wrong: str) -> None:
    with pytest.raises(SettingsInvalidError, match="GLOSSATOR_RATE_READS"):
        Settings(rate_reads=wrong)
