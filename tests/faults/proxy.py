"""A network that can be cut: a TCP proxy between the service's processes and their database."""

import selectors
import socket
import threading
from dataclasses import dataclass, field
from enum import Enum
from typing import Self

CHUNK_BYTES = 65536
TICK_SECONDS = 0.02


class Network(Enum):
    """WHOLE passes everything on. BROKEN ends every connection and refuses new ones. SILENT takes connections and bytes, and says nothing."""

    WHOLE = "whole"
    BROKEN = "broken"
    SILENT = "silent"


@dataclass(eq=False)
class Pipe:
    """Both ends of one connection. `waiting`: what was read from one end and not yet written to the other."""

    near: socket.socket
    far: socket.socket
    waiting: dict[socket.socket, bytes] = field(default_factory=dict)

    def other(self, end: socket.socket) -> socket.socket:
        return self.far if end is self.near else self.near

    def close(self) -> None:
        for end in (self.near, self.far):
            end.close()


class Proxy:
    """Listens on `port` of loopback and passes on to another port. A context manager; `network` may be changed at any time.

    A silent network keeps what it was given, and delivers it when it is whole again: a client can tell nothing but that no answer comes.
    """

    def __init__(self, to: int) -> None:
        self._to = to
        self.network = Network.WHOLE
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._pipes: set[Pipe] = set()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._thread.join()
        self._listener.close()
        self._drop_all()

    def _run(self) -> None:
        while not self._closing.is_set():
            if self.network is Network.BROKEN:
                self._drop_all()
            if self.network is Network.SILENT:
                self._closing.wait(TICK_SECONDS)
            else:
                self._turn()

    def _turn(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            for pipe in self._pipes:
                for end in (pipe.near, pipe.far):
                    # An end whose last bytes are not delivered yet is not read: what piles up piles up with the sender.
                    events = (selectors.EVENT_WRITE if end in pipe.waiting else 0) | (0 if pipe.other(end) in pipe.waiting else selectors.EVENT_READ)
                    if events:
                        selector.register(end, events, pipe)
            for key, events in selector.select(TICK_SECONDS):
                if key.fileobj is self._listener:
                    self._accept()
                elif key.data in self._pipes and isinstance(key.fileobj, socket.socket):
                    self._pass_on(key.data, key.fileobj, events)

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        try:
            if self.network is Network.BROKEN:
                raise ConnectionRefusedError
            far = socket.create_connection(("127.0.0.1", self._to), timeout=5)
        except OSError:
            near.close()
            return
        for end in (near, far):
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._pipes.add(Pipe(near, far))

    def _pass_on(self, pipe: Pipe, end: socket.socket, events: int) -> None:
        try:
            if events & selectors.EVENT_WRITE and end in pipe.waiting:
                left = pipe.waiting.pop(end)
                left = left[end.send(left) :]
                if left:
                    pipe.waiting[end] = left
            if events & selectors.EVENT_READ:
                data = end.recv(CHUNK_BYTES)
                if not data:
                    raise ConnectionResetError
                pipe.waiting[pipe.other(end)] = data
        except BlockingIOError:
            pass
        except OSError:
            self._drop(pipe)

    def _drop(self, pipe: Pipe) -> None:
        pipe.close()
        self._pipes.discard(pipe)

    def _drop_all(self) -> None:
        for pipe in list(self._pipes):
            self._drop(pipe)
