"""The embedded broker: kombu's filesystem transport, with messages that appear whole and are taken by one reader.

kombu's own channel writes a message under its final name, so that a reader polling at the wrong moment finds half of one; and it takes
messages by way of the system's temporary folder, where a move may be a copy. Here both are a rename within the folder.
"""

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
    """One file a message, `<nanoseconds>_<random>.<queue>.msg`, oldest first."""

    def _put(self, queue: str, payload: dict[str, Any], **_options: Any) -> None:
        folder = Path(self.data_folder_out)
        name = f"{time.time_ns():020d}_{uuid.uuid4().hex}.{queue}.msg"
        unfinished = folder / f"{name}.part"
        with writing(unfinished) as file:
            file.write(dumps(payload).encode())
        unfinished.rename(folder / name)

    def _get(self, queue: str) -> dict[str, Any]:
        folder, ending = self.data_folder_in, f".{queue}.msg"  # no Path: an idle worker looks twenty times a second
        for name in sorted(name for name in os.listdir(folder) if name.endswith(ending)):  # noqa: PTH208
            message = Path(folder, name)
            taken = message.with_suffix(".taken")
            try:
                message.rename(taken)
            except FileNotFoundError:
                continue  # another worker was faster
            payload: dict[str, Any] = loads(taken.read_text())
            taken.unlink()
            return payload
        raise Empty


class FilesystemTransport(filesystem.Transport):  # type: ignore[misc]  # kombu has no types
    """kombu's filesystem transport with the channel above."""

    Channel = Channel
