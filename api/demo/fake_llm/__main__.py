"""`python -m api.demo.fake_llm`: a scripted server as a process; prints its base URL and serves until it is told to stop."""

import argparse
import signal
import threading

from api.demo.fake_llm.endpoint import DEFAULT_MODELS
from api.demo.fake_llm.faults import Faults
from api.demo.fake_llm.orders import judge_of
from api.demo.fake_llm.server import ScriptedServer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--faults", type=float, default=0.0, help="share of requests that something befalls")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each reply")
    parser.add_argument("--judge", default="quoted", help="quoted, yes, no, coin, noisy:0.9,0.1")
    parser.add_argument("--key", default="")
    parser.add_argument("--models", nargs="*", default=list(DEFAULT_MODELS))
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    ended = threading.Event()
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, lambda *_: ended.set())
    reader, faults = judge_of(given.judge, given.seed), Faults.mixed(given.faults)
    with ScriptedServer(reader, faults, given.latency, given.key, tuple(given.models), given.seed, host=given.host, port=given.port) as server:
        print(server.base_url, flush=True)
        ended.wait()


if __name__ == "__main__":
    main()
