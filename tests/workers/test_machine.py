"""Memory is the least of a worker's limits; a process is told from the dead, and from another with its pid."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from workers import machine
from workers.machine import cgroup_limits, machine_bytes, memory_limit
from workers.process import GPU_DRIVER


def group(root: Path, path: str, name: str, limit: str) -> None:
    folder = root / path
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(limit + "\n")


def test_version_2_and_every_group_above(tmp_path: Path) -> None:
    own, root = tmp_path / "cgroup", tmp_path / "fs"
    own.write_text("0::/kubepods/pod/container\n")
    group(root, "kubepods/pod/container", "memory.max", "max")
    group(root, "kubepods/pod", "memory.max", "4000")
    group(root, "kubepods", "memory.max", "9000")
    assert cgroup_limits(own, root) == [4000, 9000]


def test_version_2_inside_a_container_that_sees_its_own_group_as_the_root(tmp_path: Path) -> None:
    own, root = tmp_path / "cgroup", tmp_path / "fs"
    own.write_text("0::/\n")
    group(root, "", "memory.max", "5000")
    assert cgroup_limits(own, root) == [5000]


def test_version_1(tmp_path: Path) -> None:
    own, root = tmp_path / "cgroup", tmp_path / "fs"
    own.write_text("5:cpu,cpuacct:/other\n4:memory:/docker/abc\n0::/\n")
    group(root, "memory/docker/abc", "memory.limit_in_bytes", "6000")
    assert cgroup_limits(own, root) == [6000]


def test_no_groups_at_all(tmp_path: Path) -> None:
    assert cgroup_limits(tmp_path / "nothing", tmp_path) == []
    (tmp_path / "cgroup").write_text("0::/gone\n")
    assert cgroup_limits(tmp_path / "cgroup", tmp_path) == []


def test_a_limit_is_never_more_than_the_machine_has() -> None:
    assert 0 < memory_limit() <= machine_bytes()


def test_a_worker_without_a_gpu_tells_of_its_memory_before_it_loads_torch(tmp_path: Path) -> None:
    """In a process of its own, which has loaded nothing yet."""
    code = (
        "import sys; from workers.process import report_hardware; from workers.runtime import Runtime;"
        "from interp.config.settings import Settings;"
        f"runtime = Runtime.of(Settings(home={str(tmp_path)!r}, gpu_worker_memory_bytes=123)); report_hardware(runtime);"
        "print(runtime.info.memory_bytes, runtime.info.device, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    if not GPU_DRIVER.exists():
        assert done.stdout.split() == ["123", "cpu", "False"]


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
