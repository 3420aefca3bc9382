"""Measure live requests on the example, alone and beside a collection: `python -m benches.live`.

Each request has 64 tokens of Python source and asks for the ten strongest of all features. Seconds are a client's, over HTTP, through the embedded
service: insert, claim, forward pass, encoding of all features, reply, labels.
"""

import argparse
import json
import os
import statistics
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from api.server import Service
from glossator import Client
from interp.config.settings import EXAMPLES, Settings
from interp.domain.spec import SubjectSpec
from interp.store import migrate
from interp.subject.base import open_subject

EXAMPLE = EXAMPLES / "pystdlib"
NAME, HOOK_POINT = "pystdlib@1-res", "blocks.1.hook_resid_post"
TOKENS, ROUNDS, REQUESTS = 64, 5, 20
SOURCE = Path(statistics.__file__)


def job(tokens: int, **changes: Any) -> dict[str, Any]:
    """A job on the example, without language models."""
    corpus = {"path": sysconfig.get_paths()["stdlib"], "include": ["*.py"], "undecodable": "skip", "max_tokens": tokens}
    dictionary = {"source": str(EXAMPLE / "dictionary"), "name": NAME}
    return {"subject": {"model": str(EXAMPLE / "subject")}, "dictionary": dictionary, "corpus": corpus, "scorers": []} | changes


def texts_of(number: int) -> list[str]:
    """Different texts of 64 tokens each."""
    subject = open_subject(SubjectSpec(model=str(EXAMPLE / "subject")), HOOK_POINT)
    (ids,) = subject.encode_texts([SOURCE.read_text(encoding="utf-8")])
    starts = [(TOKENS * place) % (len(ids) - TOKENS) for place in range(number)]
    return ["".join(subject.vocabulary.texts(ids[start : start + TOKENS].tolist())) for start in starts]


@contextmanager
def collecting(client: Client) -> Iterator[None]:
    """A collection that runs as long as the block."""
    found = client.submit_job(job(2_000_000, seed=time.time_ns() % 2**31))
    until(lambda: tokens_done(client, found["id"]) > 0)
    yield
    assert client.get_job(found["id"])["status"] == "running", "the collection ended before the measurement did"
    client.cancel_job(found["id"])
    until(lambda: client.get_job(found["id"])["status"] == "cancelled")


def tokens_done(client: Client, job_id: str) -> int:
    return next((one["done"] for one in client.get_job(job_id)["stages"] if one["stage"] == "collect"), 0)


def until(condition: Any) -> None:
    while not condition():
        time.sleep(0.2)


def rounds(client: Client, texts: list[str]) -> dict[str, Any]:
    """Medians over the rounds of each round's p50 and p95, with the least and largest."""
    found: list[tuple[float, float]] = []
    inside: list[float] = []
    for number in range(ROUNDS):
        seconds = []
        for text in texts[number * REQUESTS : (number + 1) * REQUESTS]:
            began = time.perf_counter()
            answer = client.compute_activations(NAME, [text], top_k=10)
            seconds.append(time.perf_counter() - began)
            inside.append(answer["seconds"])
        seconds.sort()
        found.append((seconds[len(seconds) // 2], seconds[int(0.95 * len(seconds))]))
    named = {name: [round(1000 * one[place], 1) for one in found] for place, name in enumerate(("p50", "p95"))}
    spread = {f"{name}_ms": statistics.median(values) for name, values in named.items()}
    spread |= {f"{name}_least_and_largest_ms": [min(values), max(values)] for name, values in named.items()}
    return spread | {"at_worker_p50_ms": round(1000 * statistics.median(inside), 1), "requests": ROUNDS * REQUESTS}


def resident(name: str) -> int:
    """MB of this machine's processes with this in their command (Linux)."""
    found = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words, status = (process / "cmdline").read_bytes().decode().split("\0"), (process / "status").read_text()
        except OSError:
            continue
        if name in words and "--supervised" in words and f"PPid:\t{os.getpid()}\n" in status:
            found += int(status.split("VmRSS:")[1].split()[0])
    return found >> 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()

    def show(beside: str, figures: dict[str, Any]) -> None:
        line = {"beside": beside, **figures, "cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1)}
        sys.stdout.write(json.dumps(line) + "\n" if arguments.json else f"{line}\n")
        sys.stdout.flush()

    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(home=Path(folder), llm_workers=1, roots=(EXAMPLES, Path(sysconfig.get_paths()["stdlib"])))
        migrate.upgrade(settings.database_url)
        texts = texts_of(ROUNDS * REQUESTS)
        with Service(settings, "127.0.0.1", 0, workers=True) as service, Client(service.url) as client:
            client.wait(client.submit_job(job(50_000, features="0-199"))["id"], show=False)
            before = resident("gpu")
            began = time.perf_counter()
            first = client.compute_activations(NAME, [texts[0]], top_k=10)
            show("nothing, first", {"ms": round(1000 * (time.perf_counter() - began)), "opening_ms": round(1000 * first["opening_seconds"])})
            show("nothing", rounds(client, texts))
            show("memory of the gpu worker", {"mb_before": before, "mb_after": resident("gpu")})
            with collecting(client):
                show("a collection", rounds(client, texts))


if __name__ == "__main__":
    main()
