"""Helpers work while a chunk waits for a model, no more of them than asked for, and no longer."""

import threading
import time
from collections.abc import Callable

from workers.worker import HelperThreads


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end, "the condition did not come true"
        time.sleep(0.01)


def test_helpers_take_what_is_ready_only_while_somebody_asks() -> None:
    stopping, released = threading.Event(), threading.Event()
    at_once: list[int] = []
    now = threading.Semaphore(0)
    working = [0]
    lock = threading.Lock()

    def step() -> bool:
        with lock:
            working[0] += 1
            at_once.append(working[0])
        now.release()
        released.wait(20)
        with lock:
            working[0] -= 1
        return True

    helpers = HelperThreads(3, step, stopping)
    assert at_once == []
    with helpers.asking():
        with helpers.asking():
            for _ in range(3):
                assert now.acquire(timeout=20)
        assert max(at_once) == 3, "asking twice makes no more of them"
    released.set()
    helpers.join()
    done = len(at_once)
    assert done >= 3
    with helpers.asking():
        until(lambda: len(at_once) > done)
        stopping.set()
    helpers.join()


def test_a_worker_without_helpers_has_none() -> None:
    def step() -> bool:
        raise AssertionError("nobody may step")

    helpers = HelperThreads(0, step, threading.Event())
    with helpers.asking():
        helpers.join()
