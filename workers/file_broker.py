"""Embedded broker: a folder of messages, which are written and taken by rename."""

import os
import time
import uuid
from pathlib import Path
from queue import Empty
from typing import Any

from kombu.transport import filesystem
from kombu.utils.json import dumps, loads

from interp.files.atomic import writing


class Channel(filesystem.Channel):  # type: ignore[misc]  # kombu has no types
    """A channel of one file per message, `<nanoseconds>_<random>.<queue>.msg`, written and taken by rename.

    Oldest first. kombu's own channel writes under the final name, so that a reader may find half a message, and takes it by way of the system's
    temporary folder, where a move may be a copy.
    """

    def _put(self, queue: str, payload: dict[str, Any], **_options: Any) -> None:
        message = Path(self.data_folder_out) / f"{time.time_ns():020d}_{uuid.uuid4().hex}.{queue}.msg"
        unfinished = message.with_suffix(".part")
        with writing(unfinished) as file:
            file.write(dumps(payload).encode())
        unfinished.rename(message)

    def _get(self, queue: str) -> dict[str, Any]:
        folder = self.data_folder_in  # no Path: an idle worker looks twenty times per second
        for name in sorted(name for name in os.listdir(folder) if name.endswith(f".{queue}.msg")):  # noqa: PTH208
            taken = Path(folder, name).with_suffix(".taken")
            try:
                Path(folder, name).rename(taken)
            except FileNotFoundError:
                continue  # another worker was faster
            payload: dict[str, Any] = loads(taken.read_text())
            taken.unlink()
            return payload
        raise Empty


class FilesystemTransport(filesystem.Transport):  # type: ignore[misc]  # kombu has no types
    """The embedded broker: kombu's filesystem transport with this channel."""

    Channel = Channel
