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


class GuardedChild:
    """A child process that ends with this process; its folder is then deleted.

    The signal is `gentle`; SIGKILL follows after ten seconds.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", gentle: signal.Signals = signal.SIGTERM, folder: Path | None = None) -> None:
        self.process, self.gentle = process, gentle
        words = [str(process.pid), gentle.name.removeprefix("SIG"), *([str(folder)] if folder else [])]
        self._shell = subprocess.Popen(["sh", "-c", SCRIPT, *words], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, process_group=0)

    def stop(self, seconds: float, by: signal.Signals | None = None) -> None:
        """End the process by a signal (default: `gentle`), or by SIGKILL after some seconds."""
        if self.process.poll() is None:
            self.process.send_signal(by or self.gentle)
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        # Before any reuse of the pid.
        self._shell.kill()
        self._shell.wait()
        if self._shell.stdin is not None:
            self._shell.stdin.close()
