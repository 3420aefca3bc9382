"""What a process has one of, however many threads ask for it first."""

import threading
from collections.abc import Callable, Hashable
from functools import wraps
from typing import ParamSpec, TypeVar

Asked = ParamSpec("Asked")
Made = TypeVar("Made")


def one_a_process(make: Callable[Asked, Made]) -> Callable[Asked, Made]:
    """`make` is called once for each set of (hashable, positional) arguments. functools.cache would call it again for threads that race."""
    lock = threading.Lock()
    made: dict[Hashable, Made] = {}

    @wraps(make)
    def get(*args: Asked.args, **kwargs: Asked.kwargs) -> Made:
        with lock:
            if args not in made:
                made[args] = make(*args, **kwargs)
            return made[args]

    return get
