"""A process can be told from the dead, and from another that got its number."""

import os
import signal
import subprocess
import sys

from workers import machine


def test_this_process_lives() -> None:
    assert not machine.is_gone(machine.this_process())


def test_a_killed_process_is_gone_even_before_it_is_reaped() -> None:
    code = "from workers.machine import this_process; print(this_process(), flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        name = process.stdout.readline().strip()
        assert not machine.is_gone(name)
        process.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert machine.is_gone(name)


def test_a_number_given_again_is_another_process() -> None:
    host, pid, _start = machine.this_process().rsplit("/", 2)
    assert machine.is_gone(f"{host}/{pid}/1")


def test_nobody_here_knows_of_other_machines() -> None:
    assert not machine.is_gone("elsewhere-1/1/1")
    assert not machine.is_gone("test")
