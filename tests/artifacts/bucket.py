"""A real S3 server in a process of its own: moto's."""

import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import fsspec

SERVE = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()  # until whoever started this lets go of it
"""


@dataclass(frozen=True)
class Bucket:
    """A bucket's URL, and what fsspec needs to reach it."""

    url: str
    options: dict[str, Any]


@contextmanager
def server() -> Iterator[dict[str, Any]]:
    """A server; gives the options by which it is reached."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        yield {"endpoint_url": f"http://127.0.0.1:{port}", "key": "test", "secret": "test"}
        process.kill()
    fsspec.get_filesystem_class("s3").clear_instance_cache()  # the next server has another port


def new_bucket(options: dict[str, Any]) -> Bucket:
    """An empty bucket of its own, and a folder in it."""
    name = f"glossator-{uuid.uuid4().hex[:12]}"
    fsspec.filesystem("s3", **options).call_s3("create_bucket", Bucket=name)
    return Bucket(f"s3://{name}/some/folder", options)
