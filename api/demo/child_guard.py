"""The end of a child process with this one, however this one ends: for programs that do not watch for it themselves."""

import signal
import subprocess
from pathlib import Path

# Waits for the end of a pipe that only this process writes to, and so outlives it: pid, signal, folder to remove.
SCRIPT = """
read _
kill -"$1" "$0"
for _ in $(seq 100); do kill -0 "$0" || break; sleep 0.1; done
kill -KILL "$0"
test -z "$2" || rm -rf "$2"
"""


class ChildGuard:
    """Sends `by` to the process when this one has ended, SIGKILL ten seconds later, and then removes a folder that was its own."""

    def __init__(self, pid: int, by: signal.Signals, folder: Path | None = None) -> None:
        words = [str(pid), by.name.removeprefix("SIG"), *([str(folder)] if folder else [])]
        self._shell = subprocess.Popen(["sh", "-c", SCRIPT, *words], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, process_group=0)

    def release(self) -> None:
        """Leaves the process alone from now on. To be called before its pid can be somebody else's."""
        self._shell.kill()
        self._shell.wait()
        if self._shell.stdin is not None:
            self._shell.stdin.close()
