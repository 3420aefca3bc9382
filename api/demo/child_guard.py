"""End a child process when this process ends in any way, even by SIGKILL."""

import signal
import subprocess
from pathlib import Path

# Waits for the end of a pipe that only this process writes to. Arguments: pid, signal, folder to remove.
SCRIPT = """
read _
kill -"$1" "$0"
for _ in $(seq 100); do kill -0 "$0" || break; sleep 0.1; done
kill -KILL "$0"
test -z "$2" || rm -rf "$2"
"""


class ChildGuard:
    """A guard that signals a child when this process ends, and later deletes its folder.

    SIGKILL follows `by` after ten seconds.
    """

    def __init__(self, pid: int, by: signal.Signals, folder: Path | None = None) -> None:
        words = [str(pid), by.name.removeprefix("SIG"), *([str(folder)] if folder else [])]
        self._shell = subprocess.Popen(["sh", "-c", SCRIPT, *words], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, process_group=0)

    def release(self) -> None:
        """Stop guarding, which must precede any reuse of the pid."""
        self._shell.kill()
        self._shell.wait()
        if self._shell.stdin is not None:
            self._shell.stdin.close()
