"""Run many clients of one job in one process: some listen to its events, some poll it. Print errors and times as JSON."""

import asyncio
import json
import statistics
import sys
import time
from dataclasses import dataclass, field

import aiohttp

# Between a client's polls; they begin spread over as long.
POLL_SECONDS = 5.0
PATIENCE = aiohttp.ClientTimeout(total=None, sock_read=60.0)


@dataclass
class Fared:
    """All clients together."""

    polls: list[float] = field(default_factory=list)
    events: int = 0
    listening: int = 0
    errors: list[str] = field(default_factory=list)


async def listen(session: aiohttp.ClientSession, url: str, fared: Fared, until: float) -> None:
    try:
        async with session.get(f"{url}/events") as response:
            response.raise_for_status()
            fared.listening += 1
            while time.monotonic() < until:
                line = await asyncio.wait_for(response.content.readline(), max(until - time.monotonic(), 0.01))
                if not line:
                    fared.errors.append("a stream ended")
                    return
                fared.events += line.startswith(b"event: progress")
    except TimeoutError:
        return
    except aiohttp.ClientError as error:
        fared.errors.append(repr(error))


async def poll(session: aiohttp.ClientSession, url: str, fared: Fared, until: float, wait: float) -> None:
    await asyncio.sleep(wait)
    while time.monotonic() < until:
        began = time.perf_counter()
        try:
            async with session.get(url) as response:
                response.raise_for_status()
                await response.read()
            fared.polls.append((time.perf_counter() - began) * 1000)
        except (aiohttp.ClientError, TimeoutError) as error:
            fared.errors.append(repr(error))
        await asyncio.sleep(POLL_SECONDS)


async def main(base: str, job_id: str, listeners: int, pollers: int, seconds: float) -> None:
    url, fared, until = f"{base.rstrip('/')}/v1/jobs/{job_id}", Fared(), time.monotonic() + seconds
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=PATIENCE) as session:
        waits = [number * POLL_SECONDS / pollers for number in range(pollers)]
        listening = (listen(session, url, fared, until) for _ in range(listeners))
        await asyncio.gather(*listening, *(poll(session, url, fared, until, wait) for wait in waits))
    found = {"streams": fared.listening, "events": fared.events, "polls": len(fared.polls), "polls_per_s": round(len(fared.polls) / seconds, 1)}
    if len(fared.polls) > 1:
        cuts = statistics.quantiles(fared.polls, n=20)
        found |= {"p50_ms": round(cuts[9], 1), "p95_ms": round(cuts[-1], 1)}
    print(json.dumps(found | {"errors": len(fared.errors), "first_errors": fared.errors[:3]}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5])))
